"""Whether an image network's change of a slice is to be believed; in doubt the slice stays as it is.

Two things tell without knowing the truth. A change that is hardly larger than the network's own error gains nothing.
And rays beside metal were measured well: a slight change that is nearly as large along them as along the rays through
metal is no removal of an artefact. (Strong artefacts are clipped to twelve bits, so that even their true removal
changes all rays.) The limits come from scans simulated into training and validation patients.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from correctors.hipct.body import body_mask
from correctors.hipct.scene import Restored, Scene

BESIDE = 0.65
"""Change along rays beside metal over that along rays through it; artefacts that are removed well leave 0.2 to 0.6."""
NOTHING_HU, SLIGHT_HU = 32.0, 60.0
"""Root mean square of the change in the patient: below the first the network's own error is as large."""


def doubtful(scene: Scene, restored: Restored) -> frozenset[int]:
    """Which slices had better stay as they are, by number in the batch.

    Args:
        scene: slices with metal.
        restored: what the network made of them.
    """
    change = torch.where(scene.metal | restored.metal, 0.0, restored.images - scene.images)
    paths = scene.projector.forward(change).square()
    beside, through = (torch.where(rays, paths, 0.0).sum(dim=(1, 2)) for rays in (~scene.trace, scene.trace))
    each = zip(beside, through, change, restored.images, strict=True)
    return frozenset(
        number
        for number, (aside, metal, one, image) in enumerate(each)
        if _in_patient(one, image) < (SLIGHT_HU if bool(aside > BESIDE**2 * metal) else NOTHING_HU)
    )


def _in_patient(change: Tensor, image: Tensor) -> float:
    """Root mean square of a change (y, x) within the patient [HU]; infinite where there is none."""
    patient = body_mask(image.cpu().numpy())
    inside = change.cpu().numpy()[patient]
    return float(np.sqrt(np.mean(np.square(inside, dtype=np.float64)))) if len(inside) else float("inf")
