"""How values that no column type holds are stored: JSON documents and paths that survive a move of the data folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LONGEST_TEXT = 4000


def dump(value: object) -> str:
    """Compact JSON as plain ASCII, so that no engine trips over a control character or half a surrogate pair."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def load(text: str) -> Any:
    """What `dump` stored; tuples come back as lists."""
    return json.loads(text)


def short(text: str) -> str:
    """Free text cut to what a row should hold, without the NUL that PostgreSQL refuses."""
    return text.replace("\x00", "")[:_LONGEST_TEXT]


@dataclass(frozen=True)
class StoredPaths:
    """Writes paths inside a folder relative to it, and reads them back absolute.

    Attributes:
        root: `node.data_dir`; None stores every path as given.
    """

    root: Path | None = None

    def store(self, path: Path) -> str:
        """Text for a column."""
        text = str(path)  # pathlib's own way takes ten times as long, for each of a million rows
        return text.removeprefix(f"{self.root}/") if self.root is not None else text

    def load(self, text: str) -> Path:
        """The path again; an absolute one stays as it is."""
        return Path(text) if self.root is None else self.root / text


def _plain(value: object) -> object:
    """Numpy scalars and paths in metrics and explanations become plain numbers and text."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"cannot store a {type(value).__name__} in the ledger")
