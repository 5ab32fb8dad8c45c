"""What every stage that writes files needs: names made durable, and the disk's refusals as errors of our tree."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dicom_node.errors import StorageFailed, StorageFull


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename alone may be lost with the power.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, folder) from error


def storage_error(error: OSError, path: Path) -> StorageFull | StorageFailed:
    """The error that the ledger understands: waiting may help, and no attempt is charged."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk is full at {path}: free space, the work goes on by itself")
    return StorageFailed(f"cannot use {path}: {error.strerror or type(error).__name__}")
