"""Keeps what people typed into headers out of what a corrector says: its texts go into ledger, logs and notices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from dicom_node.contracts import Volume

_TYPED: Final = ("description", "comment", "name", "patient", "history", "reason", "protocol", "institution", "station")
"""Tags whose keyword holds one of these hold what somebody typed, and people type names anywhere."""
_SHORTEST: Final = 3
_LEFT_OUT: Final = "[left out]"


class Quotes:
    """Finds quotations of typed header values."""

    def __init__(self, volumes: Iterable[Volume]) -> None:
        typed = {value.strip() for volume in volumes for value in _typed(volume)}
        longest_first = sorted((value for value in typed if len(value) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None

    def without(self, text: str) -> str:
        """The text with whatever it quotes left out."""
        return text if self._pattern is None else self._pattern.sub(_LEFT_OUT, text)


def _typed(volume: Volume) -> Iterator[str]:
    for keyword in volume.tags.keys() | volume.frame_tags.keys():
        if any(word in keyword.lower() for word in _TYPED):
            for value in (volume.tags.get(keyword), *volume.frame_tags.get(keyword, ())):
                for part in value if isinstance(value, tuple) else (value,):
                    if isinstance(part, str):
                        yield part
