"""Fitting: schedules, averages, precision, and what it keeps of its state."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_task import SmallNet
from torch import Tensor, nn

from correctors.common.fitting import Fitter, FittingPlan, NotFinite


def mse(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error."""
    return nn.functional.mse_loss(network(batch[0]), batch[1])


def batch(seed: int) -> tuple[Tensor, Tensor]:
    """Noise and its double."""
    values = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return values, 2 * values


def fitter(**plan: object) -> Fitter:
    """A small network, always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = SmallNet()
    return Fitter(network, FittingPlan(**{"steps": 10, "learning_rate": 0.01, **plan}), mse)  # type: ignore[arg-type]


@given(st.integers(1, 2000), st.floats(1e-6, 1.0), st.integers(0, 100), st.floats(0, 1))
def test_the_cosine_starts_at_the_rate_and_falls_to_its_share(
    steps: int, rate: float, warmup: int, share: float
) -> None:
    plan = FittingPlan(steps=steps, learning_rate=rate, warmup_steps=warmup, final_share=share)
    rates = [plan.rate(n) for n in range(0, steps + 1, max(1, steps // 50))]
    assert all(0 <= r <= rate * (1 + 1e-12) for r in rates)
    falling = [plan.rate(n) for n in range(warmup, steps + 1, max(1, steps // 50))]
    assert all(a >= b - 1e-15 for a, b in pairwise(falling))
    if steps >= warmup:
        assert plan.rate(steps) == pytest.approx(rate * share, rel=1e-6, abs=1e-12)


def test_the_inverse_schedule_is_that_of_keras() -> None:
    plan = FittingPlan(steps=10, learning_rate=5e-3, schedule="inverse", decay=2.5e-5)
    assert plan.rate(0) == 5e-3
    assert plan.rate(40_000) == pytest.approx(5e-3 / 2)


def test_the_average_follows_the_weights_by_its_decay() -> None:
    fitted = fitter(ema=0.5)
    before = {n: t.clone() for n, t in fitted.averaged_state().items()}
    fitted.step([batch(1)])
    decay = min(0.5, 1 / 11)
    for name, average in fitted.averaged_state().items():
        now = fitted.network.state_dict()[name]
        if average.dtype.is_floating_point:
            torch.testing.assert_close(average, decay * before[name] + (1 - decay) * now)


def test_averaged_weights_are_used_for_a_while_only() -> None:
    fitted = fitter(ema=0.99)
    for n in range(3):
        fitted.step([batch(n)])
    own = {n: t.clone() for n, t in fitted.network.state_dict().items()}
    with fitted.averaged() as network:
        assert not network.training
        assert not torch.equal(network.state_dict()["layers.0.weight"], own["layers.0.weight"])
    assert fitted.network.training
    assert all(torch.equal(t, own[n]) for n, t in fitted.network.state_dict().items())


def test_a_loss_that_is_not_finite_leaves_the_weights() -> None:
    fitted = fitter()
    before = {n: t.clone() for n, t in fitted.network.state_dict().items()}
    values, wanted = batch(1)
    with pytest.raises(NotFinite):
        fitted.step([(values * math.inf, wanted)])
    assert all(torch.equal(t, before[n]) for n, t in fitted.network.state_dict().items())
    assert fitted.done == 0


def test_clipping_bounds_the_step_but_not_the_reported_norm() -> None:
    free, clipped = fitter(), fitter(clip=1e-3)
    one, other = free.step([batch(1)]), clipped.step([batch(1)])
    assert one.gradient_norm == pytest.approx(other.gradient_norm)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in clipped.network.parameters() if p.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_fitter_takes_the_same_steps(precision: str) -> None:
    whole, first, second = (fitter(ema=0.9, precision=precision, weight_decay=0.01) for _ in range(3))
    for n in range(6):
        whole.step([batch(n)])
    for n in range(3):
        first.step([batch(n)])
    second.restore(*first.state())
    for n in range(3, 6):
        second.step([batch(n)])
    ours, theirs = second.state(), whole.state()
    assert ours[1] == theirs[1]
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in theirs[0])


def test_the_state_of_another_network_does_not_fit() -> None:
    other = Fitter(SmallNet(width=7), FittingPlan(steps=1, learning_rate=0.1), mse)
    with pytest.raises(RuntimeError):
        fitter().restore(*other.state())
