"""The grid on which the sinogram network works, whatever the series' pixel size: fixed detectors and angles.

So that an implant has about the same width in samples for every patient, and the network's reach spans it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TRACE_SHARE = 0.5
"""A sample of the working grid belongs to the trace when at least this share of what it averages does."""


@dataclass(frozen=True)
class WorkingGrid:
    """Sampling of the network's sinograms.

    Attributes:
        detector_mm: detector spacing [mm].
        n_angles: angles over [0, 180) degrees.
    """

    detector_mm: float
    n_angles: int

    def sample(self, sinograms: Tensor, spacing_mm: float) -> Tensor:
        """Sample parallel-beam sinograms on this grid, smoothed first where it is the coarser.

        Args:
            sinograms: float32 (batch, angle, detector), angles evenly over [0, 180) degrees, detectors centred.
            spacing_mm: their detector spacing [mm].

        Returns:
            float32 (batch, n_angles, detectors), detectors centred, as many as cover the given ones.
        """
        detectors = 2 * math.ceil(sinograms.shape[-1] * spacing_mm / self.detector_mm / 2) + 1
        return _resample(sinograms, self.n_angles, detectors, self.detector_mm / spacing_mm)

    def restore(self, sinograms: Tensor, spacing_mm: float, n_angles: int, detectors: int) -> Tensor:
        """Interpolate sinograms of this grid back to another one; the inverse of `sample` for smooth sinograms."""
        return _resample(sinograms, n_angles, detectors, spacing_mm / self.detector_mm)

    def sample_measured(self, sinograms: Tensor, trace: Tensor, spacing_mm: float) -> tuple[Tensor, Tensor]:
        """Sample only what lies outside a trace, so that the metal's values do not blur into their neighbours.

        Args:
            sinograms: float32 (batch, angle, detector), as for `sample`.
            trace: bool, same shape.
            spacing_mm: detector spacing [mm].

        Returns:
            Sinograms on this grid, and their trace: samples of which at least half was trace; their value is 0.
        """
        measured = (~trace).to(torch.float32)
        share = self.sample(measured, spacing_mm)
        # Beyond the given detectors there is nothing, which is no trace.
        inside = self.sample(torch.ones_like(measured), spacing_mm)
        mostly_trace = share <= TRACE_SHARE * inside
        values = self.sample(sinograms * measured, spacing_mm) / share.clamp(min=1e-6) * inside
        lost = mostly_trace & (inside > 0)
        return torch.where(lost | (inside <= 0), 0.0, values), lost


def wrap_angles(sinograms: Tensor, count: int) -> Tensor:
    """Add `count` angles before the first and after the last: turned by 180 degrees, a ray runs the other way.

    Args:
        sinograms: (batch, angle, detector) over [0, 180) degrees, detectors centred.
        count: at most the number of angles.

    Returns:
        (batch, angle + 2 * count, detector).
    """
    if count == 0:
        return sinograms
    return torch.cat([sinograms[:, -count:].flip(-1), sinograms, sinograms[:, :count].flip(-1)], dim=1)


def _resample(sinograms: Tensor, n_angles: int, detectors: int, step: float) -> Tensor:
    """Linear interpolation at `n_angles` angles and `detectors` detectors that lie `step` samples apart."""
    batch, angles, old = sinograms.shape
    values = wrap_angles(sinograms, min(angles, 1 + angles // n_angles))
    margin = (values.shape[1] - angles) // 2
    across = max(step, 1.0)
    along = max(angles / n_angles, 1.0)
    values = _tent(_tent(values, across, -1), along, -2)
    row = torch.arange(n_angles, dtype=torch.float32, device=values.device) * (angles / n_angles) + margin
    column = (torch.arange(detectors, dtype=torch.float32, device=values.device) - (detectors - 1) / 2) * step
    column = column + (old - 1) / 2
    at_column = _normalised(column, old)[None, :].expand(n_angles, detectors)
    at_row = _normalised(row, values.shape[1])[:, None].expand(n_angles, detectors)
    grid = torch.stack((at_column, at_row), dim=-1)
    found: Tensor = functional.grid_sample(
        values[:, None], grid.expand(batch, -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return found[:, 0]


def _tent(values: Tensor, width: float, axis: int) -> Tensor:
    """Triangular smoothing with half-width `width` samples along one of the last two axes; 1 changes nothing."""
    if width <= 1.0:
        return values
    reach = math.ceil(width) - 1
    position = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = (1 - position.abs() / width).clamp(min=0)
    kernel = kernel / kernel.sum()
    shape = (1, 1, 1, -1) if axis == -1 else (1, 1, -1, 1)
    pad = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
    padded = functional.pad(values[:, None], pad, mode="replicate")
    return functional.conv2d(padded, kernel.reshape(shape))[:, 0]


def _normalised(index: Tensor, count: int) -> Tensor:
    return 2 * index / max(count - 1, 1) - 1
