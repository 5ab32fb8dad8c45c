"""NIfTI to volumes: every voxel stays at its place in the patient, and what a file does not tell is not made up."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dicom_node.contracts import Units, Volume
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.dicom.nifti import inspect, read_nifti
from dicom_node.errors import InputError, NodeError, RequestError, UnreadableFile, UnusableSeries

CONTEXT = DicomCommandContext()
RAS = np.diag([0.5, 0.75, 2.0, 1.0])
RAS[:3, 3] = (-10.0, 20.0, 30.0)


def write(path: Path, values: NDArray[Any], affine: NDArray[Any] | None = RAS, **header: Any) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    for key, value in header.items():
        image.header[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def counting(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def places(volume: Volume) -> dict[float, tuple[float, ...]]:
    """Where each value lies [mm, LPS]; rounded."""
    grid = volume.geometry
    row, column = np.asarray(grid.row_direction), np.asarray(grid.column_direction)
    dy, dx = grid.pixel_spacing_mm
    found = {}
    for z, y, x in np.ndindex(volume.shape):
        place = np.asarray(grid.slice_origins_mm[z]) + x * dx * row + y * dy * column
        found[float(volume.pixels[z, y, x])] = tuple(np.round(place, 3) + 0.0)
    return found


def wanted(values: NDArray[Any], affine: NDArray[Any]) -> dict[float, tuple[float, ...]]:
    found = {}
    for index in np.ndindex(values.shape):
        x, y, z = (affine @ [*index, 1])[:3]
        found[float(values[index])] = tuple(np.round((-x, -y, z), 3) + 0.0)
    return found


ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_however_a_file_was_stored_voxels_keep_their_place_and_planes_lie_as_dicom_shows_them(tmp_path, axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, column] = sign * (column + 1) * 0.5
    affine[:3, 3] = (5, -6, 7)
    values = counting(3, 4, 2)
    volume = read_nifti(write(tmp_path / "a.nii", values, affine), Units.HU)
    assert places(volume) == wanted(values, affine)
    geometry = volume.geometry
    assert np.diff(geometry.slice_offsets_mm).min() > 0
    across = axes[2]
    assert geometry.row_direction == ((0.0, 1.0, 0.0) if across == 0 else (1.0, 0.0, 0.0))
    assert geometry.column_direction == ((0.0, 1.0, 0.0) if across == 2 else (0.0, 0.0, -1.0))


@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    steps=st.tuples(*[st.floats(0.2, 5)] * 3),
    mirrored=st.booleans(),
)
def test_an_oblique_grid_keeps_the_place_of_every_voxel(tmp_path_factory, angles, steps, mirrored):
    a, b, c = angles
    turn = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(steps) @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    affine[:3, 3] = (1, 2, 3)
    values = counting(3, 2, 4)
    path = write(tmp_path_factory.mktemp("oblique") / "a.nii", values, affine)
    volume = read_nifti(path, Units.MR_SIGNAL)
    found, expected = places(volume), wanted(values, affine)
    assert found.keys() == expected.keys()
    assert max(np.abs(np.subtract(found[v], expected[v])).max() for v in found) < 0.01  # the file holds float32
    assert np.diff(volume.geometry.slice_offsets_mm).min() > 0


def test_scale_time_axis_units_and_gzip(tmp_path):
    stored = (np.arange(48).reshape(2, 3, 4, 2) - 10).astype(np.int16)
    image = nibabel.Nifti1Image(stored, RAS / 1000)
    image.header.set_slope_inter(2.0, -5.0)
    image.header.set_xyzt_units("meter", "sec")
    nibabel.save(image, tmp_path / "cine.nii.gz")
    (cine,) = CONTEXT.read([tmp_path])
    assert cine.volume.units is Units.MR_SIGNAL
    assert cine.volume.axes == "tzyx"
    assert cine.volume.shape == (2, 4, 3, 2)
    assert sorted(cine.volume.pixels.ravel()) == sorted(stored.ravel() * 2.0 - 5.0)
    assert np.allclose(cine.volume.geometry.pixel_spacing_mm, (0.75, 0.5))
    plain = stored[..., 0].astype(np.float32) * 2 - 5
    image = nibabel.Nifti1Image(plain, RAS)
    nibabel.save(image, tmp_path / "first.nii")
    first = read_nifti(tmp_path / "first.nii", Units.MR_SIGNAL)
    assert np.array_equal(first.pixels, cine.volume.pixels[0])


def test_long_and_flat_shapes(tmp_path):
    assert read_nifti(write(tmp_path / "one.nii", counting(3, 4)), Units.HU).shape == (1, 4, 3)
    trailing = write(tmp_path / "trailing.nii", counting(3, 4, 2, 1, 1))
    assert (read_nifti(trailing, Units.HU).shape, inspect(trailing).frames) == ((2, 4, 3), 2)
    with pytest.raises(UnusableSeries, match="5 axes"):
        read_nifti(write(tmp_path / "five.nii", counting(2, 2, 2, 2, 2)), Units.HU)


def sheared() -> NDArray[np.float64]:
    affine = RAS.copy()
    affine[1, 2] = 0.5
    return affine


def colours() -> NDArray[Any]:
    return np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("values", "affine", "says"),
    [
        (counting(3, 4, 2), sheared(), r"sheared grid: two axes are 14\.0 degrees"),
        (counting(3, 4, 2), None, "neither sform nor qform"),
        (np.full((2, 2, 2), np.nan, np.float32), RAS, "8 of 8 values are not finite"),
        (np.full((2, 2, 2), 1e200), RAS, "not finite"),
        (colours(), RAS, "colour or complex"),
        (np.ones((2, 2, 2), np.complex64), RAS, "colour or complex"),
    ],
)
def test_what_cannot_be_a_volume_is_refused_with_the_reason(tmp_path, values, affine, says):
    path = write(tmp_path / "a.nii", values, affine)
    with pytest.raises(UnusableSeries, match=says) as caught:
        read_nifti(path, Units.HU)
    assert str(path) in str(caught.value)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def torn_gzip(path: Path) -> None:
    data = bytearray(gzip.compress(path.read_bytes()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_damaged_files_are_left_out_and_named_and_the_others_are_read(tmp_path):
    good = write(tmp_path / "good.nii", counting(9, 8, 7))
    truncated(write(tmp_path / "cut.nii", counting(9, 8, 7)))
    truncated(write(tmp_path / "cut.nii.gz", np.random.default_rng(0).normal(size=(9, 8, 7))))
    torn = write(tmp_path / "torn.nii", np.random.default_rng(1).normal(size=(9, 8, 7)))
    torn_gzip(torn)
    torn.rename(tmp_path / "torn.nii.gz")
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "text.nii").write_text("not an image " * 60)
    (tmp_path / "zeros.nii.gz").write_bytes(gzip.compress(bytes(400)))
    found = CONTEXT.find([tmp_path])
    assert good.name in {name for image in found.images for name in image.names}
    named = {Path(left.what).name: left.reason for left in found.left_out}
    assert {"cut.nii", "empty.nii", "text.nii", "zeros.nii.gz"} <= named.keys()
    assert "truncated" in named["cut.nii"]
    (read,) = CONTEXT.read([tmp_path])
    assert read.volume.shape == (7, 8, 9)
    good.unlink()
    with pytest.raises(InputError) as caught:
        CONTEXT.read([tmp_path])
    assert all(name in str(caught.value) for name in ("cut.nii.gz", "torn.nii.gz", "zeros.nii.gz"))


def test_a_header_that_promises_more_than_a_file_can_hold_is_refused_before_memory_is_taken(tmp_path):
    path = write(tmp_path / "bomb.nii", counting(3, 4, 2))
    data = bytearray(path.read_bytes())
    data[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(data))
    with pytest.raises(UnreadableFile, match="truncated"):
        inspect(tmp_path / "bomb.nii.gz")


@settings(max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6), packed=st.booleans()
)
def test_whatever_stands_in_a_header_there_is_a_volume_or_a_reason(tmp_path_factory, changes, packed):
    folder = tmp_path_factory.getbasetemp() / "header"
    path = folder / "plain.nii"
    if not path.exists():
        write(path, counting(3, 4, 2))
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place] = value
    torn = folder / ("torn.nii.gz" if packed else "torn.nii")
    torn.write_bytes(gzip.compress(data, 1) if packed else data)
    try:
        inspect(torn)
        volume = read_nifti(torn, Units.HU)
    except NodeError as error:
        assert str(torn) in str(error)
    else:
        assert np.isfinite(volume.pixels).all()
        assert np.isfinite(volume.geometry.affine()).all()


def test_each_file_is_a_patient_of_its_own_and_equal_ones_are_one(tmp_path):
    write(tmp_path / "p1" / "t1.nii", counting(3, 4, 2))
    write(tmp_path / "p2" / "t1.nii", counting(3, 4, 2) + 1)
    write(tmp_path / "p3" / "copy.nii", counting(3, 4, 2))
    found = CONTEXT.find([tmp_path], modality="CT")
    assert [image.names for image in found.images] == [("p1/t1.nii",), ("p2/t1.nii",)]
    assert len({image.patient for image in found.images}) == 2
    assert [(image.modality, image.frames) for image in found.images] == [("", 2), ("", 2)]
    (copy,) = found.left_out
    assert "same bytes as" in copy.reason
    loaded = CONTEXT.load(found.images[0], modality="CT")
    assert (loaded.volume.units, loaded.patient) == (Units.HU, found.images[0].patient)
    assert CONTEXT.load(found.images[0]).volume.units is Units.MR_SIGNAL
    with pytest.raises(RequestError, match="not 'PT'"):
        CONTEXT.load(found.images[0], modality="PT")


def test_what_was_read_from_nifti_is_written_as_a_synthetic_patient(tmp_path):
    write(tmp_path / "in.nii.gz", np.rint(counting(12, 10, 3)))
    (read,) = CONTEXT.read([tmp_path / "in.nii.gz"], modality="CT")
    CONTEXT.write(read.volume, tmp_path / "out", like=read.template, seed=3)
    (back,) = CONTEXT.read([tmp_path / "out"])
    assert np.array_equal(back.volume.pixels, read.volume.pixels)
    assert np.allclose(back.volume.geometry.affine(), read.volume.geometry.affine(), atol=1e-5)
