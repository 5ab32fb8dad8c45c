"""Write-through spool: a received file is either whole, on disk and named in `ready/`, or it is not there at all.

Every process that writes into the spool holds an exclusive lock on `incoming/<token>.lock` and starts the names of its
files with the token. The kernel drops the lock with the process, so whoever sweeps knows whose files are orphans.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from dicom_node import logs
from dicom_node.durable import storage_error
from dicom_node.errors import StorageFull

log = logs.get("net.spool")


class Spool:
    """The folders `spool/incoming` and `spool/ready` of one node, for one writing process.

    Attributes:
        token: unique name of this writer.
        incoming: half-received files.
        ready: whole files; a row in the ledger makes them count.
    """

    def __init__(self, folder: Path, *, min_free_mb: float = 0) -> None:
        """Make the folders and take the lock.

        Args:
            folder: `data_dir/spool`.
            min_free_mb: watermark [MB, 1e6 bytes]; with less free nothing new is begun.

        Raises:
            StorageFailed, StorageFull: the folders cannot be made or written.
        """
        self.incoming = folder / "incoming"
        self.ready = folder / "ready"
        self._least_free = min_free_mb * 1e6
        self._numbers = itertools.count()
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
            self.ready.mkdir(parents=True, exist_ok=True)
            self.token, self._lock = self._new_token()
        except OSError as problem:
            raise storage_error(problem, folder) from problem

    def check_space(self) -> None:
        """Refuse work below the watermark.

        Raises:
            StorageFull: less free than `min_free_mb`.
        """
        free = shutil.disk_usage(self.incoming).free
        if free < self._least_free:
            raise StorageFull(
                f"{self.incoming}: {free / 1e6:.0f} MB free, at least {self._least_free / 1e6:.0f} MB needed"
            )

    def create(self) -> SpoolFile:
        """Begin a file in `incoming/`.

        Raises:
            StorageFull: below the watermark, or no space.
            StorageFailed: the file cannot be made.
        """
        self.check_space()
        path = self.incoming / f"{self.token}-{next(self._numbers)}.dcm"
        try:
            return SpoolFile(path, self.ready / path.name, path.open("xb", buffering=0))
        except OSError as problem:
            raise storage_error(problem, path) from problem

    def sweep(self, dead: Callable[[str], Collection[Path]]) -> int:
        """Remove what processes that are gone left behind; returns the number of files.

        Half-received files go. Whole files go unless a row names them: without a row they were never acknowledged,
        so the sender still has them.

        Args:
            dead: called with the token of each writer that is gone, returns its files in `ready/` that have a row
                and are not filed yet.
        """
        removed = 0
        present = [p for folder in (self.incoming, self.ready) for p in folder.glob("*.dcm")]
        tokens = {p.stem for p in self.incoming.glob("*.lock")} | {p.stem.partition("-")[0] for p in present}
        for token in sorted(tokens - {self.token}):
            lock = _locked(self._lock_path(token))
            if lock is None:
                continue
            with lock:
                kept = dead(token)
                for path in present:
                    if path.stem.partition("-")[0] == token and path not in kept:
                        path.unlink(missing_ok=True)
                        removed += 1
                self._lock_path(token).unlink(missing_ok=True)
        if removed:
            log.warning("spool_swept", removed=removed)
        return removed

    def close(self) -> None:
        """Give the lock back. Files in `ready/` stay; only `sweep` of a later process may judge them."""
        self._lock.close()

    def _new_token(self) -> tuple[str, BinaryIO]:
        while True:
            token = uuid.uuid4().hex
            lock = _locked(self._lock_path(token))
            # A sweeper that came between open and lock has taken the new file for an orphan's: try another token.
            if lock is not None:
                if self._lock_path(token).exists():
                    return token, lock
                lock.close()

    def _lock_path(self, token: str) -> Path:
        return self.incoming / f"{token}.lock"


class SpoolFile:
    """One file on its way in."""

    def __init__(self, path: Path, final: Path, handle: BinaryIO) -> None:
        self.path = path
        self._final = final
        self._handle = handle

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`.

        Raises:
            StorageFull, StorageFailed: the disk refused; the file is already removed.
        """
        with self._removed_on_failure():
            view = memoryview(data)
            while view:
                view = view[self._handle.write(view) :]

    def commit(self) -> Path:
        """Make the file durable and visible: fsync, rename into `ready/`, fsync of the folder.

        Raises:
            StorageFull, StorageFailed: the disk refused; the file is already removed.
        """
        with self._removed_on_failure():
            os.fsync(self._handle.fileno())
            self._handle.close()
            self.path.rename(self._final)
            sync_folder(self._final.parent)
        return self._final

    def discard(self) -> None:
        """Remove the file, wherever it is. May be called twice."""
        with contextlib.suppress(OSError):
            self._handle.close()
        self.path.unlink(missing_ok=True)
        self._final.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _removed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self.discard()
            raise storage_error(problem, self.path) from problem


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> BinaryIO | None:
    """The file with an exclusive lock that ends with this process, or None while another process has it."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle
