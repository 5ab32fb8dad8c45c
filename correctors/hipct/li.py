"""Method `li`: linear interpolation in the metal trace (Kalender, Hebel & Ebersberger, Radiology 1987)."""

from __future__ import annotations

from torch import Tensor

from correctors.hipct.scene import Scene
from correctors.hipct.trace import interpolate


def linear(scene: Scene) -> Tensor:
    """Correct by linear interpolation along the detector.

    Args:
        scene: slices with metal.

    Returns:
        (batch, y, x) [HU], metal not put back.
    """
    return scene.correct(interpolate(scene.sinogram, scene.trace))
