"""Method `paper`: what it leaves alone, and that it gives back what its network says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hip_scenes import PIXEL_MM, SIDE, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from correctors.hipct.brightness import brightness_factor, brightness_of
from correctors.hipct.infer import build
from correctors.hipct.inpainting import Conventions, Inpainting, inpaint, largest_undisturbed
from correctors.hipct.plugin import SPEC
from correctors.hipct.scene import Scene, make_scene
from correctors.hipct.trace import interpolate
from correctors.hipct.working_grid import WorkingGrid, wrap_angles
from dicom_node.errors import WeightsError
from simulation.projector import ParallelGeometry, ParallelProjector

GRID = WorkingGrid(4.0, 80)
STANDARD = tuple(float(q) for q in np.linspace(900, 1080, 19))


class Interpolating(nn.Module):
    """Stands for a network that has learnt its task: interpolates what is 0, and leaves the rest."""

    def forward(self, sinograms: Tensor) -> Tensor:
        values = sinograms[:, 0]
        return interpolate(values, values == 0)[:, None]


class Identity(nn.Module):
    """A network that learnt nothing."""

    def forward(self, sinograms: Tensor) -> Tensor:
        return sinograms


def scene() -> Scene:
    """A cobalt head in a small pelvis."""
    made = simulated("cobalt", 14.0)
    metal = made.metal.numpy()
    projector = ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, 180))
    return make_scene(projector, "cpu", [made.artefact[0].numpy()], [metal[0]], PIXEL_MM)


def rmse(image: Tensor) -> float:
    """Against the truth, outside metal [HU]."""
    made = simulated("cobalt", 14.0)
    away = nn.functional.max_pool2d(made.metal.float(), 5, 1, 2) == 0
    return float((image - made.truth)[away].square().mean().sqrt())


@pytest.mark.parametrize("replaced", ["all", "trace"])
def test_a_network_that_inpaints_makes_the_image_better(replaced: str) -> None:
    before = scene()
    method = Inpainting(Interpolating(), Conventions(GRID, 4.0, STANDARD, replaced), 0)  # type: ignore[arg-type]
    assert rmse(method(before)) < 0.6 * rmse(before.images)


def test_all_rays_of_a_network_that_changes_none_outside_the_trace_are_those_of_trace_only() -> None:
    outcomes = [
        Inpainting(Identity(), Conventions(GRID, 4.0, STANDARD, replaced), 0)(scene())  # type: ignore[arg-type]
        for replaced in ("all", "trace")
    ]
    torch.testing.assert_close(*outcomes, rtol=0, atol=0.05)


def test_the_patients_brightness_is_undone() -> None:
    plain, brightened = (Inpainting(Interpolating(), Conventions(GRID, 4.0, STANDARD, "trace"), 0) for _ in range(2))
    brightened.factor = 1.3
    torch.testing.assert_close(plain(scene()), brightened(scene()), rtol=0, atol=0.5)


@settings(max_examples=25)
@given(st.floats(0.6, 1.8), st.integers(0, 1000))
def test_the_brightness_factor_finds_the_factor(factor: float, seed: int) -> None:
    slices = np.random.default_rng(seed).normal(40, 60, (2, 64, 64)).astype(np.float32)
    own = brightness_of(slices)
    assert brightness_factor(own, [q * factor for q in own]) == pytest.approx(factor)
    assert brightness_factor(own, own) == pytest.approx(1)
    assert brightness_factor((), own) == 1.0


def test_air_and_metal_do_not_count_for_brightness() -> None:
    tissue = np.full((1, 32, 32), 50.0, np.float32)
    tissue[0, :8], tissue[0, 8:16] = -1000.0, 3000.0
    assert set(brightness_of(tissue)) == {1050.0}


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([0.7, 1.0, 1.4, 2.5]), st.sampled_from([180, 320, 480]))
def test_smooth_sinograms_survive_the_working_grid(spacing_mm: float, angles: int) -> None:
    detectors = int(440 / spacing_mm) | 1
    at = (torch.arange(detectors) - (detectors - 1) / 2) * spacing_mm
    theta = torch.arange(angles) * torch.pi / angles
    centre = 40 * torch.cos(theta)[:, None]
    sinogram = torch.exp(-(((at[None] - centre) / 45) ** 2))[None]  # a blob off centre
    back = GRID.restore(GRID.sample(sinogram, spacing_mm), spacing_mm, angles, detectors)
    assert float((back - sinogram).abs().max()) < 0.02


def test_metal_does_not_blur_into_its_neighbours_on_the_working_grid() -> None:
    sinogram = torch.full((1, 160, 401), 3.0)
    trace = torch.zeros_like(sinogram, dtype=torch.bool)
    trace[:, :, 180:215] = True
    values, lost = GRID.sample_measured(torch.where(trace, 50.0, sinogram), trace, 1.0)
    middle = values[0, :, 10:-10]
    assert float(middle[~lost[0, :, 10:-10]].max()) == pytest.approx(3.0, abs=1e-3)
    width = lost[0].sum(-1).float().mean() * GRID.detector_mm
    assert float(width) == pytest.approx(35, abs=GRID.detector_mm)


def test_angles_go_on_beyond_half_a_turn() -> None:
    """Of an image turned by 180 degrees all rays run the other way."""
    projector = ParallelProjector(ParallelGeometry(32, 1.0, 40))
    image = torch.from_numpy(np.random.default_rng(0).random((1, 32, 32), np.float32))
    sinogram = projector.forward(image)
    turned = projector.forward(torch.rot90(image, 2, (1, 2)))
    torch.testing.assert_close(wrap_angles(sinogram, 40)[:, 40:80], sinogram)
    torch.testing.assert_close(wrap_angles(sinogram, 40)[:, 80:], turned, rtol=1e-4, atol=1e-4)


def test_the_network_sees_the_trace_as_zero_and_values_come_back() -> None:
    sinogram = torch.linspace(0, 5, 80 * 21).reshape(1, 80, 21)
    trace = torch.zeros_like(sinogram, dtype=torch.bool)
    trace[:, :, 9:12] = True
    level = largest_undisturbed(sinogram, trace)
    assert float(level) == float(sinogram[~trace].max())
    filled = torch.where(trace, level, sinogram)
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            seen.append(values)
            return values

    out = inpaint(Watching(), filled, level, Conventions(GRID, 4.0, STANDARD, "all"), 12)
    torch.testing.assert_close(out, filled)
    assert seen[0].shape == (1, 1, 80 + 24, 21)
    assert bool((seen[0][0, 0, 12:-12, 9:12] == 0).all())


def test_paper_without_weights_and_others_with_weights_are_refused(tmp_path: Path) -> None:
    parameters = {name: parameter.default for name, parameter in SPEC.parameters.items()}
    with pytest.raises(WeightsError, match="needs a weights package"):
        build(method="paper", weights=None, device="cpu", parameters=parameters)
    with pytest.raises(WeightsError, match="has no weights"):
        build(method="nmar", weights=tmp_path, device="cpu", parameters=parameters)
