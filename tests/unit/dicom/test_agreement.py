"""Pixels of two derived instances beside each other, and provenance read back from what was derived."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from derivation_case import Case, make_case
from pydicom.uid import JPEGLSLossless

from dicom_node.contracts import FileRef
from dicom_node.dicom.agreement import compare
from dicom_node.dicom.derive import DerivedSet
from dicom_node.dicom.derived import Derived, is_image, read_derived
from dicom_node.dicom.headers import read_header
from dicom_node.testing.series import SyntheticSeries


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    series = SyntheticSeries(slices=5, rows=32, columns=32, slope=0.1, bits_stored=16, padding_value=65535)
    return make_case(series, tmp_path_factory.mktemp("case"), companions=True)


@pytest.fixture
def made(case: Case, tmp_path: Path) -> DerivedSet:
    return case.derive(tmp_path / "made")


def files(made: DerivedSet, role: str) -> list[FileRef]:
    return [FileRef(file.path) for series in made.series if series.role == role for file in series.files]


def again(case: Case, folder: Path, add: float) -> DerivedSet:
    """The same with some more added where something was added."""
    pixels = case.correction.volumes["image"].pixels.copy()
    pixels[2, 10:20, 12:24] += np.float32(add)
    volume = case.loaded["image"].volume.with_pixels(pixels)
    return replace(case, correction=replace(case.correction, volumes={"image": volume})).derive(folder)


def test_every_output_is_equal_to_itself(case: Case, made: DerivedSet, tmp_path: Path) -> None:
    other = case.derive(tmp_path / "other")
    for role in (series.role for series in made.series):
        for one, two in zip(files(made, role), files(other, role), strict=True):
            found = compare(one, two)
            assert (found.differing, found.beyond, found.largest) == (0, 0, 0.0)
            assert found.values > 0


def test_a_difference_of_exactly_the_tolerance_is_within_it(case: Case, made: DerivedSet, tmp_path: Path) -> None:
    other = again(case, tmp_path / "other", 0.3)  # three steps of the rescale: 0.30000000000000004 in float64
    one, two = files(made, "image")[2], files(other, "image")[2]
    found = compare(one, two, 0.3)
    assert found.differing == 120
    assert found.beyond == 0
    assert found.largest == pytest.approx(0.3)
    assert compare(one, two, 0.29).beyond == 120
    assert compare(two, one, 0.0).beyond == 120


def test_another_rescale_of_the_same_words_is_a_difference(made: DerivedSet, tmp_path: Path) -> None:
    one = files(made, "image")[1]
    dataset = pydicom.dcmread(one.path)
    dataset.RescaleIntercept = float(dataset.RescaleIntercept) + 1
    dataset.save_as(tmp_path / "rescaled.dcm")
    found = compare(one, FileRef(tmp_path / "rescaled.dcm"))
    assert found.differing == found.values
    assert found.largest == pytest.approx(1.0)


def test_lossless_compression_changes_nothing(made: DerivedSet, tmp_path: Path) -> None:
    one = files(made, "image")[1]
    dataset = pydicom.dcmread(one.path)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "compressed.dcm")
    assert compare(one, FileRef(tmp_path / "compressed.dcm")).differing == 0


def test_a_map_slice_that_only_one_has_counts_as_zero_in_the_other(case: Case, tmp_path: Path) -> None:
    change = case.correction.maps["change"]
    fewer = change.values.copy()
    fewer[3] = 0
    one = case.derive(tmp_path / "one")
    two = replace(case, correction=replace(case.correction, maps={"change": replace(change, values=fewer)}))
    (a,), (b,) = files(one, "map:change"), files(two.derive(tmp_path / "two"), "map:change")
    found = compare(a, b)
    assert found.differing == int(np.count_nonzero(change.values[3]))
    assert found.largest == pytest.approx(float(np.abs(change.values[3]).max()))
    assert compare(b, a).differing == found.differing


def test_a_map_that_is_not_finite_differs_infinitely(made: DerivedSet, tmp_path: Path) -> None:
    (one,) = files(made, "map:change")
    dataset = pydicom.dcmread(one.path)
    values = np.frombuffer(dataset.FloatPixelData, "<f4").copy()
    values[7] = np.nan
    dataset.FloatPixelData = values.tobytes()
    dataset.save_as(tmp_path / "nan.dcm")
    found = compare(FileRef(tmp_path / "nan.dcm"), one, 5.0)
    assert (found.differing, found.beyond, found.largest) == (1, 1, math.inf)


def test_a_mask_may_differ_by_a_share_of_its_voxels(case: Case, tmp_path: Path) -> None:
    metal = case.correction.masks["metal"]
    voxels = metal.voxels.copy()
    voxels[2, 10, 12:15] = False
    one = case.derive(tmp_path / "one")
    two = replace(case, correction=replace(case.correction, masks={"metal": replace(metal, voxels=voxels)}))
    (a,), (b,) = files(one, "mask:metal"), files(two.derive(tmp_path / "two"), "mask:metal")
    share = 3 / np.count_nonzero(metal.voxels)
    assert compare(a, b).beyond == 3
    assert compare(a, b, share).beyond == 0
    assert compare(a, b, 0.99 * share).beyond == 3


def test_images_of_other_shape_or_kind_cannot_be_laid_over_one_another(made: DerivedSet, tmp_path: Path) -> None:
    one = files(made, "image")[1]
    dataset = pydicom.dcmread(one.path)
    dataset.Rows = 16
    dataset.PixelData = dataset.PixelData[: 16 * 32 * 2]
    dataset.save_as(tmp_path / "half.dcm")
    assert compare(one, FileRef(tmp_path / "half.dcm")).largest == math.inf
    assert compare(one, files(made, "map:change")[0]).largest == math.inf


def test_the_provenance_reads_back(case: Case, made: DerivedSet) -> None:
    found: list[Derived] = [read_derived(read_header(FileRef(f.path))) for s in made.series for f in s.files]
    assert {one.role for one in found} == {series.role for series in made.series}
    (recipe,) = {one.recipe for one in found}
    assert (recipe.corrector, recipe.corrector_version, recipe.method) == ("probe", "1.2.3", "classical")
    assert (recipe.weights_sha256, recipe.input_digest) == ("ab" * 32, "cd" * 32)
    assert (recipe.parameters, recipe.device, recipe.job_version) == ({"strength": 0.5}, "cpu", 1)
    sources = {str(pydicom.dcmread(path).SOPInstanceUID) for path in case.sources}
    assert frozenset().union(*(one.sources for one in found if is_image(one.role))) == sources
    assert all(one.sources and one.sources <= sources for one in found)
