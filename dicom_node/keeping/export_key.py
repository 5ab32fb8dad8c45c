"""The secret behind the pseudonyms of exports: made once, readable by its owner only, never among the files."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from dicom_node.dicom.deidentify_pseudonyms import SHORTEST_KEY, Pseudonyms
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import RequestError

FILE_NAME: Final = "export.key"
"""In the node's data folder."""
_BYTES: Final = 32
_OTHERS: Final = 0o077


def load_pseudonyms(path: Path, out: Path) -> Pseudonyms:
    """Read the key, made where it is missing.

    Args:
        path: the key file; any bytes will do, blanks at the ends aside.
        out: the folder of the export, which must not hold the key.

    Raises:
        RequestError: others than its owner may read it, it is too short, it lies in the exported folder.
        StorageFull, StorageFailed: the disk refuses.
    """
    if path.resolve().is_relative_to(out.resolve()):
        raise RequestError(
            f"the key {path} must not lie in {out}: whoever gets the files could find out whose they are"
        )
    try:
        if not path.exists():
            _make(path)
        mode = path.stat().st_mode
        key = path.read_bytes().strip()
    except OSError as error:
        raise storage_error(error, path) from error
    if mode & _OTHERS:
        raise RequestError(f"others may read the key {path}: chmod 600 it, or use another (`--key`)")
    if len(key) < SHORTEST_KEY:
        raise RequestError(f"the key {path} has {len(key)} bytes, it needs {SHORTEST_KEY}")
    return Pseudonyms(key)


def _make(path: Path) -> None:
    """A new random key; another process that makes one at the same moment wins or loses as a whole."""
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(half, path)
        sync_folder(path.parent)
    finally:
        half.unlink(missing_ok=True)
