"""The MAVRIC corrector as the node sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mavric_case import UNIT, Case, both, corrector, nrmse, package

from correctors.mavric import best, infer, paper
from correctors.mavric.best_network import MavricNetworks
from correctors.mavric.infer import build
from correctors.mavric.paper_network import DualPolarityUnet
from correctors.mavric.plugin import SPEC
from dicom_node.contracts import Correction, CorrectionRefused, ParameterValue, Units, Volume
from dicom_node.errors import RequestError, WeightsError
from simulation.mavric import Bins

CASE = Case()
WEIGHTLESS = ("classical", "plus", "minus", "mean")
MAPS = {
    "off-resonance": Units.HERTZ,
    "shift-plus": Units.PIXEL,
    "shift-minus": Units.PIXEL,
    "attention": Units.FRACTION,
}
SPIN_ECHO = Case(bins=Bins(1, 1000.0, 1e9))
BEST_WIDTHS = {"field_widths": [4, 6], "image_widths": [4, 6]}
Inputs = Mapping[str, Volume]


def run(inputs: Inputs, method: str, weights: Path | None = None, **parameters: ParameterValue) -> Correction:
    return corrector(method, weights, **parameters).correct(inputs)


def swapped(inputs: Inputs) -> dict[str, Volume]:
    return {"plus": inputs["minus"], "minus": inputs["plus"]}


def image(made: Correction) -> np.ndarray:
    return made.volumes["plus"].pixels


def values(made: Correction, name: str) -> np.ndarray:
    return made.maps[name].values


def columns(inputs: Inputs) -> dict[str, Volume]:
    return {
        role: replace(volume, pixels=np.ascontiguousarray(np.swapaxes(volume.pixels, -1, -2)))
        for role, volume in both(inputs, InPlanePhaseEncodingDirection="ROW").items()
    }


@pytest.fixture
def paper_weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    return package(tmp_path / "paper", DualPolarityUnet(2), {"width": 2}, paper.INPUTS)


@pytest.fixture
def best_weights(tmp_path: Path) -> Path:
    return package(tmp_path / "best", MavricNetworks(**BEST_WIDTHS), BEST_WIDTHS, best.INPUTS)


def test_its_methods_are_those_of_the_plugin() -> None:
    assert set(SPEC.methods) == {*WEIGHTLESS, "paper", "predecessor", "best"}
    assert SPEC.factory == f"{build.__module__}:{build.__name__}"


@pytest.mark.parametrize("method", WEIGHTLESS)
def test_weights_for_a_method_without_any_are_refused(method: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"mavric/{method} has no weights"):
        corrector(method, tmp_path)


@pytest.mark.parametrize("method", ["paper", "predecessor", "best"])
def test_a_method_that_needs_weights_says_so(method: str) -> None:
    with pytest.raises(WeightsError, match=f"mavric/{method} needs a weights package, and none is installed"):
        corrector(method)


@pytest.mark.parametrize("method", ["plus", "minus", "mean", "best"])
@pytest.mark.parametrize("polarity", ["plus", "minus"])
def test_one_polarity_alone_is_refused_where_it_means_nothing(method: str, polarity: str) -> None:
    with pytest.raises(RequestError, match=f"mavric/{method} takes no polarity"):
        corrector(method, polarity=polarity)


def test_weights_of_another_method_are_refused(paper_weights: Path, best_weights: Path) -> None:
    for method, weights in (("best", paper_weights), ("paper", best_weights), ("predecessor", best_weights)):
        with pytest.raises(WeightsError, match="but this method takes"):
            corrector(method, weights)


def test_a_set_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CorrectionRefused, match="no volume in the role minus"):
        run({"plus": CASE.inputs["plus"]}, "mean")


@pytest.mark.parametrize("method", WEIGHTLESS)
@pytest.mark.parametrize("combine", ["auto", "rsos", "matched"])
def test_the_outcome_is_one_series_on_the_plus_role_s_grid(method: str, combine: str) -> None:
    given = CASE.inputs
    made = run(given, method, combine=combine)
    (volume,) = made.volumes.values()
    assert made.changed and made.device == "cpu"
    assert (volume.units, volume.axes, volume.geometry) == (Units.MR_SIGNAL, "zyx", given["plus"].geometry)
    assert volume.tags == given["plus"].tags and volume.combines(given["plus"])
    assert volume.pixels.min() >= 0 and np.isfinite(volume.pixels).all()
    assert {name: one.units for name, one in made.maps.items()} == MAPS
    for one in made.maps.values():
        assert one.role == "plus" and one.values.shape == volume.shape and one.values.dtype == np.float32
        assert np.isfinite(one.values).all() and one.values.flags.c_contiguous
    assert set(made.quality) == {"mean_confidence", "beyond_voxels", "largest_off_resonance_hz"}
    assert all(len(figures) == 3 for figures in made.quality.values())
    assert made.metrics["spectral_bins"] == 12 and made.metrics["bandwidth_hz_px"] == 500
    assert made.metrics["polarities_swapped"] == 0
    assert made.metrics["noise_share"] == pytest.approx(0.01 / float(CASE.truth.quantile(0.995)), rel=0.2)


def test_methods_that_move_nothing_are_roots_of_sums_of_squares() -> None:
    given = CASE.inputs
    sums = {role: np.sqrt((volume.pixels.astype(float) ** 2).sum(axis=0)) for role, volume in given.items()}
    for role, wanted in (*sums.items(), ("mean", (sums["plus"] + sums["minus"]) / 2)):
        np.testing.assert_allclose(image(run(given, role)), wanted, rtol=1e-5)
    assert not any(run(given, "mean").quality["mean_confidence"])


def test_attention_of_methods_that_move_nothing_is_what_they_show() -> None:
    for method, share in (("plus", 1.0), ("minus", 0.0), ("mean", 0.5)):
        assert (values(run(CASE.inputs, method), "attention") == share).all()


def test_near_metal_classical_is_nearer_to_the_truth_and_matched_by_default() -> None:
    truth, near = UNIT * CASE.truth, CASE.within(20.0)
    error = {m: nrmse(torch.from_numpy(image(run(CASE.inputs, m))), truth, near) for m in ("classical", "mean")}
    assert error["classical"] < error["mean"]
    assert np.array_equal(image(run(CASE.inputs, "classical")), image(run(CASE.inputs, "classical", combine="matched")))
    assert not np.array_equal(
        image(run(CASE.inputs, "classical")), image(run(CASE.inputs, "classical", combine="rsos"))
    )


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_without_metal_classical_is_not_worse_than_the_mean(noise: float) -> None:
    case = Case(0.0, noise=noise)
    truth = UNIT * case.truth
    error = {
        m: nrmse(torch.from_numpy(image(run(case.inputs, m))), truth, case.everywhere()) for m in ("classical", "mean")
    }
    assert error["classical"] <= error["mean"]


@pytest.mark.parametrize("method", ["classical", "mean"])
@pytest.mark.parametrize("case", [CASE, SPIN_ECHO], ids=["bins", "spin echo"])
def test_swapped_roles_give_the_same_image(method: str, case: Case) -> None:
    one, other = run(case.inputs, method), run(swapped(case.inputs), method)
    assert np.array_equal(image(one), image(other))
    assert one.metrics["polarities_swapped"] + other.metrics["polarities_swapped"] == 1


@pytest.mark.parametrize(("method", "counterpart"), [("plus", "minus"), ("minus", "plus")])
def test_swapped_roles_exchange_the_polarities_as_they_are_named(method: str, counterpart: str) -> None:
    one, other = run(CASE.inputs, method), run(swapped(CASE.inputs), counterpart)
    assert np.array_equal(image(one), image(other))
    assert not np.array_equal(image(one), image(run(CASE.inputs, counterpart)))
    for made, share in ((one, method == "plus"), (other, counterpart == "plus")):
        assert (values(made, "attention") == float(share)).all()


def test_swapped_roles_exchange_what_is_made_of_one_polarity() -> None:
    one = run(CASE.inputs, "classical", polarity="plus")
    other = run(swapped(CASE.inputs), "classical", polarity="minus")
    assert np.array_equal(image(one), image(other))


def test_maps_belong_to_the_roles_as_they_are_named() -> None:
    one, other = run(CASE.inputs, "classical"), run(swapped(CASE.inputs), "classical")
    assert np.array_equal(values(one, "off-resonance"), values(other, "off-resonance"))
    assert np.array_equal(values(one, "shift-plus"), values(other, "shift-minus"))
    assert np.array_equal(values(one, "shift-minus"), values(other, "shift-plus"))
    np.testing.assert_allclose(values(one, "attention") + values(other, "attention"), 1.0, atol=1e-6)


def test_the_maps_signs_are_those_of_the_field() -> None:
    """With the plus polarity positive frequencies move signal forward: back to the minus image is the other way."""
    made, body = run(CASE.inputs, "classical"), CASE.within(15.0).numpy()
    field = values(made, "off-resonance")
    true = CASE.scene.true_hz
    strong = body & (np.abs(true) > 600)
    assert strong.sum() > 20
    assert (np.sign(field) == np.sign(true))[strong].mean() > 0.9
    np.testing.assert_allclose(values(made, "shift-plus"), -2 * field / CASE.bandwidth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", WEIGHTLESS)
def test_a_readout_along_columns_gives_the_image_on_its_side(method: str) -> None:
    one, other = run(CASE.inputs, method), run(columns(CASE.inputs), method)
    assert np.array_equal(np.swapaxes(image(other), 1, 2), image(one)) and image(other).flags.c_contiguous
    for name in MAPS:
        assert np.array_equal(np.swapaxes(values(other, name), 1, 2), values(one, name))


def test_flipped_rows_of_one_role_make_no_difference() -> None:
    given = CASE.inputs
    minus = given["minus"]
    down = np.asarray(minus.geometry.column_direction) * minus.geometry.pixel_spacing_mm[0] * (minus.geometry.rows - 1)
    origins = tuple((a + down[0], b + down[1], c + down[2]) for a, b, c in minus.geometry.slice_origins_mm)
    geometry = replace(minus.geometry, column_direction=(0.0, -1.0, 0.0), slice_origins_mm=origins)
    flipped = replace(minus, pixels=minus.pixels[..., ::-1, :].copy(), geometry=geometry)
    other = {"plus": given["plus"], "minus": flipped}
    assert np.array_equal(image(run(other, "classical")), image(run(given, "classical")))


@pytest.mark.parametrize("method", ["classical", "mean"])
def test_how_many_slices_go_at_once_makes_no_difference(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Case(900.0, slices=5).inputs
    found = []
    for at_once in (1, 2, 5):
        monkeypatch.setattr(infer, "SLICES_AT_ONCE", {"cpu": at_once})
        found.append(run(given, method))
    for made in found[1:]:
        np.testing.assert_allclose(image(made), image(found[0]), rtol=1e-4, atol=1e-2)
        for name in MAPS:
            np.testing.assert_allclose(values(made, name), values(found[0], name), rtol=1e-4, atol=1e-2)


def test_how_many_slices_of_a_spin_echo_go_at_once_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(SPIN_ECHO, slices=5).inputs
    share = np.array([1.0, 0.01, 1.0, 1.0, 1.0]).reshape(1, 5, 1, 1)
    dim = {role: one.with_pixels(one.pixels * share) for role, one in given.items()}
    found = []
    for at_once in (1, 5):
        monkeypatch.setattr(infer, "SLICES_AT_ONCE", {"cpu": at_once})
        found.append(run(dim, "classical"))
    np.testing.assert_allclose(values(found[1], "off-resonance"), values(found[0], "off-resonance"), atol=1.0)


@pytest.mark.parametrize("method", ["plus", "mean"])
def test_a_series_is_what_its_slices_are(method: str) -> None:
    given = Case(slices=5).inputs
    whole = image(run(given, method))
    for z in range(5):
        one = {
            role: replace(
                volume,
                pixels=volume.pixels[:, z : z + 1].copy(),
                geometry=replace(volume.geometry, slice_origins_mm=volume.geometry.slice_origins_mm[z : z + 1]),
            )
            for role, volume in given.items()
        }
        np.testing.assert_allclose(image(run(one, method))[0], whole[z], rtol=1e-6)


@pytest.mark.parametrize("method", WEIGHTLESS)
def test_inputs_are_not_altered_and_a_second_time_gives_the_same(method: str) -> None:
    given = Case(900.0, slices=2).inputs
    before = {role: volume.pixels.copy() for role, volume in given.items()}
    for volume in given.values():
        volume.pixels.setflags(write=False)
    ready = corrector(method)
    one, other = ready.correct(given), ready.correct(given)
    assert np.array_equal(image(one), image(other))
    for name in MAPS:
        assert np.array_equal(values(one, name), values(other, name))
    for role, volume in given.items():
        assert np.array_equal(volume.pixels, before[role])


def test_what_the_bins_do_not_reach_is_marked_and_said() -> None:
    case = Case(5000.0, 780.0, slices=2)
    made = run(case.inputs, "classical")
    mask = made.masks["beyond"]
    assert mask.role == "plus" and mask.voxels[case.scene.metal].mean() > 0.5
    assert made.quality["beyond_voxels"] == tuple(float(one.sum()) for one in mask.voxels)
    (said,) = made.warnings
    assert "lie beyond the reach of the spectral bins" in said
    plain = run(Case(0.0).inputs, "classical")
    assert not plain.masks and not plain.warnings


def test_where_every_bin_is_padded_the_padding_stays() -> None:
    given = CASE.inputs
    padding = np.zeros(given["plus"].shape, bool)
    padding[..., :3] = True
    padding[2, ..., 10] = True
    pixels = given["plus"].pixels.copy()
    pixels[..., :3] = 7.0
    padded = {"plus": replace(given["plus"], pixels=pixels, padding=padding), "minus": given["minus"]}
    made = image(run(padded, "classical"))
    assert (made[..., :3] == 7.0).all()
    assert not (made[..., 10] == pixels[6, ..., 10]).all()


def test_one_bin_of_each_polarity_is_taken_and_said() -> None:
    made = run(SPIN_ECHO.inputs, "classical")
    assert made.metrics["spectral_bins"] == 1
    assert any("no spectral bins" in one for one in made.warnings)


@pytest.mark.parametrize("ppm", [20.0, 180.0])
def test_a_spin_echo_is_nearer_to_the_truth_than_the_mean(ppm: float) -> None:
    case = replace(SPIN_ECHO, ppm=ppm)
    truth, near = UNIT * case.truth, case.within(25.0)
    error = {m: nrmse(torch.from_numpy(image(run(case.inputs, m))), truth, near) for m in ("classical", "mean")}
    assert error["classical"] < error["mean"]


def test_a_spin_echo_without_metal_stays_as_it_is() -> None:
    case = replace(SPIN_ECHO, ppm=0.0)
    made = torch.from_numpy(image(run(case.inputs, "classical")))
    assert nrmse(made, UNIT * case.truth, case.truth > 0.3) < 0.05


@pytest.mark.parametrize("method", ["paper", "predecessor"])
def test_a_pairwise_method_that_has_learnt_nothing_is_nearly_the_mean_bin_by_bin(
    method: str, paper_weights: Path
) -> None:
    given = CASE.inputs
    made = run(given, method, paper_weights)
    mean = np.sqrt((((given["plus"].pixels + given["minus"].pixels) / 2) ** 2).sum(axis=0))
    assert np.abs(image(made) - mean).max() < 0.1 * mean.max()
    assert {name: one.units for name, one in made.maps.items()} == MAPS
    if method == "predecessor":
        np.testing.assert_allclose(values(made, "attention"), 0.5, atol=1e-6)


@pytest.mark.parametrize("polarity", ["plus", "minus"])
def test_pairwise_methods_make_an_image_of_one_polarity_by_its_name(polarity: str, paper_weights: Path) -> None:
    other = {"plus": "minus", "minus": "plus"}[polarity]
    one = run(CASE.inputs, "paper", paper_weights, polarity=polarity)
    two = run(swapped(CASE.inputs), "paper", paper_weights, polarity=other)
    assert np.array_equal(image(one), image(two))
    alone = np.sqrt((CASE.inputs[polarity].pixels ** 2).sum(axis=0))
    assert np.abs(image(one) - alone).max() < 0.15 * alone.max()


def test_best_that_has_learnt_nothing_is_classical(best_weights: Path) -> None:
    made, plain = run(CASE.inputs, "best", best_weights), run(CASE.inputs, "classical")
    assert np.abs(image(made) - image(plain)).max() < 5e-3 * image(plain).max()
    np.testing.assert_allclose(values(made, "off-resonance"), values(plain, "off-resonance"), atol=0.1)
    alone, plain = run(SPIN_ECHO.inputs, "best", best_weights), run(SPIN_ECHO.inputs, "classical")
    assert np.array_equal(image(alone), image(plain))
