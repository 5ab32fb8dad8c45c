"""Values one by one: is it what its VR says and no more, and what does a moved date look like (PS3.5 6.2)?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

_CS: Final = re.compile(r"[A-Z0-9_ ]{0,16}")
_AS: Final = re.compile(r"\d{3}[DWMY]")
_NUMBER: Final = re.compile(r"[0-9+\-.eE]{1,32}")
_DATE: Final = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})\.(\d{2})\.(\d{2})")
_TIME: Final = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_DATE_TIME: Final = re.compile(r"(\d{8})((?:\d{2}){0,3}(?:\.\d{1,6})?)([+-]\d{4})?")
_ZONE: Final = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d")
_PLAIN_TEXT: Final = re.compile(r"(?!.*\d{7})[A-Za-z0-9 .,:;()/_+*#%&<>'|-]*")
_LONGEST: Final = {"LO": 64, "SH": 16}
"""Characters (PS3.5 6.2)."""
_CODE: Final = re.compile(r"[A-Za-z0-9.\-]{1,16}")
_INTEGERS: Final = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "AT"})


def fits(vr: str, value: object) -> bool:
    """Whether one value is a number, defined term or age as its VR says; anything else is not kept."""
    if vr in _INTEGERS:
        return isinstance(value, int)
    if vr in ("FL", "FD"):
        return isinstance(value, int | float)
    if vr in ("DS", "IS"):
        return _is_number(vr, str(value).strip(" \0"))
    text = str(value).strip(" \0")
    if vr == "CS":
        return _CS.fullmatch(text) is not None
    if vr == "AS":
        return _AS.fullmatch(text) is not None
    if vr == "TM":
        return _TIME.fullmatch(text) is not None
    return False


def is_plain_text(vr: str, value: object) -> bool:
    """Whether a text of an equipment attribute has no sign of names, addresses, telephone or other long numbers."""
    text = str(value)
    return len(text) <= _LONGEST.get(vr, 0) and _PLAIN_TEXT.fullmatch(text) is not None


def is_code(value: object) -> bool:
    """Whether a text is a code value (SH)."""
    return _CODE.fullmatch(str(value)) is not None


def is_time_zone(value: object) -> bool:
    """Whether a text is an offset from UTC, `+0100`."""
    return _ZONE.fullmatch(str(value).strip()) is not None


def moved_date(value: object, days: int) -> str | None:
    """A DA value moved by some days; None where it is no whole date."""
    found = _DATE.fullmatch(str(value).strip(" \0"))
    if found is None:
        return None
    year, month, day = (int(part) for part in found.groups() if part is not None)
    try:
        return (date(year, month, day) + timedelta(days=days)).isoformat().replace("-", "")
    except (ValueError, OverflowError):
        return None


def moved_date_time(value: object, days: int) -> str | None:
    """A DT value moved by some days, its time and zone kept; None where it has no whole date."""
    found = _DATE_TIME.fullmatch(str(value).strip(" \0"))
    moved = None if found is None else moved_date(found.group(1), days)
    return None if found is None or moved is None else f"{moved}{found.group(2)}{found.group(3) or ''}"


def each(values: Sequence[object], change: Callable[[object], str | None]) -> list[str] | None:
    """All values changed; None where one of them cannot be."""
    changed = [change(value) for value in values]
    return None if None in changed else [str(value) for value in changed]


def most_values(vm: str) -> int | None:
    """Largest number of values that a Value Multiplicity of PS3.6 allows (`1`, `1-3`, `2-2n`); None without a limit."""
    last = vm.rpartition("-")[2]
    return int(last) if last.isdigit() else None


def _is_number(vr: str, text: str) -> bool:
    if _NUMBER.fullmatch(text) is None:
        return False
    try:
        return math.isfinite(int(text) if vr == "IS" else float(text))
    except ValueError:
        return False
