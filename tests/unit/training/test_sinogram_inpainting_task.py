"""The near-hip paper's task: examples, loss and trials on procedural pelvises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from correctors.common.fitting import Fitter, FittingPlan, InPrecision
from correctors.hipct.inpainting import Conventions
from correctors.hipct.trace import interpolate
from training.anatomy import Anatomy
from training.recipe import DataSection
from training.sources import Examples, fixed_cases
from training.tasks.sinogram_inpainting import SinogramInpainting, hip_frames, near_frames

CPU = torch.device("cpu")


@cache
def patients() -> tuple[Anatomy, ...]:
    """Two procedural patients on the working grid."""
    task = SinogramInpainting()
    return tuple(Anatomy(f"p{n}", f"s{n}", "procedural", task.procedural(n)) for n in (1, 2))


@cache
def begun(replaced: str = "trace") -> SinogramInpainting:
    """A task that has seen them."""
    task = SinogramInpainting(replaced=replaced, masks=20)  # type: ignore[arg-type]
    task.begin(patients(), CPU, 1)
    return task


def plain_network() -> nn.Module:
    """Without batch statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.LeakyReLU(0.2), nn.Conv2d(3, 1, 5, padding=2))


def examples(seed: int = 1) -> Examples:
    """Which examples are drawn."""
    return Examples(patients(), DataSection(), seed)


def test_an_example_is_a_sinogram_whose_trace_is_filled_with_the_largest_undisturbed_value() -> None:
    batch = begun().batch(examples().draws(0, 6))
    trace = batch.filled != batch.clean
    assert batch.filled.shape == (6, 80, 141)
    assert bool(trace.any(dim=(1, 2)).all())
    for filled, clean, level, where in zip(batch.filled, batch.clean, batch.level, trace, strict=True):
        assert bool((filled[where] == level.squeeze()).all())
        assert float(clean[~where].max()) <= float(level) + 1e-5


def test_the_same_examples_come_whatever_was_drawn_before() -> None:
    fresh = SinogramInpainting(masks=20)
    fresh.begin(patients(), CPU, 1)
    one, other = begun().batch(examples().draws(3, 2)), fresh.batch(examples().draws(3, 2))
    assert torch.equal(one.filled, other.filled)
    assert torch.equal(one.clean, other.clean)


@pytest.mark.parametrize("replaced", ["all", "trace"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(replaced: str) -> None:
    task, gradients = begun(replaced), []
    for parts in (1, 4):
        network = plain_network()
        fitter = Fitter(network, FittingPlan(steps=1, learning_rate=1e-3), task.loss)
        size = 8 // parts
        fitter.step([task.batch(examples().draws(k * size, size)) for k in range(parts)])
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=0, atol=5e-5 * max(1.0, float(whole.abs().max())))


def test_half_precision_trains_and_is_tried_without_touching_the_projector() -> None:
    task, network = begun(), plain_network()
    fitter = Fitter(network, FittingPlan(steps=1, learning_rate=1e-3, precision="bfloat16"), task.loss)
    fitter.step([task.batch(examples().draws(0, 2))])
    cases = fixed_cases(patients(), 1, 1)
    with torch.no_grad():
        tried = task.trial(InPrecision(network, fitter.precision), cases)
    assert np.isfinite(tried.score)
    assert all(t.dtype == torch.float32 for t in task._cleans.values())


class Interpolating(nn.Module):
    """What linear interpolation does, as a network."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return interpolate(values[:, 0], values[:, 0] == 0)[:, None]


def test_a_trial_scores_a_network_that_interpolates_like_interpolation() -> None:
    tried = begun().trial(Interpolating(), fixed_cases(patients(), 2, 4))
    figures = tried.figures
    assert figures["psnr_trace_only_db"] == pytest.approx(figures["psnr_li_db"], abs=0.5)
    assert figures["psnr_li_db"] > figures["psnr_uncorrected_db"] + 8
    assert figures["psnr_nmar_db"] > figures["psnr_uncorrected_db"] + 8
    assert tried.score == figures["psnr_trace_only_db"]
    assert list(tried.pictures[0].images)[-1] == "truth"


def test_a_trial_shows_circles_that_no_training_mask_was_made_of() -> None:
    first, second = (begun().trial(Interpolating(), fixed_cases(patients(), 1, seed)) for seed in (1, 2))
    assert first.figures["psnr_uncorrected_db"] != second.figures["psnr_uncorrected_db"]


def test_the_conventions_are_what_the_corrector_reads() -> None:
    conventions = Conventions.from_mapping(begun().conventions())
    assert (conventions.replaced, conventions.grid.n_angles) == ("trace", 80)
    assert len(conventions.standard) == 19


def anatomy(offsets: Sequence[float]) -> Anatomy:
    """A series whose slices lie at these heights."""
    frames = np.zeros((len(offsets), 2, 2), np.int16)
    return Anatomy("p", "s", "real", {"frames": frames, "frames_offset_mm": np.asarray(offsets, np.float32)})


def test_the_first_scenario_learns_beside_the_hip_and_is_tried_on_it() -> None:
    series = anatomy([3.0 * k for k in range(-20, 21)])
    hip, near = set(hip_frames(series, 11).tolist()), near_frames(series, 11).tolist()
    assert len(hip) == 11
    assert len(near) == len(set(near)) == 22
    assert not hip & set(near)
    heights = [3.0 * (k - 20) for k in near]
    assert min(abs(h) for h in heights) > 15
    assert max(abs(h) for h in heights) == 48
    assert hip_frames(series, 0).tolist() == list(range(41))


@pytest.mark.parametrize(
    "arguments", [{"replaced": "tracee"}, {"scale": 0.0}, {"masks": 0}, {"n_angles": 81}, {"pixel_mm": -1.0}]
)
def test_arguments_without_meaning_are_refused_before_anything_is_trained(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|got"):
        SinogramInpainting(**arguments)  # type: ignore[arg-type]
