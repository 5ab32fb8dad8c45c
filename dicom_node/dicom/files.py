"""Writing DICOM files so that a killed process leaves whole files or none."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Final, Self

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.durable import storage_error

_WRITERS: Final = 3


def write_instance(path: Path, dataset: Dataset, bulk: Iterable[bytes] = (), bulk_head: bytes = b"") -> None:
    """Write one instance in explicit VR little endian; see `write_file`.

    Args:
        path: where it shall appear.
        dataset: everything but what `bulk` holds; its File Meta Information is made here.
        bulk: encoded value of a last element, in parts, so that it need not be in memory at once.
        bulk_head: tag, VR and length of that element.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """
    write_file(path, chain((encoded_instance(dataset), bulk_head), bulk))


def encoded_instance(dataset: Dataset) -> bytes:
    """A file's bytes in explicit VR little endian; the File Meta Information is made here."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    encoded = BytesIO()
    dcmwrite(encoded, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return encoded.getvalue()


def write_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file: temporary file, fsync, rename; its name is durable once its folder is synced.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb", buffering=0) as file:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[file.write(left) :]
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error


class WriteBehind:
    """Writes files from threads of its own, so that nobody waits for the disk until the end.

    As a context manager: at its end every file is written, or what went wrong is raised.
    """

    _MOST_WAITING = 4

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write-behind")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def write(self, path: Path, parts: Sequence[bytes]) -> None:
        """Have a file written; waits while there are many unwritten ones.

        Raises:
            StorageFull, StorageFailed: the disk refused an earlier one.
        """
        self._waiting.append(self._pool.submit(write_file, path, parts))
        while len(self._waiting) > self._MOST_WAITING or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)


def output_folder(role: str) -> str:
    """Folder name of an output, e.g. `map-change` for `map:change`; nothing but letters, digits, `-`, `_` and `.`."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in role)
    return safe.lstrip(".") or "output"
