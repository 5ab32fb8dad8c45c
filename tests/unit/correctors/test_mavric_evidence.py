"""What is known before any network: brightness, noise, agreement, what lies beyond the bins, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from mavric_case import FEW, Case

from correctors.mavric.agreement import confident
from correctors.mavric.best_network import FIELD_CHANNELS
from correctors.mavric.beyond import FEWEST_VOXELS, beyond_reach
from correctors.mavric.evidence import (
    Acquired,
    Combining,
    Levels,
    Side,
    combined_by,
    first_field,
    gather,
    levels,
    mean_of_polarities,
    straightened,
    within,
)
from correctors.mavric.matched_filter import root_sum_of_squares
from correctors.mavric.report import quality_of, warnings_of
from dicom_node.contracts import Geometry
from simulation.mavric import Bins

NOTHING = Acquired(torch.zeros(12, 1, 32, 32), torch.zeros(12, 1, 32, 32), 500.0, FEW)


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("ppm", [0.0, 180.0])
def test_noise_is_known_to_a_tenth(ppm: float, noise: float) -> None:
    found = levels(Case(ppm, noise=noise, bins=Bins()).acquired)
    assert found.noise == pytest.approx(noise, rel=0.1)


def test_noise_of_a_spin_echo_is_known_to_a_half() -> None:
    found = levels(Case(noise=0.02, bins=Bins(1, 1000.0, 1e9)).acquired)
    assert found.noise == pytest.approx(0.02, rel=0.5)


def test_the_scale_is_that_of_bright_tissue() -> None:
    case = Case()
    bright = float(torch.quantile(case.truth, 0.995))
    assert levels(case.acquired).scale == pytest.approx(bright, rel=0.1)


def test_levels_go_with_the_units() -> None:
    own = Case().acquired
    plain, thousand = levels(own), levels(replace(own, plus=own.plus * 1000, minus=own.minus * 1000))
    assert thousand.scale == pytest.approx(1000 * plain.scale, rel=1e-4)
    assert thousand.noise == pytest.approx(1000 * plain.noise, rel=1e-4)


def test_of_zeros_everything_is_finite() -> None:
    known = levels(NOTHING)
    assert known.scale > 0 and known.noise == 0
    evidence = gather(NOTHING)
    assert evidence.channels().isfinite().all()
    for tensor in (evidence.first.both, evidence.first.confidence, evidence.first.unwarped.attention, evidence.mean):
        assert tensor.isfinite().all()


def test_channels_are_those_of_the_network_and_of_order_one() -> None:
    seen = gather(Case(900.0, bins=Bins()).acquired).channels()
    assert seen.shape == (3, FIELD_CHANNELS, 64, 64)
    assert seen.isfinite().all() and float(seen.abs().max()) <= 4


def test_channels_do_not_go_with_the_units() -> None:
    own = Case().acquired
    one = gather(own).channels()
    other = gather(replace(own, plus=own.plus * 512, minus=own.minus * 512)).channels()
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_levels_of_the_series_serve_its_slices() -> None:
    own = Case().acquired
    known, alone = levels(own), slice(0, 1)
    some = replace(own, plus=own.plus[:, alone], minus=own.minus[:, alone])
    torch.testing.assert_close(gather(some, known).channels(), gather(own, known).channels()[alone])


def test_the_noise_floor_is_taken_from_the_bins_but_not_from_the_mean() -> None:
    own = Case(noise=0.05).acquired
    evidence = gather(own)
    assert float(evidence.acquired.plus.mean()) < float(own.plus.mean())
    assert float(evidence.mean.mean()) < float(mean_of_polarities(own).mean())


def test_swapped_roles_of_a_turned_field_give_turned_evidence() -> None:
    own = Case(900.0).acquired
    one, other = gather(own), gather(replace(own, plus=own.minus.flip(0), minus=own.plus.flip(0)))
    torch.testing.assert_close(other.first.field_hz, -one.first.field_hz, rtol=1e-3, atol=1.0)
    torch.testing.assert_close(other.first.both, one.first.both, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.first.plus, one.first.minus, rtol=1e-3, atol=1e-3)


def test_one_bin_has_the_field_of_the_pair() -> None:
    alone = Case(bins=Bins(1, 1000.0, 1e9)).acquired
    known = Levels(1.0, 0.0)
    field, found = first_field(alone, known), gather(alone, known)
    assert torch.equal(found.first.field_hz, field)
    assert all(torch.equal(own, field / alone.bins.reach_hz) for own in found.other[2:4])
    assert gather(alone).channels().shape[1] == FIELD_CHANNELS


def test_an_attention_logit_shifts_the_weight_of_the_plus_polarity() -> None:
    own = Case().acquired
    field, scale = torch.zeros(3, 64, 64), torch.tensor(1.0)
    plain, none, much = (
        straightened(own, field, scale, logit)
        for logit in (None, torch.zeros_like(field), torch.full_like(field, 20.0))
    )
    torch.testing.assert_close(none.both, plain.both)
    torch.testing.assert_close(much.both, much.plus, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", Side)
def test_both_ways_of_combining_agree_where_nothing_is_off_resonance_but_noise(side: Side) -> None:
    case = Case(0.0, noise=0.001)
    first = gather(case.acquired).first
    one, other = (combined_by(how, first, FEW, side) for how in Combining)
    tissue = case.truth > 0.3
    assert float((one - other)[tissue].abs().max()) < 0.05
    assert side.swapped.swapped is side


def test_a_single_bin_has_no_profile_to_match() -> None:
    alone = Case(bins=Bins(1, 1000.0, 1e9))
    first = gather(alone.acquired).first
    made = combined_by(Combining.MATCHED, first, alone.bins)
    assert torch.equal(made, root_sum_of_squares(first.unwarped.images))


def test_within_is_full_inside_the_bins_and_nothing_beyond() -> None:
    share = within(torch.tensor([0.0, 3000.0, -3000.0, 6000.0, 9000.0, 20000.0]), FEW)
    assert share[:3].tolist() == [1.0, 1.0, 1.0]
    assert 0 < float(share[3]) <= 1
    assert float(share[4]) < 0.1 and float(share[5]) == 0


def test_equal_images_are_trusted_and_different_ones_are_not() -> None:
    image, bright = torch.ones(1, 12, 12), torch.tensor(1.0)
    torch.testing.assert_close(confident(image, image, bright), torch.ones_like(image))
    assert float(confident(image, torch.zeros_like(image), bright).max()) < 0.05
    near = confident(image, 1.1 * image, bright)
    assert 0.95 < float(near.min()) < 1
    assert torch.equal(confident(image, 2 * image, bright), confident(2 * image, image, bright))


def test_noise_in_air_is_no_disagreement_and_zeros_are_finite() -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = (0.005 * torch.rand(1, 16, 16, generator=generator) for _ in range(2))
    assert float(confident(one, other, torch.tensor(1.0)).min()) > 0.9
    nothing = torch.zeros(1, 8, 8)
    assert confident(nothing, nothing, torch.tensor(0.0)).isfinite().all()


def void(field_hz: float, *, size: int = 6, at: int = 12) -> np.ndarray:
    """What is marked of a void in even tissue at a frequency."""
    image = np.ones((2, 32, 32), np.float32)
    image[1, at : at + size, at : at + size] = 0
    return beyond_reach(image, np.full_like(image, field_hz), FEW, 1.0)


def test_a_void_in_a_strong_field_is_beyond_reach() -> None:
    for sign in (1, -1):
        found = void(sign * 0.9 * FEW.reach_hz)
        assert found.sum() == 36 and found[1, 12:18, 12:18].all()


def test_a_void_in_a_weak_field_a_tiny_one_and_air_are_not() -> None:
    assert not void(0.3 * FEW.reach_hz).any()
    assert FEWEST_VOXELS == 4
    assert not void(0.9 * FEW.reach_hz, size=1).any()
    assert not void(0.9 * FEW.reach_hz, at=0).any()


def test_an_empty_image_has_nothing_beyond() -> None:
    nothing = np.zeros((1, 8, 8), np.float32)
    assert not beyond_reach(nothing, nothing + 1e5, FEW, 1.0).any()


GRID = Geometry((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 2.0), tuple((0.0, 0.0, 5.0 * z) for z in range(3)), 4, 5, 3.0)


def test_quality_is_of_what_shows_tissue() -> None:
    image = np.zeros((3, 4, 5), np.float32)
    image[0, 0], image[1, 0, 0], image[1, 0, 1] = 1.0, 1.0, 0.05
    confidence = np.full_like(image, 0.25)
    confidence[0, 0] = 0.75
    field = np.full_like(image, -3000.0)
    field[0, 0, 2] = -500.0
    field[0, 0, :2] = field[0, 0, 3:] = 200.0
    beyond = np.zeros(image.shape, bool)
    beyond[2, 1, 1:4] = True
    figures = quality_of(confidence, image, beyond, field)
    assert figures["mean_confidence"] == pytest.approx((0.75, 0.25, 0.0))
    assert figures["beyond_voxels"] == (0.0, 0.0, 3.0)
    assert figures["largest_off_resonance_hz"] == (500.0, 3000.0, 0.0)


def test_what_lies_beyond_is_said_in_millilitres() -> None:
    beyond = np.zeros((3, 4, 5), bool)
    assert warnings_of(beyond, GRID) == ()
    beyond[1:] = True
    (said,) = warnings_of(beyond, GRID)
    assert said.startswith("0.4 ml in 2 slice(s) lie beyond the reach")  # 40 voxels of 1 x 2 x 5 mm
    (thin,) = warnings_of(np.ones((1, 4, 5), bool), replace(GRID, slice_origins_mm=((0.0, 0.0, 0.0),)))
    assert thin.startswith("0.1 ml in 1 slice(s)")  # 20 voxels of 1 x 2 x 3 mm


def test_figures_are_of_every_slice() -> None:
    image = np.zeros((3, 4, 5), np.float32)
    figures = quality_of(image, image, image > 0, image)
    assert all(len(values) == 3 for values in figures.values())
