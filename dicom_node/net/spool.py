"""Write-through spool: where received bytes lie from the first fragment until intake has filed them.

A file counts from the moment an entry in its receiver's journal names it; before that it is an orphan, whatever it
holds. Every receiver holds an exclusive lock on `locks/<token>.lock` and starts the names of its files with the token.
The kernel drops the lock with the process, so whoever sweeps knows whose files are orphans.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from dicom_node import faults
from dicom_node.archive.model import Entry
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import StorageFailed, StorageFull
from dicom_node.net.journal import JournalWriter

_SYNC_EVERY: Final = 16 << 20
"""A large file is synced each time so much of it was written: one sync of 500 MB would hold up everyone else's."""


class SpoolFolders:
    """Names of the folders under `data_dir/spool`.

    Attributes:
        files: received files.
        journals: what makes them count.
        locks: one for each living receiver.
    """

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.journals = folder / "journals"
        self.locks = folder / "locks"

    def make(self) -> None:
        """Make the folders.

        Raises:
            StorageFailed, StorageFull: the disk refuses.
        """
        for folder in (self.files, self.journals, self.locks):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise storage_error(problem, folder) from problem

    def lock_of(self, token: str) -> Path:
        """The lock of a receiver."""
        return self.locks / f"{token}.lock"


class Spool:
    """The spool as one receiver sees it.

    Attributes:
        folders: where things lie.
        token: unique name of this receiver.
    """

    def __init__(self, folder: Path, *, min_free_mb: float = 0) -> None:
        """Make the folders, take the lock, begin the journal.

        Args:
            folder: `data_dir/spool`.
            min_free_mb: watermark [MB, 1e6 bytes]; with less free nothing more is taken.

        Raises:
            StorageFailed, StorageFull: the folders cannot be made or written.
        """
        self.folders = SpoolFolders(folder)
        self.folders.make()
        self._least_free = min_free_mb * 1e6
        self._numbers = itertools.count()
        try:
            self.token, self._lock = self._new_token()
        except OSError as problem:
            raise storage_error(problem, folder) from problem
        self._journal = JournalWriter(self.folders.journals, self.token)

    def check_space(self) -> None:
        """Refuse work below the watermark.

        Raises:
            StorageFull: less free than `min_free_mb`.
            StorageFailed: the disk does not say.
        """
        try:
            state = os.statvfs(self.folders.files)
        except OSError as problem:
            raise storage_error(problem, self.folders.files) from problem
        free = state.f_bavail * state.f_frsize
        if free < self._least_free:
            raise StorageFull(
                f"{self.folders.files}: {free / 1e6:.0f} MB free, at least {self._least_free / 1e6:.0f} MB needed"
            )

    def new_names(self, count: int) -> list[Path]:
        """Empty files whose names are durable.

        Raises:
            StorageFull: below the watermark, or no space.
            StorageFailed: they cannot be made.
        """
        self.check_space()
        paths: list[Path] = []
        try:
            for _ in range(count):
                paths.append(self.folders.files / f"{self.token}-{next(self._numbers)}.dcm")
                os.close(os.open(paths[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            faults.reach("spool.named")
            sync_folder(self.folders.files)
            faults.reach("spool.names_synced")
        except (OSError, StorageFull, StorageFailed) as problem:
            remove(paths)
            if isinstance(problem, OSError):
                raise storage_error(problem, self.folders.files) from problem
            raise
        return paths

    def record(self, entries: Sequence[Entry]) -> None:
        """Return once the entries are durable.

        Raises:
            StorageFull, StorageFailed: the disk refused; none of them counts.
        """
        self._journal.append(entries)

    def close(self) -> None:
        """Seal the journal and give the lock back; what lies here is intake's."""
        self._journal.close()
        self._lock.close()

    def _new_token(self) -> tuple[str, BinaryIO]:
        while True:
            token = uuid.uuid4().hex
            lock = locked(self.folders.lock_of(token))
            # A sweeper that came between open and lock has taken the new file for a dead receiver's: another token.
            if lock is not None:
                if self.folders.lock_of(token).exists():
                    return token, lock
                lock.close()


class SpoolNames:
    """Names for the files of one association: made durable several at once, before they are needed.

    A sync of the folder for each instance would cost as much as that of its content.
    """

    _MOST = 16

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ready: list[Path] = []
        self._next = 1

    def create(self) -> SpoolFile:
        """Begin a file.

        Raises:
            StorageFull: below the watermark, or no space.
            StorageFailed: the file cannot be made.
        """
        self._spool.check_space()
        if not self._ready:
            self._ready = self._spool.new_names(self._next)[::-1]
            self._next = min(2 * self._next, self._MOST)
        path = self._ready.pop()
        try:
            return SpoolFile(self._spool, path, os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as problem:
            remove([path])
            raise storage_error(problem, path) from problem

    def close(self) -> None:
        """Remove names that were not needed."""
        remove(self._ready)
        self._ready = []


class SpoolFile:
    """One file on its way in.

    Attributes:
        path: where it lies.
        size: bytes written.
    """

    def __init__(self, spool: Spool, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._spool = spool
        self._descriptor: int | None = descriptor
        self._synced = 0

    def write(self, *parts: bytes | memoryview) -> None:
        """Append all of `parts`.

        Raises:
            StorageFull, StorageFailed: the disk refused or came below the watermark; the file is already removed.
        """
        with self._removed_on_failure() as descriptor:
            faults.reach("spool.growing" if self.size else "spool.created")
            wanted = self.size + sum(map(len, parts))
            self.size += os.writev(descriptor, parts)
            if self.size < wanted:
                self._write_rest(descriptor, b"".join(parts)[self.size - wanted :])
            if self.size - self._synced >= _SYNC_EVERY:
                os.fdatasync(descriptor)
                self._synced = self.size
                self._spool.check_space()

    def _write_rest(self, descriptor: int, rest: bytes) -> None:
        while rest:
            count = os.write(descriptor, rest)
            self.size += count
            rest = rest[count:]

    def sync(self) -> None:
        """Make the content durable and close the file; its name is so already.

        Raises:
            StorageFull, StorageFailed: the disk refused; the file is already removed.
        """
        with self._removed_on_failure() as descriptor:
            faults.reach("spool.written")
            os.fsync(descriptor)
            faults.reach("spool.synced")
            self._descriptor = None
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the file. May be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        remove([self.path])

    @contextlib.contextmanager
    def _removed_on_failure(self) -> Iterator[int]:
        if self._descriptor is None:
            raise StorageFull(f"{self.path.name} was closed already")
        try:
            yield self._descriptor
        except OSError as problem:
            self.discard()
            raise storage_error(problem, self.path) from problem
        except BaseException:
            self.discard()
            raise


def remove(paths: Iterable[Path]) -> None:
    """Remove files that do not count. What the disk refuses is an orphan that intake sweeps when we are gone."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def locked(path: Path) -> BinaryIO | None:
    """The file with an exclusive lock that ends with this process, or None while another process has it."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle
