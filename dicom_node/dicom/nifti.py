"""NIfTI files to volumes: geometry in LPS, planes turned as DICOM shows them."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray, Geometry, Units, Volume
from dicom_node.errors import StorageFailed, UnreadableFile, UnusableSeries

RIGHT_ANGLE_TOLERANCE = 0.01
"""Largest cosine between two axes of the grid; rounded headers stay below it."""
_LARGEST_RATIO = 1100
"""Deflate itself ends at about 1030."""
_CHUNK = 1 << 20
_HEAD = 2
"""Index of the LPS axis that goes up; those to the left and to the back are 0 and 1."""
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Length of the units of `xyzt_units`; what does not tell is in millimetres [mm]."""
_DAMAGED = (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, ValueError, TypeError, KeyError,
            OverflowError, IndexError, AttributeError)  # fmt: skip
"""What nibabel raises on a file that is no NIfTI, or a broken one."""


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file that can probably be read.

    Attributes:
        path: where it lies.
        frames: number of 2-D frames.
        sha256: digest of its bytes, lower-case hex.
    """

    path: Path
    frames: int
    sha256: str


def inspect(path: Path) -> NiftiFile:
    """Look at the header of a file; the voxels are not decoded.

    Raises:
        UnreadableFile: it is damaged, truncated or no NIfTI file.
        UnusableSeries: it cannot become a volume; the message says why.
        StorageFailed: the disk failed.
    """
    with _reading(path):
        image = _open(path)
        shape = _shape(image, path)
        _grid(image, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return NiftiFile(path, math.prod(shape[2:]), digest)


def read_nifti(path: Path, units: Units) -> Volume:
    """Read a file, with `scl_slope` and `scl_inter` applied.

    Columns, rows and slices are the first three axes of the file. Columns and rows are swapped and turned where needed
    so that the plane lies as DICOM shows it: columns go to the patient's left (sagittal: to the back), rows to the
    back (coronal and sagittal: down), slices along row x column. Every voxel stays at its place in the patient.

    Args:
        path: `.nii` or `.nii.gz`; NIfTI-1 or -2.
        units: of its values, which the file does not tell.

    Returns:
        Axes `zyx`, or `tzyx` for a fourth axis. It carries no tags.

    Raises:
        UnreadableFile: it is damaged, truncated or no NIfTI file.
        UnusableSeries: colour or complex values, more than four axes, no orientation, a sheared grid, or values that
            are not finite.
        StorageFailed: the disk failed.
    """
    with _reading(path):
        image = _open(path)
        shape = _shape(image, path)
        grid = _grid(image, path)
        _refuse_torn(path)
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    wrong = values.size - int(np.isfinite(values).sum())
    if wrong:
        raise UnusableSeries(f"{path}: {wrong} of {values.size} values are not finite")
    pixels, geometry = _as_dicom_shows_it(values, grid)
    return Volume(pixels, units, geometry, axes="zyx" if pixels.ndim == 3 else "tzyx")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever nibabel or the disk raises becomes one of our errors; its own words may quote the header."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            yield
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnreadableFile(f"{path}: cannot be opened ({error.strerror})") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageFailed(f"{path}: cannot be read ({error.strerror})") from error
        raise UnreadableFile(f"{path}: damaged or truncated, or no NIfTI file ({type(error).__name__})") from None


def _open(path: Path) -> nibabel.nifti1.Nifti1Image:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.nifti1.Nifti1Image):
        raise UnusableSeries(f"{path}: a {type(image).__name__}, not a NIfTI image of voxels")
    return image


def _shape(image: nibabel.nifti1.Nifti1Image, path: Path) -> tuple[int, ...]:
    """Three or four axes (x, y, z[, t]); those of length one at the end are left out."""
    kind = image.get_data_dtype()  # type: ignore[no-untyped-call]
    if kind.kind not in "iuf":
        raise UnusableSeries(f"{path}: colour or complex values ({kind.kind}{kind.itemsize})")
    shape = [int(n) for n in image.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    if len(shape) > 4:
        raise UnusableSeries(f"{path}: {len(shape)} axes, at most x, y, z and time are read")
    if min(shape) < 1:
        raise UnreadableFile(f"{path}: damaged NIfTI (an axis has no length)")
    needed = math.prod(shape) * kind.itemsize + int(getattr(image.dataobj, "offset", 0))
    there = path.stat().st_size
    if needed > (there * _LARGEST_RATIO if _is_packed(path) else there):
        raise UnreadableFile(
            f"{path}: truncated: by its header it should have {needed} bytes (unpacked), it has {there}"
        )
    return tuple(shape)


def _refuse_torn(path: Path) -> None:
    """Unpack a gzipped file to its end, where the checksum stands that nibabel never gets to.

    Raises:
        OSError, EOFError, zlib.error: it is torn or truncated.
    """
    if _is_packed(path):
        with gzip.open(path) as stream:
            while stream.read(_CHUNK):
                pass


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _grid(image: nibabel.nifti1.Nifti1Image, path: Path) -> NDArray[np.float64]:
    """4x4 from voxel index (x, y, z) to LPS [mm]."""
    header = image.header
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise UnusableSeries(f"{path}: neither sform nor qform says how it lies in the patient")
    grid = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)  # RAS to LPS
    grid[:3] *= _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    steps = np.linalg.norm(grid[:3, :3], axis=0)
    if not np.isfinite(grid).all() or (steps <= 0).any():
        raise UnusableSeries(f"{path}: its sform or qform makes no sense (a step of no length)")
    axes = grid[:3, :3] / steps
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if cosine > RIGHT_ANGLE_TOLERANCE:
        degrees = math.degrees(math.asin(min(cosine, 1.0)))
        raise UnusableSeries(f"{path}: a sheared grid: two axes are {degrees:.1f} degrees off the right angle")
    return grid


def _as_dicom_shows_it(values: FloatArray, grid: NDArray[np.float64]) -> tuple[FloatArray, Geometry]:
    """Voxels (x, y, z[, t]) and their grid to pixels ([t,] z, y, x) and geometry."""
    grid = grid.copy()
    main = np.abs(grid[:3, :2]).argmax(axis=0)
    if main[1] < main[0]:
        values = np.swapaxes(values, 0, 1)
        grid[:, [0, 1]] = grid[:, [1, 0]]
    for axis in (0, 1):
        towards = int(np.abs(grid[:3, axis]).argmax())
        if (grid[towards, axis] > 0) == (towards == _HEAD):
            values = _flipped(values, grid, axis)
    normal = np.cross(grid[:3, 0], grid[:3, 1])
    if normal @ grid[:3, 2] < 0:
        values = _flipped(values, grid, 2)
    steps = np.linalg.norm(grid[:3, :3], axis=0)
    pixels = np.ascontiguousarray(values.T, dtype=np.float32)
    slices, rows, columns = pixels.shape[-3:]
    return pixels, Geometry(
        row_direction=_vector(grid[:3, 0] / steps[0]),
        column_direction=_vector(grid[:3, 1] / steps[1]),
        pixel_spacing_mm=(float(steps[1]), float(steps[0])),
        slice_origins_mm=tuple(_vector(grid[:3, 3] + z * grid[:3, 2]) for z in range(slices)),
        rows=rows,
        columns=columns,
    )


def _flipped(values: FloatArray, grid: NDArray[np.float64], axis: int) -> FloatArray:
    """Values in the other direction along an axis; the grid is altered to fit."""
    grid[:3, 3] += (values.shape[axis] - 1) * grid[:3, axis]
    grid[:3, axis] *= -1
    return np.flip(values, axis)


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]) + 0.0, float(values[1]) + 0.0, float(values[2]) + 0.0  # no negative zero
