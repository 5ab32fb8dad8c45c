"""Method `classical`."""

from __future__ import annotations

from torch import Tensor

from correctors.hipct.nmar import normalised
from correctors.hipct.scene import Scene


def restored(scene: Scene) -> Tensor:
    """Correct."""
    return normalised(scene)
