"""What the networks of MAVRIC learn from: fields of implants, scenes of both polarities, losses and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from correctors.mavric import best, paper
from correctors.mavric.best_network import MavricNetworks
from correctors.mavric.paper_network import DualPolarityUnet
from dicom_node.contracts import Geometry, Units, Volume
from dicom_node.errors import UnusableSeries
from simulation.mavric import FINE
from training.anatomy import Anatomy
from training.task import Draw
from training.tasks.implant_fields import PIXEL_MM, SLICES, implant_slices
from training.tasks.mavric_pairs import MavricPairs
from training.tasks.mavric_refinement import MavricRefinement
from training.tasks.mavric_scenes import (
    BANDWIDTHS_HZ_PX,
    BRIGHTEST,
    MavricSlices,
    TrainingScene,
    mr_slices,
    random_mismatch,
)

SIDE, IMPLANTS = 48, 6
CPU = torch.device("cpu")


@cache
def slices() -> MavricSlices:
    made = MavricSlices(SIDE, IMPLANTS)
    made.begin((), torch.device("cpu"), 5)
    return made


@cache
def patient() -> Anatomy:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    frames = np.stack([(170 * (np.hypot(y, x) < r) * (1 + 0.2 * np.sin(9 * x))).astype(np.uint8) for r in (0.7, 0.9)])
    return Anatomy("patient", "patient", "procedural", {"frames": frames})


def draw(number: int) -> Draw:
    return Draw(patient(), np.random.default_rng(number), number)


def scene(number: int, most_bins: int | None = None) -> TrainingScene:
    return slices().scene(patient().arrays["frames"], np.random.default_rng(number), most_bins=most_bins)


@cache
def pairs(*, attention: bool = True) -> MavricPairs:
    made = MavricPairs(SIDE, IMPLANTS, pairs_per_scene=3, attention=attention)
    made.begin([patient()], CPU, seed=5)
    return made


@cache
def refinement(**weights: float) -> MavricRefinement:
    made = MavricRefinement(SIDE, IMPLANTS, **weights)
    made.begin([patient()], CPU, seed=5)
    return made


def networks() -> MavricNetworks:
    torch.manual_seed(2)
    return MavricNetworks([4, 6], [4, 6])


def unet() -> DualPolarityUnet:
    torch.manual_seed(2)
    return DualPolarityUnet(2)


def gradients(network: nn.Module, loss: torch.Tensor) -> Mapping[str, float]:
    torch.autograd.backward([loss])
    return {name: 0.0 if one.grad is None else float(one.grad.norm()) for name, one in network.named_parameters()}


def test_slices_go_through_metal_and_its_field_is_strongest_near_it() -> None:
    found = implant_slices(IMPLANTS, SIDE, seed=5)
    assert 0 < len(found) <= IMPLANTS * SLICES and PIXEL_MM == 1.5
    hit = [one for one in found if (one.filled > 0.5).any()]
    assert hit
    for one in found:
        assert one.filled.shape == one.field_hz.shape == (SIDE, SIDE)
        assert one.filled.min() >= 0 and one.filled.max() <= 1 + 1e-5
        assert np.isfinite(one.field_hz).all()
    largest = [np.abs(one.field_hz).max() for one in hit]
    # At 1 T titanium makes some hundreds of hertz, cobalt-chromium and steel thousands and tens of thousands.
    assert min(largest) > 50 and max(largest) > 1000


def test_implants_are_those_of_the_seed() -> None:
    one, again, other = (implant_slices(2, SIDE, seed) for seed in (1, 1, 2))
    assert len(one) == len(again)
    for a, b in zip(one, again, strict=True):
        assert np.array_equal(a.field_hz, b.field_hz) and np.array_equal(a.filled, b.filled)
    assert len(one) != len(other) or not np.array_equal(one[0].field_hz, other[0].field_hz)
    more = implant_slices(3, SIDE, seed=1)
    assert np.array_equal(more[0].field_hz, one[0].field_hz)


@pytest.mark.parametrize("number", range(4))
def test_a_scene_is_an_acquisition_whose_truth_is_known(number: int) -> None:
    one = scene(number)
    shape = (one.bins.count, 1, SIDE, SIDE)
    assert one.plus.shape == one.minus.shape == shape
    for image in (one.wanted, one.off_resonance_hz, one.filled):
        assert image.shape == (1, SIDE, SIDE) and image.isfinite().all()
    assert one.plus.isfinite().all() and float(one.plus.min()) >= 0 and float(one.wanted.min()) > -0.15
    assert not torch.equal(one.plus, one.minus)
    assert 12 <= one.bins.count <= 30
    assert BANDWIDTHS_HZ_PX[0] <= one.bandwidth_hz_px <= BANDWIDTHS_HZ_PX[1]


def test_a_scene_is_that_of_its_numbers() -> None:
    one, again, other = scene(3), scene(3), scene(4)
    for name in ("plus", "minus", "wanted", "off_resonance_hz", "filled"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert one.bandwidth_hz_px == again.bandwidth_hz_px != other.bandwidth_hz_px


def test_the_frames_are_not_altered() -> None:
    before = patient().arrays["frames"].copy()
    for number in range(3):
        scene(number)
    assert np.array_equal(patient().arrays["frames"], before)


def test_some_bins_are_enough_and_hold_signal() -> None:
    for number in range(4):
        some = scene(number, most_bins=3)
        assert some.plus.shape == (3, 1, SIDE, SIDE)
        peak = scene(number).plus.amax()
        assert float(some.plus.amax(dim=(1, 2, 3)).min()) > 0.02 * float(peak)


def test_prepared_slices_show_something_and_fit() -> None:
    pixels = np.zeros((40, 400, 300), np.float32)
    pixels[5:, 100:300, 80:220] = np.linspace(500, 1000, 35)[:, None, None]
    frames = mr_slices(pixels, 160)
    assert frames.dtype == np.uint8 and frames.shape == (24, 320, 240)
    assert int(frames.max()) == pytest.approx(255 / BRIGHTEST, abs=3)
    assert all((frame > 25).mean() > 0.1 for frame in frames)
    small = mr_slices(pixels[30:32, ::4, ::4], 160)
    assert small.shape == (2, 160, 160)


def test_what_shows_nothing_is_no_use() -> None:
    with pytest.raises(UnusableSeries, match="there is nothing in it"):
        mr_slices(np.zeros((2, 64, 64), np.float32), 32)
    faint = np.zeros((2, 64, 64), np.float32)
    faint[:, :2] = 1.0
    with pytest.raises(UnusableSeries, match="no slice shows enough tissue"):
        mr_slices(faint, 32)


def test_an_image_is_prepared_or_refused() -> None:
    grid = Geometry((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.5, 1.5), ((0.0, 0.0, 0.0),), 64, 64, 5.0)
    image = Volume(patient().arrays["frames"][:1].astype(np.float32), Units.MR_SIGNAL, grid)
    assert slices().prepare(image)["frames"].shape == (1, 64, 64)
    small = replace(image, pixels=image.pixels[:, :20].copy(), geometry=replace(grid, rows=20))
    series = replace(image, pixels=image.pixels[None].copy(), axes="tzyx")
    for unfit in (small, series):
        with pytest.raises(UnusableSeries, match="24 pixels a side or more, and axes zyx"):
            slices().prepare(unfit)
    assert slices().preparation != MavricSlices(SIDE + 16, IMPLANTS).preparation
    assert slices().modality == "MR"


def test_a_procedural_patient_is_that_of_its_seed() -> None:
    one, again = (slices().procedural(4)["frames"] for _ in range(2))
    assert one.dtype == np.uint8 and np.array_equal(one, again)


def test_a_mismatch_is_small_and_smooth() -> None:
    rng = np.random.default_rng(1)
    made = [random_mismatch((SIDE, SIDE), rng) for _ in range(20)]
    for one in made:
        assert one.gain.shape == one.shift_px.shape == (SIDE, SIDE * FINE)
        assert 0.5 < float(one.gain.min()) <= float(one.gain.max()) < 1.5
        assert float(one.shift_px.abs().max()) < 2 and float(torch.diff(one.shift_px).abs().max()) < 0.02
    assert not torch.equal(made[0].gain, made[1].gain)


@pytest.mark.parametrize("arguments", [{"side": 40}, {"side": 0}, {"implants": 0}, {"pairs_per_scene": 0}])
def test_impossible_sizes_of_pairs_are_refused(arguments: Mapping[str, int]) -> None:
    with pytest.raises(ValueError, match="side must be a multiple of 16"):
        MavricPairs(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"side": 40}, {"implants": 0}, {"field_weight": -1.0}, {"edges_weight": -0.1}])
def test_impossible_sizes_and_weights_of_refinement_are_refused(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"side must be a multiple of 16|weights must be 0 or more"):
        MavricRefinement(**arguments)


def test_pairs_are_normalised_together_and_those_of_their_draws() -> None:
    batch, again = (pairs().batch([draw(1), draw(2)]) for _ in range(2))
    assert batch.plus.shape == batch.minus.shape == (6, SIDE, SIDE)
    brightest = torch.maximum(batch.plus.amax(dim=(1, 2)), batch.minus.amax(dim=(1, 2)))
    torch.testing.assert_close(brightest, torch.ones(6))
    assert torch.equal(batch.plus, again.plus) and torch.equal(batch.minus, again.minus)


@pytest.mark.parametrize("attention", [True, False])
def test_pairs_teach_every_map_that_the_method_has(attention: bool) -> None:
    task, network = pairs(attention=attention), unet()
    found = gradients(network, task.loss(network, task.batch([draw(1)])))
    assert found["downs.0.first.0.weight"] > 0
    (bias,) = (one.grad for name, one in network.named_parameters() if name == "head.bias")
    assert bias is not None
    assert bool(bias[3] != 0) is attention and bool(bias[2] != 0) is attention
    assert bias[0] != 0 and bias[1] != 0


def test_a_loss_of_pairs_is_that_of_the_paper() -> None:
    task, network = pairs(), unet()
    batch = task.batch([draw(1)])
    made = paper.corrected(network, batch.plus, batch.minus)
    assert task.loss(network, batch).item() == pytest.approx(paper.loss(made, batch.plus, batch.minus).item(), rel=1e-4)
    assert task.conventions() == dict(paper.INPUTS)


def test_pairs_that_have_taught_nothing_score_near_zero() -> None:
    tried = pairs().trial(unet().eval(), [draw(1), draw(2)])
    assert set(tried.figures) == {"rmse_mean", "rmse_without_attention", "rmse_network"}
    assert abs(tried.score) < 0.5 and all(value > 0 for value in tried.figures.values())
    assert len(tried.pictures) == 2 and set(tried.pictures[0].images) == {
        "mean", "without_attention", "network", "wanted",
    }  # fmt: skip
    again = pairs().trial(unet().eval(), [draw(1), draw(2)])
    assert again.score == tried.score


def test_examples_weigh_metal_by_nothing_and_know_what_is_near() -> None:
    batch = refinement().batch([draw(n) for n in range(4)])
    assert any(bool((one.judged == 0).any()) for one in batch)
    for one in batch:
        metal = one.scene.filled >= 0.5
        assert not one.judged[metal].any() and one.judged[~metal].all()
        assert set(torch.unique(one.near).tolist()) <= {0.0, 1.0}
        assert bool(one.near[metal].all())
        assert one.evidence.mean.shape == (1, SIDE, SIDE)
    again = refinement().batch([draw(0)])[0]
    assert torch.equal(again.evidence.channels(), batch[0].evidence.channels())


def test_refinement_teaches_both_networks() -> None:
    network = networks()
    found = gradients(network, refinement().loss(network, refinement().batch([draw(1)])))
    assert found["field.head.weight"] > 0 and found["image.head.weight"] > 0


def test_refinement_makes_its_loss_smaller() -> None:
    network, batch = networks(), refinement().batch([draw(1)])
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    found = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = refinement().loss(network, batch)
        torch.autograd.backward([loss])
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < 0.97 * found[0]


def test_each_weight_of_the_loss_counts() -> None:
    network = networks()
    plain = refinement(field_weight=0.0, consistency_weight=0.0, edges_weight=0.0)
    batch = plain.batch([draw(1)])
    with torch.no_grad():
        least = float(plain.loss(network, batch))
        for name in ("field_weight", "consistency_weight", "edges_weight"):
            others = {"field_weight": 0.0, "consistency_weight": 0.0, "edges_weight": 0.0}
            one, two = (float(refinement(**{**others, name: w}).loss(network, batch)) - least for w in (1.0, 2.0))
            assert one > 0 and two == pytest.approx(2 * one, rel=1e-3)


def test_refinement_that_has_taught_nothing_scores_as_classical_does() -> None:
    tried = refinement().trial(networks().eval(), [draw(1), draw(2)])
    figures = tried.figures
    for where in ("near", "far"):
        assert figures[f"ratio_network_{where}"] == pytest.approx(figures[f"ratio_classical_{where}"], rel=0.02)
        assert figures[f"rmse_network_{where}"] == pytest.approx(figures[f"rmse_classical_{where}"], rel=0.02)
    product = figures["ratio_network_near"] * figures["ratio_network_far"]
    assert tried.score == pytest.approx(-0.5 * float(np.log(product)))
    assert set(tried.pictures[0].images) == {"mean", "classical", "straight", "network", "wanted"}
    assert refinement().conventions() == dict(best.INPUTS)
