"""A CT series without metal, as it would look had it been scanned with hip implants in some of its slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dicom_node.contracts import BoolArray, FloatArray, Geometry, Volume
from simulation.fan_projector import FanProjector, body_fan
from simulation.implants import Implant, rasterise
from simulation.metal_ct import SCALE_HU, simulate_metal
from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition, Scanner

ANGLES = 480
AIR_HU = -1000.0
NO_VALUE_HU = -1900.0
"""No CT image holds so low a value; scanners write -2000, -2048 or -3024 outside the circle [HU]."""


@dataclass(frozen=True, eq=False)
class ImplantedCt:
    """A series with metal artefacts, and its truth.

    Attributes:
        artefact: as the scanner would show it, whole CT numbers.
        truth: without artefact, metal pasted in; equal to `artefact` in the other slices and where nothing is measured.
        metal: bool (z, y, x), voxels at least half filled with metal.
        floor: the same acquisition without metal, whole CT numbers; equal to `artefact` in the other slices.
    """

    artefact: Volume
    truth: Volume
    metal: BoolArray
    floor: Volume


Slices = Callable[[Tensor, ParallelProjector], tuple[Tensor, Tensor, Tensor, Tensor]]
"""(slice, y, x) [HU] and projector to artefact [HU], truth [HU], metal (bool) and floor [HU], of the same shape."""


def implanted(
    volume: Volume,
    implants: tuple[Implant, ...],
    here: slice,
    *,
    acquisition: Acquisition,
    seed: int,
    angles: int = ANGLES,
    fan: bool = False,
) -> ImplantedCt:
    """Scan a series with implants in it, from physics; see `simulation.metal_ct`.

    Args:
        volume: CT (z, y, x) with square pixels, no metal [HU].
        implants: in place.
        here: the slices that hold them; the others stay as they are.
        acquisition: how it is scanned.
        seed: of the noise.
        angles: over 180 degrees; even.
        fan: whether the scanner has a fan beam, with twice as many views over 360 degrees; else its rays are parallel.

    Returns:
        The pair, on the volume's grid.
    """
    shares = rasterise(implants, part(volume.geometry, here))

    def scan(slices: Tensor, projector: ParallelProjector) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        side, pixel_mm = slices.shape[-1], projector.geometry.pixel_mm
        simulated = simulate_metal(
            slices,
            {material: torch.from_numpy(_square(share, side, 0.0)) for material, share in shares.items()},
            projector=FanProjector(body_fan(side, pixel_mm, 2 * angles), side, pixel_mm) if fan else projector,
            scanner=Scanner(acquisition),
            generator=torch.Generator().manual_seed(seed),
        )
        return simulated.artefact, simulated.truth, simulated.metal, simulated.floor

    return replaced(volume, here, scan, angles=angles)


def replaced(
    volume: Volume,
    here: slice,
    change: Slices,
    *,
    range_hu: tuple[float, float] = SCALE_HU,
    angles: int = ANGLES,
) -> ImplantedCt:
    """Put simulated slices into a series.

    Args:
        volume: CT (z, y, x) with square pixels [HU].
        here: which slices.
        change: makes them, on a square grid with an even side: the slices are padded with air and cut again.
        range_hu: to what the new slices are clipped; twelve bits by default [HU].
        angles: of the projector, over 180 degrees; even.

    Returns:
        The pair, rounded; voxels without a measured value keep what they hold.
    """
    taken = volume.pixels[here]
    side = max(taken.shape[1:])
    side += side % 2  # an even side halves exactly
    projector = ParallelProjector(ParallelGeometry(side, float(volume.geometry.pixel_spacing_mm[0]), angles))
    outside = unmeasured(volume)[here]
    tissue = _square(np.where(outside, np.float32(AIR_HU), taken), side, AIR_HU)
    artefact, truth, metal_here, floor = change(torch.from_numpy(tissue), projector)
    whole = []
    for values in (artefact, truth, floor):
        pixels = volume.pixels.copy()
        made = _cut(values.numpy(), taken.shape)
        pixels[here] = np.where(outside, taken, np.rint(np.clip(made, *range_hu)))
        whole.append(volume.with_pixels(pixels))
    metal = np.zeros(volume.pixels.shape, dtype=bool)
    metal[here] = _cut(metal_here.numpy(), taken.shape) & ~outside
    return ImplantedCt(whole[0], whole[1], metal, whole[2])


def unmeasured(volume: Volume) -> BoolArray:
    """Voxels without a measured value: padding, and what is lower than any CT number; bool (z, y, x)."""
    low: BoolArray = volume.pixels <= NO_VALUE_HU
    return low if volume.padding is None else low | volume.padding


def part(geometry: Geometry, here: slice) -> Geometry:
    """Geometry of some of the slices."""
    return replace(geometry, slice_origins_mm=geometry.slice_origins_mm[here])


def _square(slices: FloatArray, side: int, value: float) -> FloatArray:
    """Pad (slice, y, x) to a square, the slices in its middle."""
    margins = [(0, 0)] + [((side - n) // 2, side - n - (side - n) // 2) for n in slices.shape[1:]]
    return np.ascontiguousarray(np.pad(slices, margins, constant_values=value), dtype=np.float32)


def _cut(slices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo `_square`."""
    top, left = ((have - want) // 2 for have, want in zip(slices.shape[1:], shape[1:], strict=True))
    return slices[:, top : top + shape[1], left : left + shape[2]]
