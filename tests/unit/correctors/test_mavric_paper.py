"""The paper's network and equations, on examples small enough to be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mavric_case import Case, package
from torch import Tensor, nn

from correctors.mavric.paper import (
    INPUTS,
    PAIRS_AT_ONCE,
    TOTAL_VARIATION,
    CorrectedPairs,
    PairMaps,
    corrected,
    corrected_bins,
    load,
    loss,
    pair_maps,
)
from correctors.mavric.paper_network import PAPER_WIDTH, DualPolarityUnet
from dicom_node.errors import WeightsError


def network(width: int = 2, seed: int = 1) -> DualPolarityUnet:
    torch.manual_seed(seed)
    return DualPolarityUnet(width).eval()


class Told(nn.Module):
    """Gives the same four numbers everywhere."""

    multiple = 1

    def __init__(self, *maps: float) -> None:
        super().__init__()
        self.maps = torch.tensor(maps).view(1, 4, 1, 1)

    def forward(self, pair: Tensor) -> Tensor:
        return self.maps.expand(len(pair), 4, *pair.shape[-2:])


def point(at: int, height: float = 1.0) -> Tensor:
    """Two lines of 16 pixels with one bright one."""
    line = torch.zeros(1, 2, 16)
    line[..., at] = height
    return line


def pair() -> tuple[Tensor, Tensor]:
    own = Case(slices=1).acquired
    return own.plus[5:8, 0], own.minus[5:8, 0]


def test_the_paper_s_network_has_as_many_parameters_as_ever() -> None:
    assert PAPER_WIDTH == 64
    assert sum(one.numel() for one in DualPolarityUnet().parameters()) == 34_520_900


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (3, 2, 32, 48)])
def test_four_maps_for_each_pair(shape: tuple[int, ...]) -> None:
    with torch.no_grad():
        made = network()(torch.rand(shape))
    assert made.shape == (shape[0], 4, *shape[2:])


def test_sides_that_do_not_fit_and_no_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got \(16, 40\)"):
        network()(torch.rand(1, 2, 16, 40))
    with pytest.raises(ValueError, match="width must be 1 or more, got 0"):
        DualPolarityUnet(0)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (19, 33)])
def test_pairs_of_any_size_are_padded(size: tuple[int, int]) -> None:
    plus, minus = torch.rand(2, *size), torch.rand(2, *size)
    with torch.no_grad():
        maps = pair_maps(network(), plus, minus)
    for one in vars(maps).values():
        assert one.shape == (2, *size)


@torch.no_grad()
def test_an_untrained_network_leaves_images_nearly_as_they_are() -> None:
    plus, minus = pair()
    made = corrected(network(8), plus, minus)
    assert float(made.maps.shift_plus.abs().max()) < 0.1
    torch.testing.assert_close(made.maps.attention, torch.full_like(plus, 0.5), atol=0.05, rtol=0)
    torch.testing.assert_close(made.plus, plus, atol=0.05, rtol=0)
    torch.testing.assert_close(made.image, (plus + minus) / 2, atol=0.05, rtol=0)


@torch.no_grad()
def test_brightness_does_not_matter() -> None:
    plus, minus = pair()
    one, other = (corrected(network(), plus * factor, minus * factor) for factor in (1.0, 4096.0))
    for name in ("shift_plus", "shift_minus", "off_resonance", "attention"):
        assert torch.equal(getattr(one.maps, name), getattr(other.maps, name))
    torch.testing.assert_close(other.image, 4096 * one.image, rtol=1e-5, atol=1e-2)


@torch.no_grad()
def test_each_pair_is_normalised_by_itself() -> None:
    plus, minus = pair()
    factor = torch.tensor([1.0, 64.0, 0.25]).view(3, 1, 1)
    one, other = pair_maps(network(), plus, minus), pair_maps(network(), factor * plus, factor * minus)
    torch.testing.assert_close(other.shift_plus, one.shift_plus, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_of_zeros_everything_is_finite() -> None:
    nothing = torch.zeros(1, 16, 16)
    made = corrected(network(), nothing, nothing)
    assert not made.image.any() and all(one.isfinite().all() for one in vars(made.maps).values())


def test_half_of_each_shift_and_the_attention_make_the_image() -> None:
    """Eqs. 6, 7 and 9: a point seen at 3 and at 5 lies at 4."""
    made = corrected(Told(2.0, -2.0, -1.0, 0.0), point(3), point(5))
    torch.testing.assert_close(made.plus, point(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(made.minus, point(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(made.image, point(4), atol=1e-6, rtol=0)
    skewed = corrected(Told(2.0, -2.0, -1.0, 0.0), point(3), point(5, 3.0))
    torch.testing.assert_close(skewed.image, point(4, 2.0), atol=1e-6, rtol=0)
    of_plus = corrected(Told(2.0, -2.0, -1.0, 50.0), point(3), point(5, 3.0))
    torch.testing.assert_close(of_plus.image, point(4, 1.0), atol=1e-6, rtol=0)


def told(shift_plus: float, shift_minus: float, off: float, image: Tensor) -> CorrectedPairs:
    maps = PairMaps(*(torch.full_like(image, one) for one in (shift_plus, shift_minus, off, 0.5)))
    return CorrectedPairs(image, image, image, maps)


def test_the_right_shifts_cost_nothing() -> None:
    made = told(2.0, -2.0, -1.0, point(4))
    assert float(loss(made, point(3), point(5))) == pytest.approx(0.0, abs=1e-10)


def test_eq_8_is_what_each_image_moved_onto_the_other_leaves() -> None:
    """No shift: two of 16 pixels of a line are wrong by 1, in either direction; eq. 12 costs nothing."""
    made = told(0.0, 0.0, -1.0, point(4))
    assert float(loss(made, point(3), point(5))) == pytest.approx(2 * 2 / 16, rel=1e-5)
    assert float(loss(told(2.0, 0.0, -1.0, point(4)), point(3), point(5))) == pytest.approx(2 / 16, rel=1e-5)
    assert float(loss(told(0.0, -2.0, -1.0, point(4)), point(3), point(5))) == pytest.approx(2 / 16, rel=1e-5)


def test_eq_12_is_what_the_image_distorted_again_leaves() -> None:
    plus, minus = point(3), point(5)
    for off in (0.0, 1.0):
        made = told(2.0, -2.0, off, point(4))
        assert float(loss(made, plus, minus)) == pytest.approx(2 * 2 / 16, rel=1e-5)
        assert float(loss(made, plus, minus, consistency=0.5)) == pytest.approx(2 / 16, rel=1e-5)
        assert float(loss(made, plus, minus, consistency=0.0)) == pytest.approx(0.0, abs=1e-10)
    dim = loss(told(2.0, -2.0, -1.0, point(4, 0.5)), plus, minus)
    assert float(dim) == pytest.approx(2 * 0.25 / 16, rel=1e-5)


def test_eq_13_adds_the_total_variation_of_the_shifts() -> None:
    """On zeros nothing else is left: a step of 1 among three along x, and of 2 along y."""
    nothing = torch.zeros(1, 2, 4)
    step_x, step_y = nothing.clone(), nothing.clone()
    step_x[..., 2:] = 1.0
    step_y[:, 1] = 2.0
    flat, half = nothing + 3.0, nothing + 0.5

    def cost(plus: Tensor, minus: Tensor, off: Tensor) -> float:
        made = CorrectedPairs(nothing, nothing, nothing, PairMaps(plus, minus, off, half))
        return float(loss(made, nothing, nothing)) / TOTAL_VARIATION

    assert cost(flat, flat, flat) == 0
    assert cost(step_x, flat, flat) == pytest.approx(1 / 3)
    assert cost(flat, step_y, flat) == pytest.approx(2.0)
    assert cost(step_x, step_y, step_x) == pytest.approx(2 / 3 + 2.0)


def test_the_loss_reaches_the_weights_and_steps_make_it_smaller() -> None:
    torch.manual_seed(3)
    learning = DualPolarityUnet(2)
    plus, minus = pair()
    brightest = torch.maximum(plus.amax(dim=(1, 2)), minus.amax(dim=(1, 2)))[:, None, None]
    plus, minus = plus / brightest, minus / brightest
    optimiser = torch.optim.Adam(learning.parameters(), 3e-3)
    found = []
    for _ in range(20):
        optimiser.zero_grad()
        value = loss(corrected(learning, plus, minus), plus, minus)
        torch.autograd.backward([value])
        optimiser.step()
        found.append(value.item())
    assert all(one.grad is not None for one in learning.parameters())
    assert found[-1] < 0.9 * found[0]


def test_the_predecessor_has_no_attention_and_its_field_from_its_shifts() -> None:
    made = corrected(Told(3.0, -1.0, 9.0, 50.0), point(3), point(5, 3.0), attention=False)
    assert torch.equal(made.maps.attention, torch.full((1, 2, 16), 0.5))
    assert torch.equal(made.maps.off_resonance, torch.full((1, 2, 16), -1.0))
    torch.testing.assert_close(made.image, (made.plus + made.minus) / 2)


def test_bins_are_corrected_as_their_pairs_are() -> None:
    own = Case().acquired
    made = corrected_bins(network(), own.plus, own.minus)
    assert own.plus.shape[0] * own.plus.shape[1] > PAIRS_AT_ONCE
    for one in (made.plus, made.minus, made.image, *vars(made.maps).values()):
        assert one.shape == own.plus.shape and not one.requires_grad
    alone = corrected(network(), own.plus[7], own.minus[7])
    torch.testing.assert_close(made.image[7], alone.image.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.maps.shift_minus[7], alone.maps.shift_minus.detach(), rtol=1e-3, atol=1e-5)


def test_a_package_is_loaded_as_it_was_kept(tmp_path: Path) -> None:
    kept = network(3)
    loaded = load(package(tmp_path / "p", kept, {"width": 3}, INPUTS), "cpu")
    assert not loaded.training
    seen = torch.rand(1, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(seen), kept(seen))


def test_packages_for_other_inputs_or_of_other_networks_are_refused(tmp_path: Path) -> None:
    other = package(tmp_path / "a", network(), {"width": 2}, {**INPUTS, "shifts": "millimetres"})
    with pytest.raises(WeightsError, match="the weights are for other inputs than this version of mavric/paper makes"):
        load(other, "cpu")
    with pytest.raises(WeightsError, match="the architecture is 'Told', but this method takes DualPolarityUnet"):
        load(package(tmp_path / "b", _Kept(), {}, INPUTS), "cpu")


class _Kept(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)


_Kept.__name__ = "Told"
