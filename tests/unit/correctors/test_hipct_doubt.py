"""In doubt a slice stays as it is."""

from __future__ import annotations

import numpy as np
import torch
from hip_scenes import PIXEL_MM, disc, simulated
from torch import Tensor

from correctors.hipct.doubt import BESIDE, NOTHING_HU, SLIGHT_HU, doubtful
from correctors.hipct.scene import Restored, Scene, make_scene
from simulation.projector import ParallelGeometry, ParallelProjector

FINE = ParallelProjector(ParallelGeometry(192, PIXEL_MM, 180))


def scene() -> Scene:
    made = simulated("titanium", 12.0)
    slices, metal = made.artefact[0].numpy(), made.metal[0].numpy()
    return make_scene(FINE, "cpu", [slices, slices], [metal, metal], PIXEL_MM)


def restored(first: Tensor, second: Tensor) -> Restored:
    """Two slices changed by so much [HU]."""
    given = scene()
    return Restored(given.images + torch.stack([first, second]), given.metal)


def streak(strength_hu: float) -> Tensor:
    """A change that lies along the rays through metal."""
    rays = torch.where(scene().trace[:1], 1.0, 0.0)
    change = FINE.fbp(rays)[0]
    return change * (strength_hu / float(change[scene().images[0] > -500].square().mean().sqrt()))


def cloud(strength_hu: float) -> Tensor:
    """A change that has nothing to do with metal."""
    return strength_hu * torch.from_numpy((disc((-20, 60), 40) - disc((40, 10), 40)).astype(np.float32))


def test_a_change_that_gains_nothing_is_doubted() -> None:
    assert doubtful(scene(), restored(streak(NOTHING_HU / 2), streak(4 * NOTHING_HU))) == {0}


def test_a_slight_change_beside_the_metals_rays_is_doubted() -> None:
    given = scene()
    change = cloud(130.0)
    paths = FINE.forward(torch.where(given.metal[:1], 0.0, change[None])).square()
    assert paths[~given.trace[:1]].sum() > BESIDE**2 * paths[given.trace[:1]].sum()
    assert doubtful(given, restored(change, streak(0.8 * SLIGHT_HU))) == {0}


def test_a_strong_change_is_believed_even_so() -> None:
    assert doubtful(scene(), restored(cloud(600.0), streak(200.0))) == frozenset()


def test_an_empty_slice_is_no_reason_for_doubt() -> None:
    air = torch.full((1, 192, 192), -1000.0)
    nothing = torch.zeros(air.shape, dtype=torch.bool)
    assert doubtful(Scene(FINE, air, nothing, nothing), Restored(air, nothing)) == frozenset()
