"""Method `best`: what its network is shown, that it changes nothing before it has learnt, and that it can learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hip_scenes import PIXEL_MM, SIDE, disc, error_hu, pelvis, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from correctors.common.fitting import Fitter, FittingPlan
from correctors.hipct.artefact_loss import Crop, artefact_loss, evidence_of, scene_of, stacked
from correctors.hipct.artefact_network import ArtefactUnet
from correctors.hipct.best import corrected, predicted
from correctors.hipct.coarse import half_resolution
from correctors.hipct.evidence import CHANNELS, Evidence, gather
from correctors.hipct.examples import Example, Projectors, make_example
from correctors.hipct.scene import Scene, make_scene
from simulation.materials import COCRMO, TI6AL4V, UHMWPE, Material
from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition

FINE = ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, 180))
COARSE = half_resolution(FINE)
CPU = torch.device("cpu")


def network(seed: int = 0, *, fresh: bool = False) -> ArtefactUnet:
    """A small network; random to its last layer unless `fresh`."""
    torch.manual_seed(seed)
    made = ArtefactUnet(CHANNELS, 2, (8, 12, 16))
    if not fresh:
        nn.init.normal_(made.head.weight, std=0.02)
    return made.eval()


def scene(radius_mm: float = 14.0) -> Scene:
    made = simulated("cobalt", radius_mm)
    return make_scene(FINE, "cpu", [made.artefact[0].numpy()], [made.metal[0].numpy()], PIXEL_MM)


def example(
    seed: int = 1, *, photons: float = 3e6, fan: bool = False, material: Material = COCRMO, radius_mm: float = 14.0
) -> Example:
    made = make_example(
        pelvis(),
        {material: disc((10, -75), radius_mm).astype(np.float32)},
        projectors=Projectors(FINE, FINE, COARSE),
        acquisition=Acquisition(photons=photons),
        window="ram-lak",
        fan=fan,
        seed=seed,
    )
    assert made is not None
    return made


def test_the_estimate_is_nearer_to_the_truth_than_the_slice() -> None:
    given_scene, made = scene(), simulated("cobalt", 14.0)
    evidence = gather(given_scene, COARSE)
    before, after = (error_hu(images[0].numpy(), made) for images in (given_scene.images, evidence.estimate))
    assert after < 0.6 * before


def test_without_metal_the_estimate_is_the_slice() -> None:
    slices = torch.from_numpy(pelvis()[None])
    nothing = torch.zeros(slices.shape, dtype=torch.bool)
    evidence = gather(Scene(FINE, slices, nothing, nothing), COARSE)
    assert torch.equal(evidence.estimate, slices)
    assert not bool(evidence.streaks.any())


def test_a_network_that_has_learnt_nothing_gives_the_estimate() -> None:
    evidence = gather(scene(), COARSE)
    result, likely = predicted(network(fresh=True), evidence)
    assert torch.equal(result, evidence.base)
    assert bool((likely[evidence.metal] == 0.5).all())


def test_only_what_was_segmented_is_metal() -> None:
    evidence = gather(scene(), COARSE)
    with torch.no_grad():
        restored = corrected(network(), scene(), evidence)
    assert not bool((restored.metal & ~evidence.metal).any())


@given(st.integers(65, 140), st.integers(65, 140))
@settings(max_examples=10, deadline=None)
def test_slices_of_any_size_go_through(height: int, width: int) -> None:
    whole = gather(scene(), COARSE)
    part = Evidence(*(getattr(whole, name)[:, :height, :width] for name in vars(whole)))
    with torch.no_grad():
        result, likely = predicted(network(), part)
    assert result.shape == likely.shape == (1, height, width)


@given(st.integers(1, 3), st.integers(70, 90))
@settings(max_examples=6, deadline=None)
def test_fine_pixels_are_shown_to_the_network_as_coarser_ones(shrink: int, side: int) -> None:
    whole = gather(scene(), COARSE)
    part = Evidence(*(getattr(whole, name)[:, 60 : 60 + side, :side] for name in vars(whole)))
    fine = Evidence(
        *(getattr(part, name).repeat_interleave(shrink, 1).repeat_interleave(shrink, 2) for name in vars(part))
    )
    with torch.no_grad():
        coarse_result, fine_result = predicted(network(), part)[0], predicted(network(), fine, shrink)[0]
    assert fine_result.shape == (1, side * shrink, side * shrink)
    change = nn.functional.avg_pool2d(fine_result - fine.base, shrink)
    wanted = coarse_result - part.base
    # Interpolated between the coarser pixels, so alike, but not the same.
    assert float(torch.corrcoef(torch.stack([change.flatten(), wanted.flatten()]))[0, 1]) > 0.8


def test_sides_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        network()(torch.zeros(1, CHANNELS, 12, 16))


def test_half_precision_agrees_to_two_hu() -> None:
    evidence = gather(scene(), COARSE)
    with torch.no_grad():
        full = predicted(network(), evidence)[0]
        with torch.autocast("cpu", dtype=torch.float16):
            half = predicted(network(), evidence)[0]
    assert float((full - evidence.base).abs().max()) > 20  # it does change something
    assert float((full - half).abs().max()) < 2.0


@pytest.mark.parametrize("fan", [False, True])
def test_what_is_wanted_has_the_noise_of_the_acquisition(fan: bool) -> None:
    quiet, noisy = (example(photons=n, fan=fan, material=TI6AL4V, radius_mm=6.0) for n in (1e9, 1e6))
    # Beside the trace, slice and wanted share their noise: their difference is that of the few rays through metal.
    far = quiet.away > 160
    noise = (noisy.wanted.astype(float) - quiet.wanted)[far]
    left = (noisy.slices.astype(float) - noisy.wanted)[far] - (quiet.slices.astype(float) - quiet.wanted)[far]
    assert noise.std() > 5
    assert left.std() < 0.5 * noise.std()


def test_what_cannot_be_found_gives_no_example() -> None:
    made = make_example(
        pelvis(),
        {UHMWPE: disc((10, -75), 14.0).astype(np.float32)},
        projectors=Projectors(FINE, FINE, COARSE),
        acquisition=Acquisition(),
        window="hann",
        fan=False,
        seed=1,
    )
    assert made is None


class Oracle(nn.Module):
    """Knows what is wanted."""

    def __init__(self, wanted: torch.Tensor, metal: torch.Tensor, off_hu: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._wanted, self._metal, self._off = wanted, metal, off_hu

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        base = channels[:, 2] * 1000
        change = (self._wanted + self._off - base) / 1000
        return torch.stack([change, torch.where(self._metal, 9.0, -9.0)], dim=1)


def test_the_loss_is_least_for_what_is_wanted_and_grows_with_the_error() -> None:
    one = example()
    whole = Crop(0, 0, SIDE, 0, False, False)
    batch = stacked([one], [whole], CPU)
    # Beyond the range that the network sees its own base is not in the channels: keep to it here.
    batch = replace(batch, evidence=replace(batch.evidence, previous=batch.evidence.previous.clamp(-1024, 2000)))
    metal = batch.share >= 0.5
    wanted = torch.where(batch.evidence.metal, batch.evidence.base.clamp(-1024, 2000), batch.wanted)
    batch = replace(batch, wanted=torch.where(batch.evidence.metal, batch.evidence.base, batch.wanted))
    losses = [float(artefact_loss(Oracle(wanted, metal, off), batch, FINE)) for off in (0.0, 20.0, 80.0)]
    assert 10 * losses[0] < losses[1] < losses[2] / 3


def test_a_crop_of_the_loss_is_turned_with_its_target() -> None:
    one = example()
    crops = [Crop(16, 40, 64, turns, mirrored, False) for turns in range(4) for mirrored in (False, True)]
    same = network(fresh=True)  # without weights of its own it is the same for every turn
    losses = [float(artefact_loss(same, stacked([one], [crop], CPU), FINE).detach()) for crop in crops]
    assert max(losses) - min(losses) < 1e-5


def test_the_second_pass_learns_from_the_first_without_gradient_through_it() -> None:
    one, made = example(), network()
    again = stacked([one, one], [Crop(32, 0, 64, 0, False, False), Crop(32, 0, 64, 0, False, True)], CPU)
    loss = artefact_loss(made, again, FINE)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in made.parameters())
    with torch.no_grad():
        evidence = evidence_of([one], CPU)
        once, twice = (corrected(made, scene_of(evidence, FINE), evidence, passes) for passes in (1, 2))
    assert not torch.equal(once.images, twice.images)


def test_it_can_learn() -> None:
    examples = [example(seed) for seed in (1, 2)]
    crops = [Crop(32, 0, 128, 0, False, again) for again in (False, True)]
    made = network(fresh=True)
    fitter = Fitter(made, FittingPlan(steps=30, learning_rate=3e-3), lambda net, batch: artefact_loss(net, batch, FINE))
    losses = [fitter.step([stacked(examples, crops, CPU)]).loss for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
