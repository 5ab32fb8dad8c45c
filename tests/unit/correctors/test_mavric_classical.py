"""Training-free correction of dual-polarity MAVRIC: against truth that the simulation knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from mavric_case import Case, nrmse

from correctors.mavric.beyond import beyond_reach
from correctors.mavric.classical import classical
from correctors.mavric.evidence import Acquired, Combining, Side, gather, levels, mean_of_polarities
from correctors.mavric.matched_filter import combined, field_hz, root_sum_of_squares
from correctors.mavric.result import Result
from correctors.mavric.unwarping import unwarped
from simulation.mavric import Bins

BINS = Bins()


def corrected(acquired: Acquired) -> Result:
    return classical(gather(acquired))


def case(ppm: float, bandwidth: float, noise: float) -> Case:
    return Case(ppm, bandwidth, noise, BINS, side=80)


def turned(acquired: Acquired) -> Acquired:
    """The same spins with the sign of all frequencies turned."""
    return replace(acquired, plus=acquired.minus.flip(0), minus=acquired.plus.flip(0))


# Titanium at a high bandwidth is hardly distorted: there is little but noise to gain on.
@pytest.mark.parametrize(("ppm", "bandwidth", "most"), [(180.0, 300.0, 0.8), (180.0, 780.0, 1.0), (900.0, 780.0, 0.8)])
def test_near_metal_it_is_much_nearer_to_the_truth_than_the_mean_of_the_polarities(
    ppm: float, bandwidth: float, most: float
) -> None:
    given = case(ppm, bandwidth, 0.02)
    near = given.within(25.0)
    made = corrected(given.acquired)
    assert nrmse(made.image, given.truth, near) < most * nrmse(mean_of_polarities(given.acquired), given.truth, near)


def test_the_field_is_found_to_a_tenth_of_the_bins_spacing() -> None:
    given = case(180.0, 780.0, 0.01)
    near = given.within(30.0)
    found = field_hz(given.acquired.plus, given.acquired.minus, BINS)
    error = (found - torch.from_numpy(given.scene.true_hz))[near].abs()
    assert float(error.median()) < 0.1 * BINS.spacing_hz


def test_the_maps_belong_together() -> None:
    made = corrected(case(180.0, 500.0, 0.02).acquired)
    torch.testing.assert_close(made.shift_minus, made.off_resonance_hz * 2 / 500.0)
    torch.testing.assert_close(made.shift_plus, -made.shift_minus)
    for share in (made.attention, made.confidence):
        assert 0 <= float(share.min()) <= float(share.max()) <= 1


def test_swapped_polarities_of_a_turned_field_give_the_same_image() -> None:
    """Which polarity is called positive is a matter of the sign of frequency."""
    acquired = case(900.0, 780.0, 0.02).acquired
    made, other = corrected(acquired), corrected(turned(acquired))
    torch.testing.assert_close(other.image, made.image, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.off_resonance_hz, -made.off_resonance_hz, rtol=1e-3, atol=1.0)
    torch.testing.assert_close(other.attention, 1 - made.attention, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bandwidth", [300.0, 780.0])
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_without_metal_it_is_not_worse_than_the_mean(bandwidth: float, noise: float) -> None:
    given = case(0.0, bandwidth, noise)
    made, where = corrected(given.acquired), given.everywhere()
    assert nrmse(made.image, given.truth, where) < nrmse(mean_of_polarities(given.acquired), given.truth, where)


def test_of_one_polarity_alone_it_is_worse_than_of_both() -> None:
    given = case(900.0, 500.0, 0.02)
    evidence, near = gather(given.acquired), given.within(15.0)
    error = {side: nrmse(classical(evidence, side=side).image, given.truth, near) for side in Side}
    assert error[Side.BOTH] < error[Side.PLUS] and error[Side.BOTH] < error[Side.MINUS]
    assert not torch.equal(classical(evidence, side=Side.PLUS).image, classical(evidence, side=Side.MINUS).image)


def test_matched_combining_leaves_less_noise_in_air_than_root_sum_of_squares() -> None:
    given = case(180.0, 500.0, 0.04)
    evidence = gather(given.acquired)
    air = given.truth < 0.01
    found = {how: float(classical(evidence, how).image[air].mean()) for how in Combining}
    assert found[Combining.MATCHED] < 0.8 * found[Combining.RSOS]


def test_what_lies_beyond_the_bins_is_marked_and_holds_no_signal() -> None:
    given = case(5000.0, 780.0, 0.0)
    made = corrected(given.acquired)
    body = given.everywhere() & (given.truth > 0.3)
    far_beyond = (torch.from_numpy(given.scene.true_hz).abs() > 1.6 * BINS.reach_hz) & given.everywhere()
    assert far_beyond.any()
    assert float(made.image[far_beyond].median()) < 0.3 * float(made.image[body].median())
    scale = levels(given.acquired).scale
    marked = beyond_reach(made.image.numpy(), made.off_resonance_hz.numpy(), BINS, scale)
    assert marked[given.scene.metal].mean() > 0.5
    assert marked[body.numpy()].mean() < 0.02


def test_a_uniform_field_is_undone_exactly_and_the_scale_is_that_of_rsos() -> None:
    line = torch.rand(1, 4, 64, generator=torch.Generator().manual_seed(1))
    field = torch.full_like(line, 3000.0)
    profiles = BINS.profiles(torch.tensor(3000.0))
    clean = profiles.view(-1, 1, 1, 1) * line
    shifts = [(3000.0 - centre) / 500.0 for centre in BINS.centres_hz]  # whole pixels
    plus, minus = (
        torch.stack([one.roll(round(sign * by), -1) for one, by in zip(clean, shifts, strict=True)]) for sign in (1, -1)
    )
    straight = unwarped(plus, minus, field, 500.0, BINS)
    torch.testing.assert_close(straight.images, clean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(straight.attention, torch.full_like(line, 0.5))
    torch.testing.assert_close(combined(clean, field, BINS), root_sum_of_squares(clean), rtol=5e-3, atol=0)


def test_units_do_not_matter() -> None:
    acquired = case(180.0, 300.0, 0.02).acquired
    one, thousand = (
        corrected(replace(acquired, plus=acquired.plus * k, minus=acquired.minus * k)) for k in (1.0, 1000.0)
    )
    torch.testing.assert_close(thousand.image / 1000, one.image, rtol=1e-3, atol=1e-4)


def test_of_nothing_comes_nothing() -> None:
    nothing = torch.zeros(24, 1, 32, 32)
    made = corrected(Acquired(nothing, nothing, 300.0, BINS))
    assert not made.image.any() and not made.off_resonance_hz.any()
    assert np.isfinite(made.attention.numpy()).all() and np.isfinite(made.confidence.numpy()).all()
