"""The crude metal of the near-hip paper: the metal's trace in the sinogram is filled with one value.

It knows no material, no spectrum and no noise, and exaggerates titanium tenfold; `simulation.metal_ct` is the honest
physics. It stays because the paper's network is trained and judged on it (near-hip CT, section II-A, figure 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from simulation.projector import ParallelProjector

WATER_PER_MM = 0.0192
"""Linear attenuation of water near 70 keV [1/mm]; any value serves, as the way back uses the same."""
SHORTEST_PATH_MM = 0.05
"""Rays that cross less metal than this are not part of the trace [mm]."""


def metal_trace(metal: Tensor, projector: ParallelProjector) -> Tensor:
    """Rays through a mask, bool (slice, angle, detector), of bool (slice, y, x)."""
    return projector.forward(metal.to(torch.float32)) > SHORTEST_PATH_MM


def fill_trace(sinograms: Tensor, trace: Tensor, largest: Tensor | None = None) -> Tensor:
    """Fill the trace with the largest value of each sinogram.

    Args:
        sinograms: float32 (slice, angle, detector), dimensionless.
        trace: bool, same shape.
        largest: float32 (slice, 1, 1), value to fill in; None takes each sinogram's own largest.

    Returns:
        Same shape.
    """
    return torch.where(trace, sinograms.amax(dim=(-2, -1), keepdim=True) if largest is None else largest, sinograms)


def crude_metal(slices_hu: Tensor, metal: Tensor, projector: ParallelProjector) -> Tensor:
    """Slices with the artefacts of a filled trace, by filtered back-projection.

    The reconstruction of the sinogram's *change* is added to the slices, so that they keep their own resolution.

    Args:
        slices_hu: float32 (slice, y, x) without metal [HU], on the projector's grid.
        metal: bool (slice, y, x).
        projector: geometry of both ways.

    Returns:
        float32 (slice, y, x) [HU], not clipped.
    """
    sinograms = projector.forward((slices_hu.clamp(min=-1000.0) + 1000.0) * (WATER_PER_MM / 1000.0))
    filled = fill_trace(sinograms, metal_trace(metal, projector))
    return slices_hu + projector.fbp(filled - sinograms) * (1000.0 / WATER_PER_MM)
