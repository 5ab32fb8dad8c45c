"""The training side of MAVRIC: which images serve, what is put into them, what is judged."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from correctors.mavric.infer import build
from correctors.mavric.plugin import SPEC
from dicom_node.contracts import FloatArray, Units, Volume
from dicom_node.errors import RequestError, UnusableSeries
from simulation.pelvis_mr import make_pelvis_mr
from training.subject import SimulatedCase, Subject, subject_of
from training.subjects import mavric
from training.subjects.mavric import LESIONS, NEAR_MM, SUBJECT
from training.subjects.mavric_cases import UNIT, b0_of

METAL = ("implants", "mismatch", "matched", "lesions", "knee", "spine", "spin-echo")
SLICES, SIDE = 2, 64


@cache
def pelvis(seed: int = 3) -> Volume:
    made = make_pelvis_mr(seed=seed, slices=SLICES, n_pixels=SIDE, pixel_mm=4.5, spacing_mm=5.0)
    return Volume(made.signal, Units.MR_SIGNAL, made.geometry)


@cache
def simulated(scenario: str, seed: int = 1) -> SimulatedCase:
    return SUBJECT.simulate(SUBJECT.clean(pelvis()), scenario=scenario, seed=seed)


@cache
def finer(scenario: str, seed: int) -> SimulatedCase:
    """On pixels of 3 mm: on larger ones the field near metal changes by more than it can be read back from."""
    made = make_pelvis_mr(seed=3, slices=2, n_pixels=96, pixel_mm=3.0, spacing_mm=5.0)
    return SUBJECT.simulate({"plus": Volume(made.signal, Units.MR_SIGNAL, made.geometry)}, scenario=scenario, seed=seed)


def corrected(case: SimulatedCase, method: str) -> FloatArray:
    parameters = {name: one.default for name, one in SPEC.parameters.items()}
    made = build(method=method, weights=None, device="cpu", parameters=parameters).correct(case.artefact)
    return made.volumes["plus"].pixels


def nrmse(image: FloatArray, case: SimulatedCase, region: str | None) -> float:
    """Within a region, or everywhere; over the voxels that are judged."""
    truth = case.truth["plus"].pixels
    where = ~case.excluded["plus"]
    if region is not None:
        where = where & case.regions[region]["plus"]
    return float(np.linalg.norm((image - truth)[where]) / np.linalg.norm(truth[where]))


def test_it_is_found_by_the_corrector_s_name() -> None:
    subject: Subject = subject_of("mavric")
    assert subject is SUBJECT
    assert next(iter(SUBJECT.scenarios)) == "implants"
    assert set(SUBJECT.scenarios) == {*METAL, "no-metal"}
    assert SUBJECT.baseline in SPEC.methods and set(SUBJECT.role_tags) == set(SPEC.inputs)
    assert SUBJECT.default_recipe.is_file()


def test_what_is_no_clean_mr_stack_is_refused() -> None:
    image = pelvis()
    for unfit, says in (
        (replace(image, units=Units.HU), "must be an MR stack with axes zyx, got HU, zyx"),
        (replace(image, pixels=image.pixels[None].copy(), axes="bzyx"), "must be an MR stack with axes zyx, got MR"),
        (_cut(image, 63), "fewer than 64 pixels a side"),
        (image.with_pixels(0 * image.pixels), "there is nothing in it"),
    ):
        with pytest.raises(UnusableSeries, match=says):
            SUBJECT.clean(unfit)
    assert SUBJECT.clean(image)["plus"] is image


def _cut(image: Volume, rows: int) -> Volume:
    return replace(image, pixels=image.pixels[:, :rows].copy(), geometry=replace(image.geometry, rows=rows))


def test_an_unheard_of_scenario_is_refused() -> None:
    with pytest.raises(RequestError):
        SUBJECT.simulate(SUBJECT.clean(pelvis()), scenario="unheard", seed=1)


@pytest.mark.parametrize("scenario", SUBJECT.scenarios)
def test_every_scenario_gives_what_a_scanner_would_send_and_its_truth(scenario: str) -> None:
    case = simulated(scenario)
    grid = pelvis().geometry
    bins = 1 if scenario == "spin-echo" else 24
    assert set(case.artefact) == {"plus", "minus"} and set(case.truth) == set(case.excluded) == {"plus"}
    for volume in case.artefact.values():
        assert volume.axes == "bzyx" and volume.shape == (bins, SLICES, SIDE, SIDE)
        assert volume.units is Units.MR_SIGNAL and volume.geometry == grid
        assert np.isfinite(volume.pixels).all() and volume.pixels.min() >= 0
        np.testing.assert_allclose(volume.pixels, np.rint(volume.pixels), atol=1e-3)
        bandwidth = volume.tags["PixelBandwidth"]
        assert isinstance(bandwidth, float | int) and 250 <= bandwidth <= 1000
        assert volume.tags["InPlanePhaseEncodingDirection"] in ("ROW", "COL")
    truth = case.truth["plus"]
    assert truth.axes == "zyx" and truth.geometry == grid and not truth.tags
    assert np.isfinite(truth.pixels).all() and truth.pixels.min() >= 0
    # Neighbouring bins overlap: their root sum of squares is a quarter brighter than one bin.
    assert 0.9 * UNIT < np.percentile(truth.pixels, 99) < 1.6 * UNIT
    assert 1 <= len(case.slices) <= SLICES and case.description
    assert case.excluded["plus"].dtype == bool and not case.excluded["plus"].all()
    if scenario == "no-metal":
        assert not case.regions and not case.excluded["plus"].any()


@pytest.mark.parametrize("scenario", METAL)
def test_metal_is_not_judged_and_splits_the_rest_in_near_and_far(scenario: str) -> None:
    case = simulated(scenario)
    near, far, excluded = case.regions["near"]["plus"], case.regions["far"]["plus"], case.excluded["plus"]
    assert (near ^ far).all() and near.any() and NEAR_MM == 25.0
    assert excluded.any() and not (excluded & ~near).any()


@pytest.mark.parametrize("scenario", ["no-metal", "lesions"])
def test_the_seed_alone_decides(scenario: str) -> None:
    one, again = simulated(scenario), SUBJECT.simulate(SUBJECT.clean(pelvis()), scenario=scenario, seed=1)
    other = SUBJECT.simulate(SUBJECT.clean(pelvis()), scenario=scenario, seed=2)
    assert one.description == again.description
    for role in one.artefact:
        assert np.array_equal(one.artefact[role].pixels, again.artefact[role].pixels)
        assert not np.array_equal(one.artefact[role].pixels, other.artefact[role].pixels)
    assert np.array_equal(one.truth["plus"].pixels, again.truth["plus"].pixels)


def test_a_clean_volume_is_not_altered() -> None:
    image = pelvis()
    before = image.pixels.copy()
    SUBJECT.simulate(SUBJECT.clean(image), scenario="lesions", seed=4)
    assert np.array_equal(image.pixels, before)


def test_mismatch_is_as_the_scenario_says() -> None:
    assert simulated("mismatch").description.endswith("mismatch")
    assert "mismatch" not in simulated("matched").description


def test_readouts_lie_either_way_and_images_with_them() -> None:
    cases = [simulated("no-metal", seed) for seed in (1, 2, 3)]
    assert {case.artefact["plus"].tags["InPlanePhaseEncodingDirection"] for case in cases} == {"ROW", "COL"}
    for case in cases:
        mean = corrected(case, "mean")
        assert nrmse(mean, case, None) < 0.4
        assert nrmse(np.swapaxes(mean, 1, 2), case, None) > 1.5 * nrmse(mean, case, None)


@pytest.mark.parametrize("seed", [1, 3])
def test_the_true_field_makes_it_better_than_the_mean_near_metal_and_far(seed: int) -> None:
    case = finer("matched", seed)
    assert set(case.references) == {"oracle", "oracle-rsos"}
    for images in case.references.values():
        volume = images["plus"]
        assert volume.geometry == case.truth["plus"].geometry and volume.axes == "zyx"
    mean, oracle = corrected(case, "mean"), case.references["oracle"]["plus"].pixels
    for region in ("near", "far"):
        assert nrmse(oracle, case, region) < nrmse(mean, case, region)


def test_lesions_are_where_they_are_said_and_alike_otherwise() -> None:
    case = simulated("lesions")
    twin = case.twin
    assert twin is not None and not case.references
    labels = twin.labels["plus"]
    assert 1 <= labels.max() <= LESIONS and set(np.unique(labels)) == set(range(labels.max() + 1))
    change = np.abs(case.truth["plus"].pixels - twin.truth["plus"].pixels)
    inside, outside = labels > 0, np.stack([_far(one) for one in labels])
    assert change[inside].mean() > 0.05 * UNIT
    assert change[outside].max() < 0.01 * UNIT
    assert (inside & case.excluded["plus"]).sum() < 0.2 * inside.sum()
    assert any(not np.array_equal(case.artefact[r].pixels, twin.artefact[r].pixels) for r in case.artefact)
    assert all(simulated(scenario).twin is None for scenario in ("implants", "no-metal"))


def _far(labels: np.ndarray) -> np.ndarray:
    """Pixels four or more from any lesion."""
    near = labels > 0
    for _ in range(4):
        near = near | np.roll(near, 1, 0) | np.roll(near, -1, 0) | np.roll(near, 1, 1) | np.roll(near, -1, 1)
    return ~near


def test_what_the_scanner_shows_is_the_plus_polarity_s_root_sum_of_squares() -> None:
    case = simulated("matched")
    shown = SUBJECT.shown(case.artefact)["plus"]
    assert shown.axes == "zyx" and shown.geometry == case.truth["plus"].geometry
    np.testing.assert_allclose(shown.pixels, corrected(case, "plus"), rtol=1e-4, atol=0.1)


def test_only_the_middle_of_a_large_stack_is_acquired_and_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mavric, "MOST_SLICES", 1)
    monkeypatch.setattr(mavric, "MOST_PIXELS", SIDE - 4)
    grid = SUBJECT.simulate({"plus": pelvis()}, scenario="spin-echo", seed=1).truth["plus"].geometry
    assert grid.shape == (1, SIDE - 4, SIDE - 4)
    wanted = pelvis().geometry.affine() @ np.array([2.0, 2.0, 0.0, 1.0])
    np.testing.assert_allclose(np.asarray(grid.slice_origins_mm[0]), wanted[:3], atol=1e-4)


def test_b0_runs_along_the_patient() -> None:
    assert b0_of(pelvis()) == pytest.approx((1.0, 0.0, 0.0))


def test_a_given_pair_is_judged_outside_the_voids_of_its_truth() -> None:
    pixels = np.full((2, 32, 32), 800.0, np.float32)
    pixels[:, :4] = 0.0
    pixels[1, 14:18, 14:18] = 0.0
    grid = replace(pelvis().geometry, slice_origins_mm=pelvis().geometry.slice_origins_mm[:2], rows=32, columns=32)
    truth = Volume(pixels, Units.MR_SIGNAL, grid)
    case = SUBJECT.judge({"plus": truth, "minus": truth}, {"plus": truth})
    assert case.slices == (0, 1)
    assert case.excluded["plus"].sum() == 36 and case.excluded["plus"][1, 13:19, 13:19].all()
    assert case.regions["near"]["plus"][1].any()
    with pytest.raises(UnusableSeries, match="the truth holds nothing"):
        SUBJECT.judge({}, {"plus": truth.with_pixels(0 * pixels)})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_procedural_patients_serve(seed: int) -> None:
    (made,) = SUBJECT.procedural(seed).values()
    assert SUBJECT.clean(made)["plus"] is made
