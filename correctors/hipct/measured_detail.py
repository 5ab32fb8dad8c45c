"""What was measured of detail that a network left out, given back to its result.

A network that sees streaks and a faint lesion in one place takes some of the lesion away with them. The rays that pass
the lesion beside the metal still have it, and so have rays through metal that lets enough through. So the result's own
rays are put where the metal's were, joined with what the metal let through as far as that can be trusted; all others
stay as they were measured; and what their reconstruction has of detail more than the result is added to it. Only a band
of sizes is given back: above it the scanner's twelve bits and its field of view spoil what re-projection says of
shading, below it lie the finest streaks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from correctors.common.attenuation import attenuation_to_hu_change
from correctors.common.filters import gaussian, gaussian_within
from correctors.hipct.body import dense
from correctors.hipct.evidence import prior_of
from correctors.hipct.hardening import without_hardening
from correctors.hipct.nmar import normalised_interpolation
from correctors.hipct.reliability import reliable_part
from correctors.hipct.scene import Restored, Scene
from simulation.projector import ParallelProjector

FINEST_PIXELS, COARSEST_PIXELS = 1.5, 5.0
"""Standard deviations of the Gaussians between which a lesion of 5 to 15 mm lies."""
GIVEN_BACK = 1.8
"""Of the band's middle. What is lost on its flanks and in rays that nobody measured is made up for; more of it gives
lesions back whole and streaks with them. Set on cases of the patients that validated the network."""


def with_measured_detail(scene: Scene, coarse: ParallelProjector, restored: Restored) -> tuple[Tensor, Tensor]:
    """Give back measured detail.

    Args:
        scene: slices with metal.
        coarse: projector of the same square at half the resolution, with half the angles.
        restored: what a network made of them.

    Returns:
        Images with it, and the reconstruction that it was taken from, all sizes of it; neither has its metal put back;
        both (batch, y, x) [HU].
    """
    prior = prior_of(restored.images, restored.metal)
    expected = normalised_interpolation(scene, prior)
    through = _let_through(scene, coarse, prior, expected)
    # Nothing but the trace differs from the sinogram: `expected` is what was measured elsewhere.
    change = expected + reliable_part(through - expected, scene.trace) - scene.sinogram
    measured = scene.images + attenuation_to_hu_change(scene.projector.fbp(change))
    tissue = torch.where(scene.shadow | ~dense(restored.images), 0.0, 1.0)  # in air there are streaks, and no detail
    lacking = _middle_sizes(measured - restored.images, tissue)
    return restored.images + GIVEN_BACK * tissue * lacking, measured


def _let_through(scene: Scene, coarse: ParallelProjector, prior: Tensor, expected: Tensor) -> Tensor:
    """Rays (batch, angle, detector) of the slices without hardening streaks, metal replaced by the prior."""
    paths = scene.projector.forward(scene.metal.to(torch.float32))
    smooth = gaussian(torch.where(scene.shadow, 0.0, prior), 1.0)
    clean = without_hardening(scene, coarse, smooth, expected, paths)
    return scene.project(torch.where(scene.shadow, prior, clean))


def _middle_sizes(change: Tensor, tissue: Tensor) -> Tensor:
    """Those between the two Gaussians, of a change in tissue; where the gain is largest, it is 1."""
    fine, coarse = (gaussian_within(change, tissue, pixels) for pixels in (FINEST_PIXELS, COARSEST_PIXELS))
    return (fine - coarse) / _largest_gain()


def _largest_gain() -> float:
    """Of a difference of two Gaussians, over all frequencies."""
    fine, coarse = FINEST_PIXELS**2, COARSEST_PIXELS**2
    squared_frequency = 2 * math.log(coarse / fine) / (coarse - fine)
    return math.exp(-fine * squared_frequency / 2) - math.exp(-coarse * squared_frequency / 2)
