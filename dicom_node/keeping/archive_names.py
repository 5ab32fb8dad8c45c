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
_DIGITS: Final = "0123456789abcdef"
_PLACE: Final = re.compile(r"archive/(?P<folder>[0-9a-f]{1,2})/(?P<name>(?=(?P=folder))[0-9a-f]{64})\.dcm")
"""Version 0.1 had 256 folders, with two digits; what lies there stays there."""
_FILE: Final = re.compile(r"[0-9a-f]{64}\.dcm")
_HALF: Final = re.compile(r"\.[0-9a-f]{64}\.dcm\.[0-9a-f]+")
_ASIDE: Final = re.compile(r"[0-9a-f]{64}\.dcm\.orphan-[0-9a-f]+")
_KEY: Final = 16
"""Bytes of a file's name that are kept: enough that no two names agree in them."""
_NUMBER: Final = 8
_RECORD: Final = _KEY + 1 + _NUMBER
"""A key, the digits of the folder's name, the number of the row."""

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Folder:
    """The archive's folders that begin with one digit, compared with the index.

    Attributes:
        unknown: files in the place of an instance that the index does not know.
        twice: files of an instance that the index knows elsewhere.
        aside: files that a filing found in its way and set aside.
        half: copies that were never finished.
        strange: files that the node has not put there.
        lost: row numbers of instances whose file is not where the index says.
    """

    unknown: list[Path] = field(default_factory=list)
    twice: list[Path] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    half: list[Path] = field(default_factory=list)
    strange: list[Path] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


class ArchiveNames:
    """The names that the index knows: 25 bytes for each instance.

    Attributes:
        count: how many.
        largest: largest row number.
    """

    def __init__(self, paths: StoredPaths) -> None:
        self._paths = paths
        self._shards = {digit: bytearray() for digit in _DIGITS}
        self._elsewhere: list[tuple[int, str]] = []
        self.count = self.largest = 0

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
            advance("reading the index", names.count, max(total, names.count))

    def compare(self, archive: Path) -> Iterator[Folder]:
        """Compare with the files; sixteen answers.

        Raises:
            StorageFailed: the disk refuses.
        """
        for digit, shard in self._shards.items():
            found = Folder()
            if digit == _DIGITS[0]:
                found.lost.extend(row for row, path in self._elsewhere if not self._paths.load(path).exists())
            known = {}
            for at in range(0, len(shard), _RECORD):
                record = bytes(shard[at : at + _RECORD])
                known[record[:_KEY]] = (record[_KEY], int.from_bytes(record[_KEY + 1 :], "big"))
            there = set()
            for path in _files(archive, digit):
                if not _FILE.fullmatch(path.name) or not path.name.startswith(path.parent.name):
                    _kind(found, path).append(path)
                    continue
                key = bytes.fromhex(path.stem)[:_KEY]
                if key not in known:
                    found.unknown.append(path)
                elif known[key][0] == len(path.parent.name):
                    there.add(key)
                else:
                    found.twice.append(path)
            found.lost.extend(number for key, (_, number) in known.items() if key not in there)
            yield found

    def _add(self, number: int, path: str) -> None:
        place = _PLACE.fullmatch(path)
        if place:
            key, digits = bytes.fromhex(place["name"])[:_KEY], len(place["folder"])
            self._shards[place["name"][0]] += key + bytes([digits]) + number.to_bytes(_NUMBER, "big")
        else:
            self._elsewhere.append((number, path))
        self.count += 1
        self.largest = number


def _kind(found: Folder, path: Path) -> list[Path]:
    if _HALF.fullmatch(path.name):
        return found.half
    return found.aside if _ASIDE.fullmatch(path.name) else found.strange


def _files(archive: Path, digit: str) -> Iterator[Path]:
    for folder in (archive / digit, *(archive / f"{digit}{second}" for second in _DIGITS)):
        try:
            yield from sorted(path for path in folder.iterdir() if path.is_file())
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise storage_error(problem, folder) from problem
