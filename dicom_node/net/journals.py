"""Intake's view of the spool: what receivers' journals say becomes rows, what dead receivers left is swept.

Every step can be killed and repeated. A stretch of a journal becomes rows in the transaction that moves its offset, so
each entry counts once. A file that no entry names was never acknowledged; one that an entry names, but no row of
`received`, is filed already. Both may go, once it is certain that no further entry can come.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from dicom_node import faults, logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import AssociationClosed, AssociationOpened, InstanceReceived, Quarantined, Received
from dicom_node.archive.store import ArchiveStore
from dicom_node.database.engine import Database
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import NodeError
from dicom_node.net.journal import Stretch, read_journal
from dicom_node.net.old_spool import leave_old_spool
from dicom_node.net.spool import SpoolFolders, locked

log = logs.get("net.journals")

_NOTHING: Final = bytes(4)
GONE: Final = "the file is gone from the spool, and the archive has no such instance: the sender must send it again"
"""Reason in the quarantine for an entry without a file."""


class Journals:
    """One of these at a time reads the journals of a spool."""

    def __init__(self, *, database: Database, index: ArchiveIndex, store: ArchiveStore, folders: SpoolFolders) -> None:
        """Nothing is read yet.

        Args:
            database: where rows go.
            index: rows of associations and received files.
            store: asked for instances whose file is gone from the spool.
            folders: the spool.
        """
        self._database = database
        self._index = index
        self._store = store
        self._folders = folders
        self._absorbed: dict[str, int] | None = None
        self._sealed: set[str] = set()

    def absorb(self, now: float) -> int:
        """Enter what receivers have written since the last time; returns how many entries that were.

        Args:
            now: UTC [s].

        Raises:
            NodeError: the database or a journal refused; what could be read of the others is entered.
        """
        done, trouble = 0, None
        for name in self._names():
            try:
                done += self._absorb(name, now)
            except NodeError as problem:
                self._absorbed = None
                trouble = trouble or problem
        if trouble is not None:
            raise trouble
        return done

    def sweep(self, now: float, *, all_files: bool) -> int:
        """Finish the journals of receivers that are gone, and full ones; returns how many files and journals went.

        Args:
            now: UTC [s].
            all_files: look also for files of receivers that have neither journal nor lock any more.

        Raises:
            NodeError: database or disk refused; the sweep may be repeated.
        """
        journals = defaultdict(list)
        for name in self._names():
            journals[_token(name)].append(name)
        tokens = journals.keys() | self._writers()
        if all_files:
            with _disk(self._folders.files):
                tokens |= {_token(path.name) for path in self._folders.files.iterdir()}
        removed, trouble = 0, None
        for token in sorted(tokens):
            try:
                with self._held(token) as dead:
                    if dead:
                        removed += self._bury(token, journals[token], now)
                    else:
                        removed += self._clear([name for name in journals[token] if name in self._sealed])
            except NodeError as problem:
                trouble = trouble or problem
        if trouble is not None:
            raise trouble
        return removed

    def taken_back(self, file: Path) -> bool:
        """Whether a file went because the disk refused its entry: the receiver took it back, and told the sender so.

        Then a journal of the receiver is shorter than what became rows of it, and none names the file. Without such
        a journal a file that is gone may have been acknowledged.

        Args:
            file: of a row.

        Raises:
            NodeError: the database or the disk refused.
        """
        with _disk(file):
            if file.exists():
                return False
        shrunk = False
        for name in self._names():
            if _token(name) == _token(file.name):
                stretch = read_journal(self._folders.journals / name, 0)
                if file.name in _files(stretch):
                    return False
                shrunk |= stretch.end < self._offsets().get(name, 0)
        return shrunk

    def recover(self, now: float) -> int:
        """What an intake that was killed left undone; call it once, first. Returns how many files went.

        Raises:
            NodeError: database or disk refused; it may be repeated.
        """
        self._folders.make()
        names = self._names()
        sync_folder(self._folders.journals)
        with self._database.begin() as tx:
            self._index.forget_journals(tx, self._index.absorbed(tx).keys() - set(names))
        removed = leave_old_spool(self._folders.files.parent, self._database, self._index, now)
        for name in names:
            if end := self._offsets().get(name, 0):
                removed += self._remove_filed(_files(read_journal(self._folders.journals / name, 0, end)))
        return removed

    def _absorb(self, name: str, now: float) -> int:
        path, start = self._folders.journals / name, self._offsets().get(name, 0)
        if name in self._sealed or not _grown(path, start):
            return 0
        stretch = read_journal(path, start)
        if stretch.entries:
            self._enter(name, start, stretch, now)
        if stretch.sealed:
            self._sealed.add(name)
        return len(stretch.entries)

    def _enter(self, name: str, start: int, stretch: Stretch, now: float) -> None:
        received, gone = self._located([one for one in stretch.entries if isinstance(one, InstanceReceived)])
        if gone:
            # The disk may have refused an entry after we had read it: its receiver took it back, and then the file.
            still = _files(read_journal(self._folders.journals / name, start, stretch.end))
            gone = [one for one in gone if one.path.name in still]
        with self._database.begin() as tx:
            self._index.absorb(
                tx,
                name,
                start,
                stretch.end,
                receiver=_token(name),
                opened=[one for one in stretch.entries if isinstance(one, AssociationOpened)],
                received=received,
                closed=[one for one in stretch.entries if isinstance(one, AssociationClosed)],
            )
            self._index.quarantine(tx, gone, now)
        faults.reach("intake.absorbed")
        self._offsets()[name] = stretch.end
        for one in gone:
            log.error("received_file_missing", file=one.path.name, association=one.received.association_id)

    def _located(self, entries: Sequence[InstanceReceived]) -> tuple[list[Received], list[Quarantined]]:
        """Where the files of entries lie now.

        Without a file in the spool the entry is read for the second time (the ledger was copied back): either a row
        has the instance, or it is filed again from the archive. Else the receiver failed right after its entry.
        """
        received, missing, gone = [], [], []
        with _disk(self._folders.files):
            for one in entries:
                path = self._folders.files / one.file
                if path.exists():
                    received.append(Received(0, path, one.association_id, one.at))
                else:
                    missing.append(one)
        if missing:
            with self._database.read() as tx:
                known = self._index.known(tx, [one.sop_instance_uid for one in missing])
            for one in missing:
                uid, path = one.sop_instance_uid, self._folders.files / one.file
                if uid in known:
                    continue
                if self._store.holds(uid):
                    received.append(Received(0, self._store.path(uid), one.association_id, one.at))
                else:
                    gone.append(Quarantined(Received(0, path, one.association_id, one.at), path, GONE))
        return received, gone

    def _bury(self, token: str, names: Sequence[str], now: float) -> int:
        """Finish what a receiver that is gone has left; its lock is ours."""
        for name in names:
            self._absorb(name, now)
        with self._database.begin() as tx:
            lost = self._index.close_associations_of(tx, token, now)
        faults.reach("intake.associations_lost")
        with _disk(self._folders.files):
            files = [path.name for path in self._folders.files.iterdir() if _token(path.name) == token]
        removed = self._remove_filed(files)
        self._remove_journals(names)
        with _disk(self._folders.locks):
            self._folders.lock_of(token).unlink(missing_ok=True)
        faults.reach("intake.lock_removed")
        if names or files:
            log.info("receiver_buried", receiver=token, lost_associations=lost, files=removed)
        return removed + len(names)

    def _clear(self, sealed: Sequence[str]) -> int:
        """Remove full journals of a living receiver once every file that they name is filed."""
        done = []
        for name in sealed:
            files = _files(read_journal(self._folders.journals / name, 0))
            with _disk(self._folders.files):
                # files are filed in order: while the last one waits, the others need no look
                if files and (self._folders.files / files[-1]).exists():
                    files = files[-1:]
            self._remove_filed(files)
            with _disk(self._folders.files):
                if not any((self._folders.files / file).exists() for file in files):
                    done.append(name)
        self._remove_journals(done)
        return len(done)

    def _remove_filed(self, files: Iterable[str]) -> int:
        """Remove those of the files that wait for nothing: no row names them."""
        with _disk(self._folders.files):
            there = [path for path in (self._folders.files / file for file in files) if path.exists()]
        if not there:
            return 0
        with self._database.read() as tx:
            waiting = {one.path for one in self._index.unfiled(tx)}
        removed = 0
        with _disk(self._folders.files):
            for path in there:
                if path not in waiting:
                    path.unlink(missing_ok=True)
                    removed += 1
                    faults.reach("intake.orphan_removed")
        return removed

    def _remove_journals(self, names: Collection[str]) -> None:
        """First the file, for good, then its row: a file without a row would be read again from its start."""
        if not names:
            return
        with _disk(self._folders.journals):
            for name in names:
                (self._folders.journals / name).unlink(missing_ok=True)
                faults.reach("intake.journal_removed")
            sync_folder(self._folders.journals)
        with self._database.begin() as tx:
            self._index.forget_journals(tx, names)
        faults.reach("intake.journal_forgotten")
        self._sealed.difference_update(names)
        for name in names:
            self._offsets().pop(name, None)

    def _offsets(self) -> dict[str, int]:
        """How far each journal is absorbed; read once, for nobody else moves it."""
        if self._absorbed is None:
            with self._database.read() as tx:
                self._absorbed = self._index.absorbed(tx)
        return self._absorbed

    def _names(self) -> list[str]:
        with _disk(self._folders.journals):
            return sorted(path.name for path in self._folders.journals.glob("*.log"))

    def _writers(self) -> set[str]:
        with _disk(self._folders.locks):
            return {path.stem for path in self._folders.locks.glob("*.lock")}

    @contextmanager
    def _held(self, token: str) -> Iterator[bool]:
        """Whether the receiver is gone; if so its name is ours meanwhile."""
        with _disk(self._folders.locks):
            lock = locked(self._folders.lock_of(token))
        if lock is None:
            yield False
            return
        with closing(lock):
            yield True


def _token(name: str) -> str:
    return name.partition("-")[0]


def _files(stretch: Stretch) -> list[str]:
    """Names of the files that its entries tell of, in order."""
    return [one.file for one in stretch.entries if isinstance(one, InstanceReceived)]


def _grown(path: Path, offset: int) -> bool:
    """Whether something stands behind the offset; costs so little that it may be asked a hundred times a second."""
    with _disk(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, len(_NOTHING), offset) not in (_NOTHING, b"")
        finally:
            os.close(descriptor)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise storage_error(problem, path) from problem
