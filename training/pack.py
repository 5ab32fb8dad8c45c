"""A cache of prepared patients, small enough to be carried to another machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dicom_node.errors import InputError, RequestError
from training.anatomy import Anatomy
from training.files import write_atomically

LARGEST_BYTES = 16 << 20
_FORMAT = 1
_INDEX = "index.json"


def write_pack(path: Path, anatomies: Sequence[Anatomy], preparation: str) -> tuple[Anatomy, ...]:
    """Write a cache of at most 16 MiB.

    Where all frames do not fit, each series keeps every second, third... of them, evenly.

    Args:
        path: file to write.
        anatomies: what to keep.
        preparation: `Task.preparation`.

    Returns:
        What was kept.

    Raises:
        RequestError: not even one frame of each series fits.
        StorageFull, StorageFailed: the disk refuses.
    """
    most = max((a.frames for a in anatomies), default=0)
    every = 1
    while every <= most:
        kept = tuple(_thinned(a, every) for a in anatomies)
        data = _packed(kept, preparation)
        if len(data) <= LARGEST_BYTES:
            write_atomically(path, data)
            return kept
        every = max(every + 1, int(every * len(data) / LARGEST_BYTES))
    raise RequestError(f"{len(anatomies)} series do not fit into {LARGEST_BYTES >> 20} MiB: name fewer folders")


def read_pack(path: Path, preparation: str) -> tuple[Anatomy, ...]:
    """Read a cache; nothing is unpickled.

    Raises:
        InputError: it is no cache, damaged, or was prepared for another task.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(_INDEX))
            if index["format"] != _FORMAT:
                raise InputError(f"{path} was packed by another version: pack it again")
            if index["preparation"] != preparation:
                raise InputError(
                    f"{path} was packed for {index['preparation']!r}, this recipe needs {preparation!r}: pack it again"
                )
            return tuple(
                Anatomy(
                    one["patient"],
                    one["series"],
                    one["kind"],
                    {name: _array(archive.read(member)) for name, member in one["arrays"].items()},
                    float(one["weight"]),
                    one["part"],
                    one["attribution"],
                )
                for one in index["anatomies"]
            )
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no packed training data ({type(error).__name__}): pack it again") from error


def is_pack(path: Path) -> bool:
    """Whether a file looks like one of ours."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _INDEX in archive.namelist()


def _packed(anatomies: Sequence[Anatomy], preparation: str) -> bytes:
    buffer = io.BytesIO()
    entries = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for number, anatomy in enumerate(anatomies):
            members = {}
            for name, array in anatomy.arrays.items():
                members[name] = f"{number:05d}/{name}.npy"
                stored = io.BytesIO()
                np.save(stored, array, allow_pickle=False)
                archive.writestr(_member(members[name]), stored.getvalue())
            entries.append(
                {
                    "patient": anatomy.patient,
                    "series": anatomy.series,
                    "kind": anatomy.kind,
                    "weight": anatomy.weight,
                    "part": anatomy.part,
                    "attribution": anatomy.attribution,
                    "arrays": members,
                }
            )
        index = {"format": _FORMAT, "preparation": preparation, "anatomies": entries}
        archive.writestr(_member(_INDEX), json.dumps(index, indent=1))
    return buffer.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    """Without the time of day, so that the same patients give the same bytes."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _array(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _thinned(anatomy: Anatomy, every: int) -> Anatomy:
    """Every n-th frame, in all arrays that have one entry for each frame."""
    arrays = {n: a[::every] if n.startswith("frames") else a for n, a in anatomy.arrays.items()}
    return replace(anatomy, arrays=arrays)
