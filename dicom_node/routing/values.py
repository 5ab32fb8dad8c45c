"""Header values as rules compare them: single components, text or number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dicom_node.contracts import InstanceHeader, TagValue

Component = str | int | float


def components(value: TagValue | None) -> tuple[Component, ...]:
    """The values of a tag; empty when it is absent or blank."""
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(p for p in parts if p is not None and str(p).strip())


def number(value: Component | None) -> float | None:
    """A component as a finite number, None when it is none."""
    if value is None:
        return None
    try:
        result = float(value)
    except ValueError:
        return None
    return result if math.isfinite(result) else None


def text(value: Component) -> str:
    """A component as text, whole numbers without a decimal point, blanks at the ends removed."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def same(expected: Component, found: Component) -> bool:
    """Whether a component equals what a rule asks for: as numbers when the rule gives a number, else as text."""
    if isinstance(expected, str):
        return text(found) == expected.strip()
    return number(found) == float(expected)


def distinct(instances: Sequence[InstanceHeader], keyword: str) -> set[str]:
    """The different values of a tag over instances; several values count as one."""
    found = (components(i.get(keyword)) for i in instances)
    return {"\\".join(text(c) for c in values) for values in found if values}
