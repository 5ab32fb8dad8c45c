"""The training side of hip CT: which images serve, what is put into them, what is judged."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from correctors.hipct.refusals import check_geometry, check_headers, check_pixels
from dicom_node.contracts import Units, Volume
from dicom_node.errors import RequestError, UnusableSeries
from simulation.implanted_ct import part
from simulation.materials import ALUMINA, COCRMO, STEEL_316L, TI6AL4V, ZIRCONIA
from simulation.phantoms import make_pelvis
from training.subject import Subject, subject_of
from training.subjects.hipct import MOST_SLICES, ONLY_METAL, SUBJECT


@cache
def pelvis(slices: int = 14, seed: int = 3) -> Volume:
    made = make_pelvis(seed=seed, slices=slices, n_pixels=144, pixel_mm=3.0, spacing_mm=4.0)
    return Volume(made.hu, Units.HU, made.geometry, tags={"KVP": 120.0, "ImageType": ("DERIVED", "SECONDARY")})


@cache
def simulated(scenario: str, seed: int = 1, slices: int = 14):
    return SUBJECT.simulate(SUBJECT.clean(pelvis(slices)), scenario=scenario, seed=seed)


def test_it_is_found_by_the_corrector_s_name() -> None:
    subject: Subject = subject_of("hipct")
    assert subject is SUBJECT
    assert next(iter(subject.scenarios)) == "physics"
    assert set(subject.scenarios) == {"physics", *ONLY_METAL, "lesions", "crude"}
    with pytest.raises(RequestError, match="there is: hipct"):
        subject_of("unheard")


def test_the_scale_is_that_of_the_paper() -> None:
    low, high = SUBJECT.scales["ct"].judged
    assert (low, high - low) == (-1000, 2604)


def test_a_clean_image_becomes_an_original_axial_series() -> None:
    varying = replace(pelvis(), tags={"KVP": 120.0}, frame_tags={"ImageType": (("A", "B"),) * 14})
    clean = SUBJECT.clean(varying)["ct"]
    assert clean.tags == {"KVP": 120.0, "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL")}
    assert "ImageType" not in clean.frame_tags
    check_headers(clean)


@pytest.mark.parametrize("scenario", ["physics", "crude"])
def test_metal_is_put_into_some_slices_and_the_rest_stays(scenario: str) -> None:
    case, clean = simulated(scenario), pelvis()
    artefact, truth, excluded = case.artefact["ct"], case.truth["ct"], case.excluded["ct"]
    assert 1 <= len(case.slices) <= MOST_SLICES
    assert truth.geometry == artefact.geometry == clean.geometry
    others = [z for z in range(14) if z not in range(min(case.slices), max(case.slices) + 1)]
    for z in case.slices:
        metal = truth.pixels[z] >= 2500
        assert metal.any()
        assert not (metal & ~excluded[z]).any()
        near = ndimage.binary_dilation(metal, np.ones((3, 3)), iterations=3)
        assert not (excluded[z] & ~near).any()
        error = (artefact.pixels - truth.pixels)[z][~excluded[z]]
        assert error.std() > 10
        altered = np.abs(truth.pixels[z] - clean.pixels[z]) > 1
        if scenario == "crude":
            assert np.array_equal(altered, metal)
        assert altered.mean() < 0.1  # an implant has parts of plastic, and thin ones that fill no voxel
    assert any(np.array_equal(artefact.pixels[z], clean.pixels[z]) for z in others)
    for check in (check_headers, check_geometry, check_pixels):
        check(artefact)


@pytest.mark.parametrize("scenario", ["physics", "crude"])
def test_the_seed_alone_decides(scenario: str) -> None:
    first = simulated(scenario)
    again = SUBJECT.simulate(SUBJECT.clean(pelvis()), scenario=scenario, seed=1)
    assert np.array_equal(first.artefact["ct"].pixels, again.artefact["ct"].pixels)
    assert first.description == again.description
    assert not np.array_equal(first.artefact["ct"].pixels, simulated(scenario, seed=2).artefact["ct"].pixels)


def test_crude_discs_have_the_size_of_the_paper() -> None:
    case = simulated("crude")
    for z in case.slices:
        labels, count = ndimage.label(case.truth["ct"].pixels[z] >= 3071)
        assert 1 <= count <= 2
        for area in np.bincount(labels.ravel())[1:]:
            diameter = 2 * np.sqrt(area * 9.0 / np.pi)
            assert 10 - 4 < diameter < 36 + 4  # pixels of 3 mm
    assert case.artefact["ct"].pixels.min() < -1024  # not stored by a scanner: nothing is clipped


@pytest.mark.parametrize("scenario", ["physics", "crude"])
@pytest.mark.parametrize("count", [1, 2])
def test_patients_of_one_or_two_slices_serve_too(scenario: str, count: int) -> None:
    whole = pelvis()
    middle = whole.shape[0] * 6 // 10
    here = slice(middle, middle + count)
    few = replace(whole, pixels=whole.pixels[here], geometry=part(whole.geometry, here))
    case = SUBJECT.simulate(SUBJECT.clean(few), scenario=scenario, seed=0)
    assert case.slices and set(case.slices) <= set(range(count))


def test_what_is_not_measured_keeps_its_values_and_is_not_judged() -> None:
    volume = pelvis()
    pixels = volume.pixels.copy()
    pixels[:, :6] = -2048.0
    padding = np.zeros(pixels.shape, bool)
    padding[:, -3:] = True
    case = SUBJECT.simulate(SUBJECT.clean(replace(volume, pixels=pixels, padding=padding)), scenario="crude", seed=1)
    for made in (case.artefact["ct"], case.truth["ct"]):
        assert (made.pixels[:, :6] == -2048).all()
        assert np.array_equal(made.pixels[:, -3:], pixels[:, -3:])
    assert case.excluded["ct"][:, :6].all() and case.excluded["ct"][:, -3:].all()


def test_a_matrix_that_is_not_square_serves() -> None:
    volume = pelvis()
    narrow = replace(
        volume, pixels=np.ascontiguousarray(volume.pixels[:, 21:121]), geometry=replace(volume.geometry, rows=100)
    )
    case = SUBJECT.simulate(SUBJECT.clean(narrow), scenario="crude", seed=1)
    assert case.artefact["ct"].shape == (14, 100, 144)
    z = case.slices[0]
    assert (case.artefact["ct"].pixels[z][case.truth["ct"].pixels[z] >= 3071] > 1500).mean() > 0.9  # in its place


def unusable(kind: str) -> Volume:
    volume = pelvis()
    if kind == "units":
        return replace(volume, units=Units.MR_SIGNAL)
    if kind == "coronal":
        return replace(volume, geometry=replace(volume.geometry, column_direction=(0.0, 0.0, -1.0)))
    if kind == "pixels":
        return replace(volume, geometry=replace(volume.geometry, pixel_spacing_mm=(3.0, 3.5)))
    if kind == "metal":
        return simulated("physics").artefact["ct"]
    if kind == "tilt":
        return replace(volume, tags={"GantryDetectorTilt": 12.0})
    if kind == "corrected":
        return replace(volume, tags={"SeriesDescription": "Pelvis iMAR"})
    if kind == "water":
        return volume.with_pixels(np.minimum(volume.pixels, 60))
    cut = np.ascontiguousarray(volume.pixels[:, :, 30:112])
    geometry = replace(volume.geometry, columns=82)
    return replace(volume, pixels=cut, geometry=geometry)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("units", "must be a CT stack"),
        ("coronal", "not axial"),
        ("pixels", "square"),
        ("metal", "there is metal in"),
        ("tilt", "tilted"),
        ("corrected", "already reduced"),
        ("water", "no hip"),
        ("cut", "field of view cuts"),
    ],
)
def test_images_that_cannot_serve_say_why(kind: str, reason: str) -> None:
    with pytest.raises(UnusableSeries, match=reason):
        SUBJECT.clean(unusable(kind))


def test_of_a_pair_the_metal_that_the_truth_shows_is_not_judged() -> None:
    case = simulated("physics")
    judged = SUBJECT.judge(case.artefact, case.truth)
    assert judged.slices == case.slices
    assert (judged.excluded["ct"] == case.excluded["ct"]).mean() > 0.99


def test_of_a_pair_whose_truth_has_no_metal_it_is_found_in_the_artefact() -> None:
    case = simulated("physics")
    judged = SUBJECT.judge(case.artefact, {"ct": pelvis()})
    assert set(judged.slices) & set(case.slices)
    with pytest.raises(UnusableSeries, match="neither"):
        SUBJECT.judge({"ct": pelvis()}, {"ct": pelvis()})


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(RequestError, match=r"there is: physics, .*lesions, crude"):
        SUBJECT.simulate({"ct": pelvis()}, scenario="odd", seed=1)


def test_procedural_patients_serve() -> None:
    made = SUBJECT.procedural(1)["ct"]
    assert made.shape == (24, 512, 512)
    SUBJECT.clean(made)


@pytest.mark.parametrize("scenario", list(ONLY_METAL))
def test_implants_of_one_metal_streak_as_it_does(scenario: str) -> None:
    description = simulated(scenario).description
    named = {metal.name for metal in (COCRMO, STEEL_316L, TI6AL4V, ZIRCONIA, ALUMINA) if metal.name in description}
    assert named == {ONLY_METAL[scenario].name}


def test_cases_have_parallel_and_fan_beams() -> None:
    cases = [simulated("physics-titanium", seed, slices=2).description for seed in range(1, 7)]
    assert {next(beam for beam in ("fan", "parallel") if f", {beam} beam," in one) for one in cases} == {
        "fan",
        "parallel",
    }


def test_lesions_are_all_that_differs_from_the_twin() -> None:
    case = simulated("lesions")
    twin, labels = case.twin, case.twin.labels["ct"]
    assert labels.max() > 0 and f", {labels.max()} lesions" in case.description
    plain = simulated("physics")
    assert np.array_equal(twin.artefact["ct"].pixels, plain.artefact["ct"].pixels)
    change = case.truth["ct"].pixels - twin.truth["ct"].pixels
    for number in range(1, labels.max() + 1):
        assert 5 < np.abs(change[labels == number]).max() <= 61  # pixels of 3 mm blur the smallest
    assert np.abs(change[ndimage.binary_dilation(labels > 0, np.ones((1, 5, 5))) == 0]).max() <= 1
    assert not (case.excluded["ct"] & (labels > 0)).any()
    for z in case.slices:
        near = ndimage.distance_transform_edt(~case.excluded["ct"][z]) * 3.0
        assert near[labels[z] > 0].max(initial=0) < 40 + 15


@pytest.mark.parametrize("scenario", ["physics", "lesions", "crude"])
def test_the_floor_is_noise_on_the_truth(scenario: str) -> None:
    case = simulated(scenario)
    noise = (case.floor["ct"].pixels - case.truth["ct"].pixels)[list(case.slices)]
    judged = ~case.excluded["ct"][list(case.slices)]
    error = (case.artefact["ct"].pixels - case.truth["ct"].pixels)[list(case.slices)]
    assert np.abs(noise[judged]).max() < 200  # no plastic of an implant in it
    assert noise[judged].std() < 0.7 * error[judged].std()
    assert (noise[judged].std() > 1) == (scenario != "crude")


def test_only_lesions_have_a_twin() -> None:
    assert simulated("physics").twin is None
    assert simulated("crude").twin is None
