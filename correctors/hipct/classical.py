"""Method `classical`: what the metal let through, cleaned, where it can be trusted; a prior's rays where it cannot.

Each round (1) interpolates the trace by NMAR with a segmented prior image, (2) fits the hardening streaks against the
result and takes them off the original, (3) re-projects that image with the metal cut out, which gives a second,
measured estimate of the trace, and (4) joins both by local reliability. The joined image gives the next round's prior.
Titanium keeps nearly all that was measured; behind cobalt heads little is left, and the result tends to NMAR.
"""

from __future__ import annotations

import torch
from torch import Tensor

from correctors.common.filters import gaussian
from correctors.hipct.coarse import HalfResolution
from correctors.hipct.hardening import without_hardening
from correctors.hipct.nmar import BONE_FROM_HU, CLEAN_BONE_FROM_HU, normalised_interpolation, segmented_prior
from correctors.hipct.reliability import reliable_part, starvation
from correctors.hipct.scene import Scene
from correctors.hipct.trace import interpolate

ROUNDS = 2


class Classical:
    """The method with its half-resolution projector, kept between calls."""

    def __init__(self) -> None:
        self._half = HalfResolution()

    def __call__(self, scene: Scene) -> Tensor:
        """Correct.

        Args:
            scene: slices with metal.

        Returns:
            (batch, y, x) [HU], metal not put back.
        """
        coarse = self._half.of(scene.projector)
        paths = scene.projector.forward(scene.metal.to(torch.float32))
        joined = interpolate(scene.sinogram, scene.trace)
        rounds: list[Tensor] = []
        for number in range(ROUNDS):
            bone_from_hu = CLEAN_BONE_FROM_HU if number else BONE_FROM_HU
            prior = segmented_prior(scene.reconstruct(joined), scene.shadow, bone_from_hu)
            expected = normalised_interpolation(scene, prior)
            smooth = scene.reconstruct(expected)
            filled = torch.where(scene.shadow, 0.0, smooth)
            clean = without_hardening(scene, coarse, gaussian(filled, 1.0), expected, paths)
            measured = scene.project(torch.where(scene.shadow, smooth, clean))
            joined = torch.where(
                scene.trace, expected + reliable_part(measured - expected, scene.trace), scene.sinogram
            )
            rounds.append(joined)
        # Where next to nothing was measured, the rounds differ by chance: their mean is nearer than either.
        first, last = rounds[0], rounds[-1]
        return scene.correct(last + 0.5 * starvation(measured - expected, scene.trace) * (first - last))
