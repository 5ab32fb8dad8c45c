"""What the hip CT corrector must not touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hip_scenes import AXIAL, SIDE, corrector, pelvis, simulated, volume

from dicom_node.contracts import CorrectionRefused, TagValue, Volume


def metal_slice() -> np.ndarray:
    return simulated("cobalt", 15.0).artefact[0].numpy()


def reason(given: Volume) -> str:
    with pytest.raises(CorrectionRefused) as refusal:
        corrector("li").correct({"ct": given})
    return str(refusal.value)


@pytest.mark.parametrize(
    ("image_type", "word"),
    [
        (("DERIVED", "PRIMARY", "AXIAL"), "DERIVED"),
        (("ORIGINAL", "SECONDARY", "AXIAL"), "SECONDARY"),
        (("ORIGINAL", "PRIMARY", "LOCALIZER"), "LOCALIZER"),
        (("ORIGINAL", "PRIMARY", "AXIAL", "MPR"), "MPR"),
        ("ORIGINAL\\PRIMARY\\OTHER", "AXIAL"),
    ],
)
def test_images_that_are_not_original_axial(image_type: TagValue, word: str) -> None:
    assert word in reason(volume([metal_slice()], tags={"ImageType": image_type}))


def test_missing_image_type() -> None:
    assert "ImageType" in reason(volume([metal_slice()], tags={}))


def test_an_original_that_is_only_lossy_compressed_is_corrected() -> None:
    tags = {"ImageType": ("DERIVED", "PRIMARY", "AXIAL"), "LossyImageCompression": "01"}
    assert corrector("li").correct({"ct": volume([metal_slice()], tags=tags)}).changed


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("SeriesDescription", "Pelvis O-MAR 2.0"),
        ("SeriesDescription", "HIP_iMAR_Br40"),
        ("ProtocolName", "Hip SEMAR"),
        ("ImageComments", "Smart MAR applied"),
        ("SeriesDescription", "hip 0.6 MAR"),
        ("DerivationDescription", "metal artifact reduction"),
    ],
)
def test_vendor_correction_is_not_corrected_again(keyword: str, text: str) -> None:
    message = reason(volume([metal_slice()], tags={**AXIAL, keyword: text}))
    assert keyword in message
    assert text not in message


@pytest.mark.parametrize("text", ["Hip 12 MAR 2020", "no MAR", "Hip non-MAR", "Marathon", "SMART"])
def test_words_that_only_look_like_vendor_correction(text: str) -> None:
    given = volume([metal_slice()], tags={**AXIAL, "SeriesDescription": text})
    assert corrector("li").correct({"ct": given}).changed


def test_vendor_correction_named_on_single_slices() -> None:
    given = volume([metal_slice(), pelvis()])
    assert "ImageComments" in reason(replace(given, frame_tags={"ImageComments": (None, "O-MAR")}))


def test_tilted_gantry() -> None:
    assert "tilted by 12.0 degrees" in reason(volume([metal_slice()], tags={**AXIAL, "GantryDetectorTilt": -12.0}))


def test_slices_that_are_not_axial() -> None:
    assert "not axial" in reason(volume([metal_slice()], column_direction=(0.0, 0.0, -1.0)))


def test_sheared_stack() -> None:
    assert "shifted" in reason(volume([metal_slice(), pelvis()], drift_mm=0.6))


def test_pixels_that_are_not_square() -> None:
    assert "not square" in reason(volume([metal_slice()], spacing_mm=(2.0, 3.0)))


def test_thick_slices() -> None:
    assert "thick" in reason(volume([metal_slice()], thickness_mm=15.0))


def test_patient_cut_by_the_field_of_view() -> None:
    shifted = np.roll(metal_slice(), 60, axis=0)
    assert "field of view" in reason(volume([shifted]))


def test_slices_that_the_field_of_view_cuts_are_kept_and_told_where_others_are_whole() -> None:
    shifted = np.roll(metal_slice(), 60, axis=0)
    given = volume([shifted, metal_slice(), shifted])
    outcome = corrector().correct({"ct": given})
    assert outcome.changed
    assert np.array_equal(outcome.volumes["ct"].pixels[[0, 2]], given.pixels[[0, 2]])
    assert not np.array_equal(outcome.volumes["ct"].pixels[1], given.pixels[1])
    assert not outcome.masks["metal"].voxels[[0, 2]].any()
    assert any(w.startswith("slice(s) 1, 3 ") and "field of view" in w for w in outcome.warnings)


@pytest.mark.parametrize(("material", "both", "told"), [("cobalt", True, True), ("titanium", False, False)])
def test_starved_slices_are_told(material: str, both: bool, told: bool) -> None:
    scene = simulated(material, 18.0, both=both, photons=2e6)
    outcome = corrector().correct({"ct": volume([scene.artefact[0].numpy()])})
    assert any("photon" in warning for warning in outcome.warnings) == told


def test_values_that_are_not_finite() -> None:
    broken = metal_slice().copy()
    broken[3, 4] = np.nan
    assert "slice 2" in reason(volume([pelvis(), broken]))


def test_nothing_but_air() -> None:
    assert "no patient" in reason(volume([np.full((SIDE, SIDE), -1000.0)]))
