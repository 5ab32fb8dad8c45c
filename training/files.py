"""Files that are whole or not there, and disk errors as the node's own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import StorageFailed, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def storage_errors(path: Path, advice: str = "make room and repeat the command") -> Iterator[None]:
    """Turn errors of the disk into the node's.

    Args:
        path: what is written.
        advice: what to do when the disk is full.

    Raises:
        StorageFull: no room.
        StorageFailed: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{path}: the disk is full; {advice}") from error
        raise StorageFailed(f"{path}: {error.strerror or type(error).__name__}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file by a temporary name, fsync, rename: a reader sees the old one or the new one.

    Raises:
        StorageFull, StorageFailed: the disk refuses; the old file stays.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
