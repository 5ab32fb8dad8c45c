"""Which polarity is which, told from bins of known physics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mavric_case import FEW, Case
from torch import Tensor

from correctors.mavric.spectral_order import Order, order_of
from simulation.mavric import Bins

PPM = {"cobalt": 900.0, "titanium": 180.0, "no metal": 0.0}
SHUFFLES = 100


def order(case: Case, plus: Tensor | None = None, minus: Tensor | None = None) -> Order:
    own = case.acquired
    return order_of(
        own.plus if plus is None else plus,
        own.minus if minus is None else minus,
        case.bins.spacing_hz / case.bandwidth,
    )


@pytest.mark.parametrize("noise", [0.003, 0.05])
@pytest.mark.parametrize("metal", PPM)
@pytest.mark.parametrize("bandwidth", [250.0, 350.0, 500.0, 700.0, 1000.0])
def test_roles_are_known_as_they_are_and_swapped(bandwidth: float, metal: str, noise: float) -> None:
    case = Case(PPM[metal], bandwidth, noise, slices=1)
    own = case.acquired
    assert order(case) is Order.AS_NAMED
    assert order(case, own.minus, own.plus) is Order.SWAPPED


@pytest.mark.parametrize("bandwidth", [250.0, 1000.0])
def test_empty_bins_do_not_hide_the_order(bandwidth: float) -> None:
    assert order(Case(0.0, bandwidth, 0.05, Bins(), slices=1)) is Order.AS_NAMED


@pytest.mark.parametrize("count", [2, 4])
def test_a_few_bins_that_all_hold_tissue_are_in_order(count: int) -> None:
    assert order(Case(180.0, 400.0, bins=Bins(count), slices=1)) is Order.AS_NAMED


@pytest.mark.parametrize("bandwidth", [250.0, 1000.0])
def test_descending_bins_look_like_swapped_roles(bandwidth: float) -> None:
    case = Case(900.0, bandwidth, slices=1)
    own = case.acquired
    assert order(case, own.plus.flip(0), own.minus.flip(0)) is Order.SWAPPED
    assert order(case, own.minus.flip(0), own.plus.flip(0)) is Order.AS_NAMED


@pytest.mark.parametrize("bandwidth", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("metal", PPM)
def test_nearly_all_disorders_of_the_paper_s_bins_are_unclear(metal: str, bandwidth: float) -> None:
    assert _taken(Case(PPM[metal], bandwidth, bins=Bins(), slices=1)) <= 0.1 * SHUFFLES


@pytest.mark.parametrize("bins", [FEW, Bins()], ids=lambda bins: f"{bins.count} bins")
def test_all_disorders_are_unclear(bins: Bins) -> None:
    assert _taken(Case(180.0, bins=bins, slices=1)) == 0


@pytest.mark.parametrize("how", ["as text", "even ones first"])
def test_usual_disorders_are_unclear(how: str) -> None:
    case = Case(180.0, 1000.0, bins=Bins(), slices=1)
    numbers = range(case.bins.count)
    disorder = sorted(numbers, key=lambda n: str(n + 1)) if how == "as text" else [*numbers[::2], *numbers[1::2]]
    own = case.acquired
    assert order(case, own.plus[disorder], own.minus[disorder]) is Order.UNCLEAR


def _taken(case: Case) -> int:
    """How many of so many shuffles are taken for an order."""
    own, taken = case.acquired, 0
    for seed in range(SHUFFLES):
        shuffled = torch.randperm(case.bins.count, generator=torch.Generator().manual_seed(seed))
        taken += order(case, own.plus[shuffled], own.minus[shuffled]) is not Order.UNCLEAR
    return taken


@pytest.mark.parametrize("bandwidth", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("metal", PPM)
def test_one_polarity_in_both_roles_is_unclear(metal: str, bandwidth: float) -> None:
    case = Case(PPM[metal], bandwidth, slices=1)
    own = case.acquired
    for images in (own.plus, own.minus):
        assert order(case, images, images) is Order.UNCLEAR
    again = replace(case, noise=0.011).acquired.plus
    assert order(case, own.plus, again) is Order.UNCLEAR


def test_noise_alone_and_nothing_are_unclear() -> None:
    generator = torch.Generator().manual_seed(4)
    noise = [torch.randn(2, FEW.count, 1, 48, 48, generator=generator).norm(dim=0) for _ in range(2)]
    assert order_of(noise[0], noise[1], 2.0) is Order.UNCLEAR
    nothing = torch.zeros(FEW.count, 1, 16, 16)
    assert order_of(nothing, nothing, 2.0) is Order.UNCLEAR


def test_a_series_that_shows_the_readout_across_is_unclear() -> None:
    case = Case(900.0, slices=1)
    own = case.acquired
    assert order(case, own.plus.transpose(-1, -2), own.minus.transpose(-1, -2)) is Order.UNCLEAR


def test_one_bin_has_a_convention_that_swapped_roles_keep() -> None:
    case = Case(bins=Bins(1, 1000.0, 1e9), slices=1)
    own = case.acquired
    one, other = order(case), order(case, own.minus, own.plus)
    assert {one, other} == {Order.AS_NAMED, Order.SWAPPED}
