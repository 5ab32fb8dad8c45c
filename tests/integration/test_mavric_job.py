"""Both readout polarities of a MAVRIC acquisition as files, through `dicom-node correct` and `replay`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import Geometry, TagValue, Units, Volume
from dicom_node.dicom.context import DicomCommandContext
from simulation.dipole import off_resonance_hz
from simulation.mavric import Bins, MavricAcquisition, acquire
from simulation.mavric_scene import make_scene

N, SLICES, BINS = 64, 3, 12
VOXEL_MM = (4.0, 2.0, 2.0)
GEOMETRY = Geometry(
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    VOXEL_MM[1:],
    tuple((-64.0, -64.0, VOXEL_MM[0] * z) for z in range(SLICES)),
    N,
    N,
    VOXEL_MM[0],
)
TAGS: Mapping[str, TagValue] = {
    "PixelBandwidth": 500.0,
    "InPlanePhaseEncodingDirection": "COL",
    "ScanningSequence": "SE",
    "MagneticFieldStrength": 1.5,
}
UNIT, LARGEST = 4000.0, 4095.0
"""Brightest tissue of one bin, and what a scanner of twelve bits can store; roots of sums of squares are larger."""
PARAMETRIC_MAP, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.66.4"
MAPS = ("map:off-resonance", "map:shift-plus", "map:shift-minus", "map:attention")

Pixels = NDArray[np.float64]


def node(folder: Path, *words: str | Path) -> Any:
    """What the command prints, run as installed: not in the source tree."""
    command = [sys.executable, "-m", "dicom_node.cli", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def acquisition() -> tuple[Volume, Volume]:
    """Textured tissue about a ball of metal, whose field the bins do not cover to its end; both polarities."""
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip((15, N, N), VOXEL_MM, strict=True)))
    z, y, x = (np.swapaxes(one, 0, 1) for one in (z, y, x))
    ball = (z**2 + y**2 + x**2 < 12.0**2).astype(np.float32)
    off_hz = off_resonance_hz(torch.from_numpy(ball * np.float32(3e-4)), VOXEL_MM, 1.5).numpy()
    grain = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(ball.shape), (0, 2, 2))
    body = np.hypot(y, x) < 55.0
    signal = (body * (0.7 + 0.1 * grain / grain.std()).clip(0.3, 1.0)).astype(np.float32)
    here = slice(6, 6 + SLICES)
    scene = make_scene(signal[here], ball[here], off_hz[here])
    how = MavricAcquisition(float(str(TAGS["PixelBandwidth"])), Bins(BINS), noise=0.01)
    made = acquire(scene.signal, scene.off_resonance_hz, how, torch.Generator().manual_seed(1))
    plus, minus = (
        Volume(np.rint(UNIT * images.numpy()).clip(0, LARGEST), Units.MR_SIGNAL, GEOMETRY, axes="bzyx", tags=TAGS)
        for images in (made.plus, made.minus)
    )
    return plus, minus


def flipped(volume: Volume) -> Volume:
    """The same voxels, prescribed with the rows from left to right."""
    right = VOXEL_MM[2] * (N - 1)
    geometry = replace(
        volume.geometry,
        row_direction=(-1.0, 0.0, 0.0),
        slice_origins_mm=tuple((x + right, y, z) for x, y, z in volume.geometry.slice_origins_mm),
    )
    return replace(volume, pixels=np.ascontiguousarray(volume.pixels[..., ::-1]), geometry=geometry)


def write(folder: Path, plus: Volume, minus: Volume) -> Path:
    for name, volume in (("RO+", plus), ("RO-", minus)):
        DicomCommandContext().write(volume, folder / name, tags={"SeriesDescription": f"MAVRIC {name}"}, seed=3)
    return folder


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def stored(files: list[str]) -> Pixels:
    """Values of a series of images, (z, y, x)."""
    images = sorted(map(pydicom.dcmread, files), key=lambda one: float(one.ImagePositionPatient[2]))
    assert not any("RescaleSlope" in one for one in images)  # the sources have none either
    return np.stack([one.pixel_array for one in images]).astype(np.float64)


@dataclass(frozen=True)
class Corrected:
    """What `correct` made of one acquisition: where from, where to, and what it said."""

    sources: Path
    out: Path
    told: Any

    @property
    def series(self) -> dict[str, Any]:
        """By role."""
        return {entry["role"]: entry for entry in self.told["series"]}

    @property
    def pixels(self) -> Pixels:
        """The combined series."""
        return stored(self.series["plus"]["files"])


@pytest.fixture(scope="module")
def polarities() -> tuple[Volume, Volume]:
    return acquisition()


@pytest.fixture(scope="module")
def correct(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Volume, Volume], Corrected]:
    def run(plus: Volume, minus: Volume) -> Corrected:
        folder = tmp_path_factory.mktemp("mavric")
        sources, out = write(folder / "in", plus, minus), folder / "out"
        return Corrected(sources, out, node(folder, "correct", sources, "--out", out, "--device", "cpu"))

    return run


@pytest.fixture(scope="module")
def corrected(polarities: tuple[Volume, Volume], correct: Callable[[Volume, Volume], Corrected]) -> Corrected:
    return correct(*polarities)


def test_one_series_comes_back_that_names_every_bin_of_both_polarities(corrected: Corrected) -> None:
    assert (corrected.told["skipped"], corrected.told["failed"]) == ([], [])
    combined = corrected.series["plus"]
    assert (combined["corrector"], combined["method"], combined["changed"]) == ("mavric", "best", True)
    assert len(combined["files"]) == SLICES
    at: dict[float, set[str]] = {}
    for one in headers(corrected.sources):
        at.setdefault(float(one.ImagePositionPatient[2]), set()).add(str(one.SOPInstanceUID))
    for image in map(pydicom.dcmread, combined["files"]):
        named = [str(item.ReferencedSOPInstanceUID) for item in image.SourceImageSequence]
        assert len(named) == 2 * BINS
        assert set(named) == at[float(image.ImagePositionPatient[2])]
        assert image.ImageType[0] == "DERIVED"
        assert "EchoNumbers" not in image


def test_maps_mask_and_report_come_with_it(corrected: Corrected) -> None:
    assert set(corrected.series) == {"plus", *MAPS, "mask:beyond", "report"}
    classes = {
        role: {str(pydicom.dcmread(f, stop_before_pixels=True).SOPClassUID) for f in entry["files"]}
        for role, entry in corrected.series.items()
    }
    assert all(classes[role] == {PARAMETRIC_MAP} for role in MAPS)
    assert classes["mask:beyond"] == {SEGMENTATION}
    (field,) = map(pydicom.dcmread, corrected.series["map:off-resonance"]["files"])
    values = field.get("FloatPixelData") or field.DoubleFloatPixelData
    hertz = np.frombuffer(values, np.float32 if "FloatPixelData" in field else np.float64)
    assert hertz.size == SLICES * N * N
    assert np.abs(hertz).max() > 2000.0  # beside the metal


def test_values_are_on_the_scale_of_the_root_sum_of_squares(
    corrected: Corrected, polarities: tuple[Volume, Volume]
) -> None:
    plus, minus = (np.sqrt(np.square(one.pixels.astype(np.float64)).sum(axis=0)) for one in polarities)
    mean, image = (plus + minus) / 2, corrected.pixels
    tissue = mean > 0.3 * np.percentile(mean, 99)
    assert np.median(image[tissue] / mean[tissue]) == pytest.approx(1.0, abs=0.03)
    bright = np.percentile(mean[tissue], 90)
    assert bright > LARGEST >= max(float(one.pixels.max()) for one in polarities)
    assert np.percentile(image[tissue], 90) == pytest.approx(bright, rel=0.05)


def test_a_replay_finds_every_pixel_the_same(corrected: Corrected) -> None:
    told = node(corrected.out, "replay", corrected.out, "--sources", corrected.sources)
    assert told["agrees"] is True
    assert {entry["role"] for entry in told["series"]} == set(corrected.series)
    assert all(entry["differing_pixels"] == 0 for entry in told["series"])


def test_swapped_names_give_the_same_pixels(
    corrected: Corrected, polarities: tuple[Volume, Volume], correct: Callable[[Volume, Volume], Corrected]
) -> None:
    plus, minus = polarities
    swapped = correct(minus, plus)
    assert swapped.series["plus"]["metrics"]["polarities_swapped"] == 1.0
    assert corrected.series["plus"]["metrics"]["polarities_swapped"] == 0.0
    assert np.array_equal(swapped.pixels, corrected.pixels)


def test_a_polarity_that_was_prescribed_the_other_way_round_is_turned_back(
    corrected: Corrected, polarities: tuple[Volume, Volume], correct: Callable[[Volume, Volume], Corrected]
) -> None:
    plus, minus = polarities
    assert np.array_equal(correct(plus, flipped(minus)).pixels, corrected.pixels)


def left(folder: Path) -> list[str]:
    """Why `correct` leaves each series of a folder."""
    told = node(folder.parent, "correct", folder, "--out", folder.parent / "out", "--device", "cpu")
    assert (told["series"], told["failed"]) == ([], [])
    return [entry["reason"] for entry in told["skipped"]]


def test_a_set_that_lacks_a_bin_at_one_slice_is_left(polarities: tuple[Volume, Volume], tmp_path: Path) -> None:
    folder = write(tmp_path / "in", *polarities)
    gone = next(
        path
        for path in sorted((folder / "RO-").iterdir())
        if (one := pydicom.dcmread(path, stop_before_pixels=True)).EchoNumbers == 5
        and float(one.ImagePositionPatient[2]) == VOXEL_MM[0]
    )
    gone.unlink()
    reasons = left(folder)
    assert len(reasons) == 2
    assert all("minus has between 11 and 12 instances at a slice position" in reason for reason in reasons), reasons


def test_a_series_without_its_bandwidth_is_left_by_name(polarities: tuple[Volume, Volume], tmp_path: Path) -> None:
    tags = {name: value for name, value in TAGS.items() if name != "PixelBandwidth"}
    plus, minus = (replace(one, tags=tags) for one in polarities)
    reasons = left(write(tmp_path / "in", plus, minus))
    assert len(reasons) == 2
    assert all("PixelBandwidth" in reason for reason in reasons), reasons
