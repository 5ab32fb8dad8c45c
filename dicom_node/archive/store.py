"""Originals at rest: one file for each SOP instance, never overwritten."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dicom_node import logs
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import StorageFailed

_MOST_SYNCS: Final = 8


class ArchiveStore:
    """Files under `archive/`, named by the SHA-256 of their SOP Instance UID.

    Args:
        folder: the `archive` folder; created with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = logs.get("archive.store")

    def path(self, sop_instance_uid: str) -> Path:
        """Where the instance lies or would lie."""
        name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        return self._folder / name[:1] / f"{name}.dcm"

    def place(self, file: Path, sop_instance_uid: str) -> Path:
        """Give a whole, fsynced file its place in the archive; durable when this returns. As `link`, then `sync`.

        Raises:
            StorageFull: no space left.
            StorageFailed: the disk refused for another reason, or the file is missing.
        """
        target = self.link(file, sop_instance_uid)
        self.sync([target])
        return target

    def link(self, file: Path, sop_instance_uid: str) -> Path:
        """Give a whole, fsynced file its place in the archive; durable after `sync`.

        For an instance that the index does not know, or whose file is lost. The given file stays where it is (same
        bytes, second name): remove it once the index's row is committed, then a crash at any moment can be repeated.

        Raises:
            StorageFull: no space left.
            StorageFailed: the disk refused for another reason, or the file is missing.
        """
        target = self.path(sop_instance_uid)
        with _refusals(f"cannot file {file} as {target}", target):
            self._make_folder(target.parent)
            try:
                _second_name(file, target)
            except FileExistsError:
                if not _same(file, target):
                    self._set_aside(target, sop_instance_uid)
                    _second_name(file, target)
        return target

    def sync(self, placed: Iterable[Path]) -> None:
        """Make names that `link` gave durable.

        Raises:
            StorageFull, StorageFailed: the disk refuses.
        """
        folders = sorted({path.parent for path in placed})
        if not folders:
            return
        # At once, because the kernel then flushes the disk for many of them together.
        with ThreadPoolExecutor(min(len(folders), _MOST_SYNCS)) as pool:
            deque(pool.map(sync_folder, folders), maxlen=0)

    def holds(self, sop_instance_uid: str) -> bool:
        """Whether a file lies in the instance's place."""
        return self.path(sop_instance_uid).exists()

    def remove(self, sop_instance_uid: str) -> None:
        """Delete the instance's file, if it is there (retention).

        Raises:
            StorageFailed: the disk refused.
        """
        target = self.path(sop_instance_uid)
        with _refusals(f"cannot remove {target}", target):
            target.unlink(missing_ok=True)
            if target.parent.exists():
                sync_folder(target.parent)

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            if not self._folder.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self._folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def _set_aside(self, target: Path, sop_instance_uid: str) -> None:
        """A file that the index does not know lies in the way, left by a filing that never committed: keep it."""
        aside = target.with_name(f"{target.name}.orphan-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        self._log.warning("archive_orphan_set_aside", sop_instance_uid=sop_instance_uid, file=aside.name)


@contextmanager
def _refusals(what: str, path: Path) -> Iterator[None]:
    """Turn the disk's refusals into errors of our tree."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise storage_error(error, path) from error
        raise StorageFailed(f"{what}: {error.strerror or type(error).__name__}") from error


def _second_name(file: Path, target: Path) -> None:
    """Hard link, which cannot overwrite; a durable copy where the file system or the device cannot link.

    Raises:
        OSError: the disk refuses; FileExistsError when something lies there.
    """
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
    else:
        return
    if target.exists():
        raise FileExistsError(errno.EEXIST, "something lies there", str(target))
    half = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        with file.open("rb") as source, half.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        half.rename(target)
    finally:
        half.unlink(missing_ok=True)


def _same(file: Path, target: Path) -> bool:
    if file.samefile(target):
        return True
    if file.stat().st_size != target.stat().st_size:
        return False
    with file.open("rb") as one, target.open("rb") as other:
        return hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()
