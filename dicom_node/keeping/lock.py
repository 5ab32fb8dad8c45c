"""The lock of a data folder: one node, or one repair, works in it at a time. The kernel drops it with the process."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO, Final

from dicom_node.errors import RequestError

_PATIENCE_S: Final = 1.0
"""Somebody who only asks holds the lock for a moment [s]."""
_LOOK_AGAIN_S: Final = 0.02


def take(data_dir: Path) -> IO[str]:
    """Lock a data folder, made where it is missing, until the returned file is closed.

    Raises:
        RequestError: another node works there, or the folder cannot be used.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = _path(data_dir).open("w")
    except OSError as error:
        raise RequestError(f"cannot use the data folder {data_dir}: {error.strerror}") from error
    give_up = time.monotonic() + _PATIENCE_S
    while not _locked(file):
        if time.monotonic() > give_up:
            file.close()
            raise RequestError(f"another node is running in {data_dir}: stop it or choose another node.data_dir")
        time.sleep(_LOOK_AGAIN_S)
    return file


def is_taken(data_dir: Path) -> bool:
    """Whether a node, or a repair, works there at this moment."""
    try:
        with _path(data_dir).open("r") as file:
            return not _locked(file)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RequestError(f"cannot use the data folder {data_dir}: {error.strerror}") from error


def _path(data_dir: Path) -> Path:
    return data_dir / "node.lock"


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
