"""Writing DICOM files so that a killed process leaves whole files or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.durable import storage_error


def write_instance(path: Path, dataset: Dataset, bulk: Iterable[bytes] = (), bulk_head: bytes = b"") -> None:
    """Write one instance in explicit VR little endian: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: where it shall appear.
        dataset: everything but what `bulk` holds; its File Meta Information is made here.
        bulk: encoded value of a last element, in parts, so that it need not be in memory at once.
        bulk_head: tag, VR and length of that element.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    encoded = BytesIO()
    dcmwrite(encoded, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(encoded.getbuffer())
            file.write(bulk_head)
            for part in bulk:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error


def output_folder(role: str) -> str:
    """Folder name of an output, e.g. `map-change` for `map:change`; nothing but letters, digits, `-`, `_` and `.`."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in role)
    return safe.lstrip(".") or "output"
