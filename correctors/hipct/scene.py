"""A few slices with metal, projected: what every method starts from, and the way back to CT numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from correctors.common.attenuation import (
    AIR_HU,
    attenuation_to_hu_change,
    hu_to_attenuation,
)
from correctors.common.filters import gaussian
from correctors.hipct.segmentation import shadow
from correctors.hipct.trace import trace_of
from dicom_node.contracts import BoolArray, FloatArray
from simulation.projector import ParallelProjector

STREAKS_IN_DETAIL = 16.0
"""How much of the fine energy counts as streak, for each unit of fine energy in the correction. Starved rays carry
several times as much energy above what re-projection resolves as just below it; the rest is margin."""
NEIGHBOURHOOD_PIXELS = 2.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Slices on a square grid, with their sinograms. All tensors lie on the projector's device.

    Attributes:
        projector: parallel-beam projector of the grid.
        images: (batch, y, x) CT numbers; voxels without a measured value are air [HU].
        metal: bool (batch, y, x), tight metal mask.
        shadow: bool (batch, y, x), metal with its blurred rim.
    """

    projector: ParallelProjector
    images: Tensor
    metal: Tensor
    shadow: Tensor

    @cached_property
    def sinogram(self) -> Tensor:
        """Line integrals of the images (batch, angle, detector)."""
        return self.project(self.images)

    @cached_property
    def trace(self) -> Tensor:
        """Rays through the shadow, bool (batch, angle, detector)."""
        return trace_of(self.projector.forward(self.shadow.to(torch.float32)))

    @property
    def pixel_mm(self) -> float:
        """Pixel size [mm]."""
        return self.projector.geometry.pixel_mm

    def project(self, images: Tensor) -> Tensor:
        """Line integrals (batch, angle, detector) of CT numbers (batch, y, x) [HU].

        Values below air are kept: dark streaks are part of what the scanner's rays say.
        """
        return self.projector.forward(hu_to_attenuation(images))

    def reconstruct(self, sinogram: Tensor) -> Tensor:
        """CT numbers (batch, y, x) [HU] of a sinogram by filtered back-projection."""
        return attenuation_to_hu_change(self.projector.fbp(sinogram)) + AIR_HU

    def correct(self, sinogram: Tensor) -> Tensor:
        """Images after the sinogram was replaced by `sinogram` (batch, angle, detector), metal not yet put back.

        The images change by the reconstruction of the sinogram's difference, so detail finer than re-projection can
        carry stays. Streaks have such detail too: it is weighed by Wiener's gain, its local energy against that of
        the correction's finest structure, so that edges stay and streaks go.

        Returns:
            (batch, y, x) [HU].
        """
        change = attenuation_to_hu_change(self.projector.fbp(sinogram - self.sinogram))
        fine = self.images - self.reconstruct(self.sinogram)
        detail = torch.where(self.shadow, 0.0, fine)
        outside = torch.where(self.shadow, 0.0, change)
        streaks = gaussian((outside - gaussian(outside, 1.0)).square(), NEIGHBOURHOOD_PIXELS)
        energy = gaussian(detail.square(), NEIGHBOURHOOD_PIXELS)
        kept = ((energy - STREAKS_IN_DETAIL * streaks) / (energy + 1e-6)).clamp(0.0, 1.0)
        return self.images + change - torch.where(self.shadow, 1.0, 1.0 - kept) * fine


@dataclass(frozen=True, eq=False)
class Restored:
    """What a method made of a scene.

    Attributes:
        images: (batch, y, x) [HU], metal not put back.
        metal: bool (batch, y, x), voxels whose own values are to stay.
        doubtful: slices that had better stay as they are, by number in the batch.
    """

    images: Tensor
    metal: Tensor
    doubtful: frozenset[int] = frozenset()


def make_scene(
    projector: ParallelProjector, device: str, slices: list[FloatArray], metal: list[BoolArray], pixel_mm: float
) -> Scene:
    """Put slices on the projector's square grid, centred.

    Args:
        projector: its grid must hold the slices.
        device: torch device string.
        slices: (y, x) CT numbers, voxels without a measured value already set to air [HU].
        metal: bool (y, x) tight metal masks.
        pixel_mm: pixel size [mm].

    Returns:
        The scene.
    """
    side = projector.geometry.n_pixels
    images = np.full((len(slices), side, side), AIR_HU, dtype=np.float32)
    masks = np.zeros((2, *images.shape), dtype=bool)
    for number, (one, mask) in enumerate(zip(slices, metal, strict=True)):
        at = window(side, one.shape)
        images[number][at] = one
        masks[0, number][at] = mask
        masks[1, number][at] = shadow(one, mask, pixel_mm)
    return Scene(
        projector,
        torch.from_numpy(images).to(device),
        torch.from_numpy(masks[0]).to(device),
        torch.from_numpy(masks[1]).to(device),
    )


def window(side: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Where a (rows, columns) slice lies on the square grid."""
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    return slice(top, top + shape[0]), slice(left, left + shape[1])
