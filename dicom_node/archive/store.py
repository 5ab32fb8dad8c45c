"""Originals at rest: one file for each SOP instance, never overwritten."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from pathlib import Path

from dicom_node import logs
from dicom_node.errors import StorageFailed, StorageFull


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
        return self._folder / name[:2] / f"{name}.dcm"

    def place(self, file: Path, sop_instance_uid: str) -> Path:
        """Give a whole, fsynced file its place in the archive; durable when this returns.

        Call it inside the transaction in which the index filed the instance as NEW. The given file stays where it is
        (same bytes, second name): remove it after the commit, then a crash at any moment can be repeated.

        Raises:
            StorageFull: no space left.
            StorageFailed: the disk refused for another reason, or the file is missing.
        """
        target = self.path(sop_instance_uid)
        try:
            self._make_folder(target.parent)
            if target.exists() and not _same(file, target):
                self._set_aside(target, sop_instance_uid)
            if not target.exists():
                _second_name(file, target)
            _sync_folder(target.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no space for {target}; free space under {self._folder}") from error
            raise StorageFailed(f"cannot file {file} as {target}: {error.strerror}") from error
        return target

    def remove(self, sop_instance_uid: str) -> None:
        """Delete the instance's file, if it is there (retention).

        Raises:
            StorageFailed: the disk refused.
        """
        target = self.path(sop_instance_uid)
        try:
            target.unlink(missing_ok=True)
            if target.parent.exists():
                _sync_folder(target.parent)
        except OSError as error:
            raise StorageFailed(f"cannot remove {target}: {error.strerror}") from error

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)

    def _set_aside(self, target: Path, sop_instance_uid: str) -> None:
        """A file that the index does not know lies in the way, left by a filing that never committed: keep it."""
        aside = target.with_name(f"{target.name}.orphan-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        self._log.warning("archive_orphan_set_aside", sop_instance_uid=sop_instance_uid, file=aside.name)


def _second_name(file: Path, target: Path) -> None:
    """Hard link, which cannot overwrite; a durable copy where the file system or the device cannot link."""
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
    else:
        return
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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
