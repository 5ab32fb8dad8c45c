"""The metal trace: which rays metal disturbs, and interpolation across it along the detector.

Sinograms here are (batch, angle, detector) line integrals [dimensionless].
"""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST_PATH_MM = 0.05
"""Rays that cross less of the metal's shadow than this are taken as undisturbed [mm]."""


def trace_of(shadow_paths: Tensor) -> Tensor:
    """Rays through metal.

    Args:
        shadow_paths: (batch, angle, detector) path length through the metal's shadow [mm].

    Returns:
        bool, same shape.
    """
    return shadow_paths > SHORTEST_PATH_MM


def interpolate(values: Tensor, trace: Tensor) -> Tensor:
    """Replace values in the trace by linear interpolation between its edges on the detector (Kalender 1987).

    A trace that reaches the end of the detector takes the value of its one edge; a view without any undisturbed ray
    is left as it is.

    Args:
        values: (batch, angle, detector).
        trace: bool, same shape, True where values are to be replaced.

    Returns:
        Same shape; values outside the trace are unchanged.
    """
    count = values.shape[-1]
    index = torch.arange(count, device=values.device).expand_as(values)
    left = torch.where(trace, -1, index).cummax(dim=-1).values
    right = torch.where(trace, count, index).flip(-1).cummin(dim=-1).values.flip(-1)
    has_left, has_right = left >= 0, right < count
    at_left = values.gather(-1, left.clamp(min=0))
    at_right = values.gather(-1, right.clamp(max=count - 1))
    share = (index - left).to(values.dtype) / (right - left).clamp(min=1).to(values.dtype)
    share = torch.where(has_left, torch.where(has_right, share, 0.0), 1.0)
    filled = at_left + (at_right - at_left) * share
    return torch.where(trace & (has_left | has_right), filled, values)
