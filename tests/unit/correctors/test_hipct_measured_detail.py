"""Detail that a network left out comes back where it was measured, and nothing else does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hip_scenes import ANGLES, PIXEL_MM, SIDE, disc, pelvis, scanned
from scipy import ndimage
from torch import Tensor

from correctors.hipct.coarse import half_resolution
from correctors.hipct.measured_detail import with_measured_detail
from correctors.hipct.scene import Restored, Scene, make_scene
from simulation.metal_ct import MetalSimulation
from simulation.projector import ParallelGeometry, ParallelProjector

FINE = ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, ANGLES))
COARSE = half_resolution(FINE)
METAL_AT, RADIUS_MM = (10.0, -75.0), 14.0
LESION_HU, LESION_RADIUS_MM = 50.0, 10.0


def lesion(away_mm: float) -> np.ndarray:
    """A disc in the muscle beside the metal, that far from its middle, (y, x) [HU]."""
    return LESION_HU * disc((METAL_AT[0], METAL_AT[1] + away_mm), LESION_RADIUS_MM).astype(np.float32)


@cache
def scan(material: str, away_mm: float) -> MetalSimulation:
    """The pelvis with a metal head, and with a lesion unless `away_mm` is 0."""
    tissue = pelvis() + (lesion(away_mm) if away_mm else np.float32(0))
    return scanned(tissue, disc(METAL_AT, RADIUS_MM), material, photons=3e7)


def scene_of(made: MetalSimulation) -> Scene:
    return make_scene(FINE, "cpu", [made.artefact[0].numpy()], [made.metal[0].numpy()], PIXEL_MM)


def given_back(made: MetalSimulation, result: Tensor) -> Tensor:
    scene = scene_of(made)
    return with_measured_detail(scene, COARSE, Restored(result, scene.metal))[0]


def contrast(image: np.ndarray, away_mm: float) -> float:
    """Of the lesion, over its true one."""
    inside = lesion(away_mm) > 0.9 * LESION_HU
    ring = ndimage.binary_dilation(inside, iterations=4) & ~ndimage.binary_dilation(inside, iterations=2)
    return float(image[inside].mean() - image[ring].mean()) / LESION_HU


@pytest.mark.parametrize(("material", "least"), [("titanium", 1.0), ("cobalt", 0.8)])
def test_a_lesion_that_the_network_left_out_comes_back(material: str, least: float) -> None:
    away_mm = 50.0
    with_, without = scan(material, away_mm), scan(material, 0.0)
    flat = torch.where(scene_of(without).metal, 40.0, without.floor)  # what a network that knows no lesions would say
    response = (given_back(with_, flat) - given_back(without, flat))[0].numpy()
    assert least < contrast(response, away_mm) < 1.4
    far = disc((0, 0), 105, 1.5).astype(bool) & (ndimage.gaussian_filter(lesion(away_mm), 8) < 0.1)
    assert np.abs(response[far]).mean() < 0.05 * LESION_HU


def test_a_result_that_lacks_nothing_stays_as_it_is() -> None:
    made = scan("titanium", 0.0)
    scene = scene_of(made)
    result = torch.where(scene.metal, 40.0, made.floor)
    change = (given_back(made, result) - result)[0][~scene.shadow[0]]
    artefact = (scene.images - made.floor)[0][~scene.shadow[0]]
    assert float(change.square().mean().sqrt()) < 0.5 * float(artefact.square().mean().sqrt())


def test_metal_and_its_rim_stay_as_the_network_has_them() -> None:
    made = scan("cobalt", 0.0)
    scene = scene_of(made)
    result = torch.where(scene.metal, 40.0, made.floor)
    assert torch.equal(given_back(made, result)[scene.shadow], result[scene.shadow])


def test_shading_is_the_networks() -> None:
    """What re-projection says of large sizes is spoilt by clipping: a result that is too bright stays so."""
    made = scan("cobalt", 0.0)
    scene = scene_of(made)
    result = torch.where(scene.metal, 40.0, made.floor)
    shaded = result + 30.0
    back = given_back(made, shaded) - given_back(made, result)
    inner = torch.from_numpy(ndimage.binary_erosion(disc((0, 0), 80, 1.5) > 0, iterations=8)) & ~scene.shadow[0]
    assert float(back[0][inner].mean()) == pytest.approx(30.0, abs=3.0)


def test_slices_of_a_batch_do_not_touch_each_other() -> None:
    both = [scan("cobalt", 0.0), scan("titanium", 50.0)]
    results = [torch.where(scene_of(made).metal, 40.0, made.floor) for made in both]
    together = make_scene(
        FINE,
        "cpu",
        [made.artefact[0].numpy() for made in both],
        [made.metal[0].numpy() for made in both],
        PIXEL_MM,
    )
    batch = with_measured_detail(together, COARSE, Restored(torch.cat(results), together.metal))[0]
    for number, (made, result) in enumerate(zip(both, results, strict=True)):
        torch.testing.assert_close(batch[number], given_back(made, result)[0], atol=0.05, rtol=0)


def test_nothing_is_given_to_air() -> None:
    made = scan("cobalt", 0.0)
    scene = scene_of(made)
    result = torch.where(scene.metal, 40.0, made.floor)
    outside = torch.from_numpy(ndimage.binary_erosion(disc((0, 0), 105, 1.5) < 0.01, iterations=8))
    assert torch.equal(given_back(made, result)[0][outside], result[0][outside])
