"""Which files the archive should hold and which it does, compared folder by folder in little memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import select

from dicom_node.archive import tables as t
from dicom_node.database.engine import Database
from dicom_node.database.totals import read_totals
from dicom_node.database.values import StoredPaths
from dicom_node.durable import storage_error

_PAGE: Final = 5000
_NAME: Final = re.compile(r"[0-9a-f]{64}\.dcm")
_HALF: Final = re.compile(r"\.[0-9a-f]{64}\.dcm\.[0-9a-f]+")
_ASIDE: Final = re.compile(r"[0-9a-f]{64}\.dcm\.orphan-[0-9a-f]+")
_KEY: Final = 16
"""Bytes of a file's name that are kept: enough that no two names agree in them."""
_NUMBER: Final = 8
_RECORD: Final = _KEY + _NUMBER

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Folder:
    """One of the archive's 256 folders, compared with the index.

    Attributes:
        unknown: files in the place of an instance that the index does not know.
        aside: files that a filing found in its way and set aside.
        half: copies that were never finished.
        strange: files that the node has not put there.
        lost: row numbers of instances whose file is not there.
    """

    unknown: list[Path] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    half: list[Path] = field(default_factory=list)
    strange: list[Path] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


class ArchiveNames:
    """The names that the index knows: 24 bytes for each instance."""

    def __init__(self, paths: StoredPaths) -> None:
        self._paths = paths
        self._shards = [bytearray() for _ in range(256)]
        self._elsewhere: list[tuple[int, str]] = []
        self.largest = 0

    @classmethod
    def read(cls, database: Database, paths: StoredPaths, advance: Advance) -> ArchiveNames:
        """Read them all from the index, a page at a time.

        Args:
            database: the index.
            paths: how its paths are written.
            advance: told how far it is.

        Raises:
            LedgerError: the database cannot be read.
        """
        names, row = cls(paths), t.instances.c
        done = 0
        with database.read() as tx:
            total = read_totals(tx).get("instances", 0)
        while True:
            page = select(row.id, row.path).where(row.id > names.largest).order_by(row.id).limit(_PAGE)
            with database.read() as tx:
                found = tx.execute(page).all()
            if not found:
                return names
            for one in found:
                names._add(one.id, one.path)
            done += len(found)
            advance("reading the index", done, max(total, done))

    def compare(self, archive: Path) -> Iterator[Folder]:
        """Compare folder by folder; 256 answers.

        Raises:
            StorageFailed: the disk refuses.
        """
        for number, shard in enumerate(self._shards):
            found = Folder()
            if not number:
                found.lost.extend(row for row, path in self._elsewhere if not self._paths.load(path).exists())
            known = {
                bytes(shard[at : at + _KEY]): int.from_bytes(shard[at + _KEY : at + _RECORD], "big")
                for at in range(0, len(shard), _RECORD)
            }
            for path in _files(archive / f"{number:02x}"):
                if not _NAME.fullmatch(path.name) or not path.name.startswith(path.parent.name):
                    _kind(found, path).append(path)
                elif known.pop(bytes.fromhex(path.stem)[:_KEY], None) is None:
                    found.unknown.append(path)
            found.lost.extend(known.values())
            yield found

    def _add(self, number: int, path: str) -> None:
        name = Path(path)
        if _NAME.fullmatch(name.name) and name.parts[:1] == ("archive",):
            key = bytes.fromhex(name.stem)
            self._shards[key[0]] += key[:_KEY] + number.to_bytes(_NUMBER, "big")
        else:
            self._elsewhere.append((number, path))
        self.largest = number


def _kind(found: Folder, path: Path) -> list[Path]:
    if _HALF.fullmatch(path.name):
        return found.half
    return found.aside if _ASIDE.fullmatch(path.name) else found.strange


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise storage_error(problem, folder) from problem
