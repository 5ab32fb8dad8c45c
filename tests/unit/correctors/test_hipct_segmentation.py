"""What counts as an implant."""

from __future__ import annotations

import numpy as np
import pytest
from hip_scenes import PIXEL_MM, SIDE, corrector, pelvis, simulated, volume

from correctors.hipct.body import body_mask
from correctors.hipct.segmentation import Segmentation, Verdict, segment
from dicom_node.contracts import Volume


def found(given: Volume, method: str = "threshold") -> Segmentation:
    return segment(given, method=method, threshold_hu=2500.0, smallest_mm2=20.0)


def blob(hu: np.ndarray, y: int, x: int, radius: float, value: float) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    hu = hu.copy()
    hu[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = value
    return hu


@pytest.mark.parametrize(("material", "radius_mm"), [("cobalt", 16.0), ("titanium", 10.0)])
def test_kmeans_finds_the_same_implant_as_the_threshold(material: str, radius_mm: float) -> None:
    given = volume([pelvis(), simulated(material, radius_mm).artefact[0].numpy()])
    threshold, kmeans = found(given).metal, found(given, "kmeans").metal
    assert threshold[1].any() and not threshold[0].any()
    assert 2 * (threshold & kmeans).sum() / (threshold.sum() + kmeans.sum()) > 0.95


@pytest.mark.parametrize("method", ["threshold", "kmeans"])
def test_no_metal_is_invented_in_a_clean_series(method: str) -> None:
    outcome = corrector(segmentation=method).correct({"ct": volume([pelvis(), pelvis()])})
    assert not outcome.changed
    assert "no metal implant" in outcome.reason


@pytest.mark.parametrize(
    ("slices", "verdict"),
    [
        ([blob(pelvis(), 101, 58, 0.9, 3071.0)], Verdict.SPECK),
        ([blob(pelvis(), 101, 100, 12.0, 2700.0)], Verdict.NOT_METAL),
        ([blob(pelvis(), 185, 96, 4.0, 3071.0)], Verdict.OUTSIDE),
        ([blob(pelvis(), 101, 58, 6.0, 3071.0)], Verdict.IMPLANT),
        ([blob(pelvis(), 120, 100, 6.0, 3071.0)], Verdict.ELSEWHERE),
        ([np.where(np.abs(np.arange(SIDE) - 96) < 45, blob(pelvis(), 101, 70, 6.0, 3071.0), -1000)], Verdict.ELSEWHERE),
    ],
)
def test_dense_objects_are_told_apart(slices: list[np.ndarray], verdict: Verdict) -> None:
    result = found(volume(slices))
    assert [one.verdict for one in result.objects] == [verdict]
    assert result.metal.any() == (verdict is Verdict.IMPLANT)


def test_a_thin_end_of_an_implant_is_kept_where_it_joins_the_rest() -> None:
    tip = blob(pelvis(), 101, 58, 1.0, 3071.0)
    stem = blob(pelvis(), 101, 58, 6.0, 3071.0)
    result = found(volume([tip, stem]))
    assert result.slices == (0, 1)
    assert [one.slices for one in result.objects] == [(0, 1)]


def test_mask_follows_half_height_where_metal_is_not_clipped() -> None:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    distance = np.hypot(rows - 101.0, columns - 58.0) * PIXEL_MM
    # A blurred edge: 16000 HU metal of 12 mm radius, falling over 6 mm.
    hu = np.maximum(pelvis(), np.clip((15.0 - distance) / 6.0, 0, 1) * 16000).astype(np.float32)
    metal = found(volume([hu])).metal[0]
    assert metal.sum() * PIXEL_MM**2 == pytest.approx(np.pi * 12**2, rel=0.1)


def test_streaks_do_not_tear_the_patient_apart() -> None:
    clean = blob(pelvis(), 101, 58, 12.0, 3071.0)
    noise = np.random.default_rng(5).normal(0, 700, clean.shape).astype(np.float32)
    torn = np.clip(clean + noise, -1024, 3071)
    torn[clean == 3071] = 3071
    patient, expected = body_mask(torn), body_mask(clean)
    assert 2 * (patient & expected).sum() / (patient.sum() + expected.sum()) > 0.95
    assert any(one.verdict is Verdict.IMPLANT for one in found(volume([torn])).objects)


def test_metal_of_the_spine_is_told_and_left_alone_where_a_hip_is_corrected() -> None:
    hip = simulated("cobalt", 15.0).artefact[0].numpy()
    spine = blob(pelvis(), 120, 97, 5.0, 3071.0)
    given = volume([hip, spine, pelvis()])
    outcome = corrector().correct({"ct": given})
    assert outcome.changed
    assert np.array_equal(outcome.volumes["ct"].pixels[1:], given.pixels[1:])
    assert any("in no hip" in warning and "slices 2 to 2" in warning for warning in outcome.warnings)


def test_a_series_with_metal_of_the_spine_only_is_unchanged_and_says_why() -> None:
    outcome = corrector().correct({"ct": volume([blob(pelvis(), 120, 97, 5.0, 3071.0)])})
    assert not outcome.changed
    assert "spine" in outcome.reason
