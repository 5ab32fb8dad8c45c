"""Fan-beam acquisition: rays of a third-generation scanner, and their rebinning to parallel ones.

View beta and fan angle gamma see the parallel ray theta = beta + gamma, s = R sin(gamma) (Kak & Slaney 1988, section
3.4). Scanners reconstruct so, too: measured fan rays are rebinned and back-projected in parallel. Rays from the object
are taken between the two nearest parallel ones in angle and detector, which blurs by a fraction of a detector, as focal
spot and aperture do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from simulation.projector import ParallelGeometry


@dataclass(frozen=True)
class FanGeometry:
    """A source that turns once about the image's centre, opposite an equiangular detector.

    Attributes:
        source_mm: distance of the source from the centre [mm].
        field_mm: radius of the field that is measured [mm].
        n_views: views over 360 degrees.
        n_detectors: detectors over the fan, centred.
    """

    source_mm: float
    field_mm: float
    n_views: int
    n_detectors: int

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ValueError: the source is not outside the field, or too few views or detectors.
        """
        if not 0 < self.field_mm < self.source_mm or self.n_views < 2 or self.n_detectors < 2:
            raise ValueError(f"the source must lie outside the field, with two views and detectors or more: {self}")

    @property
    def half_fan(self) -> float:
        """Largest fan angle [rad]."""
        return math.asin(self.field_mm / self.source_mm)


class FanBeam:
    """Rebinning between the rays of one fan and one parallel geometry.

    Attributes:
        fan: the fan's geometry.
        parallel: the parallel one.
    """

    def __init__(self, fan: FanGeometry, parallel: ParallelGeometry) -> None:
        """Nothing is computed yet.

        Args:
            fan: geometry of the scanner.
            parallel: of the sinograms that its rays are taken from and rebinned to.
        """
        self.fan, self.parallel = fan, parallel

    def rays(self, sinograms: Tensor) -> Tensor:
        """What the fan's rays see.

        Args:
            sinograms: parallel, float32 (slice, angle, detector).

        Returns:
            float32 (slice, view, fan detector), in the same units.
        """
        around = torch.cat([sinograms, sinograms.flip(-1), sinograms[:, :1]], dim=1)  # theta from 0 to 360 degrees
        return _sampled(around, self._seen_by_fan)

    def rebinned(self, rays: Tensor) -> Tensor:
        """Parallel sinograms of measured rays: each is the mean of the two fan rays that run along it.

        Args:
            rays: float32 (slice, view, fan detector).

        Returns:
            float32 (slice, angle, detector); zero outside the field.
        """
        around = torch.cat([rays, rays[:, :1]], dim=1)
        one, other = self._seen_by_parallel
        return 0.5 * (_sampled(around, one) + _sampled(around, other))

    @cached_property
    def _seen_by_fan(self) -> Tensor:
        """Where each fan ray lies in a parallel sinogram over 360 degrees, (view, detector, 2) from -1 to 1."""
        fan, parallel = self.fan, self.parallel
        beta = torch.arange(fan.n_views, dtype=torch.float64)[:, None] * (2 * math.pi / fan.n_views)
        gamma = torch.linspace(-fan.half_fan, fan.half_fan, fan.n_detectors, dtype=torch.float64)[None]
        theta = torch.remainder(beta + gamma, 2 * math.pi)
        s = (fan.source_mm * torch.sin(gamma)).expand_as(theta)
        reach = (parallel.detectors - 1) / 2 * parallel.spacing_mm
        return torch.stack([s / reach, theta / math.pi - 1], dim=-1).float()

    @cached_property
    def _seen_by_parallel(self) -> tuple[Tensor, Tensor]:
        """Where each parallel ray lies in the fan's views, once from either end."""
        fan, parallel = self.fan, self.parallel
        theta = torch.arange(parallel.n_angles, dtype=torch.float64)[:, None] * (math.pi / parallel.n_angles)
        place = torch.arange(parallel.detectors, dtype=torch.float64) - (parallel.detectors - 1) / 2
        share = (place * (parallel.spacing_mm / fan.source_mm))[None]
        # Rays beyond the field are asked for where no detector is.
        gamma = torch.where(share.abs() < 1, torch.asin(share.clamp(-1, 1)), 10.0)

        def grid(beta: Tensor, angle: Tensor) -> Tensor:
            turns = torch.remainder(beta, 2 * math.pi) / math.pi - 1
            return torch.stack([(angle / fan.half_fan).expand_as(turns), turns], dim=-1).float()

        return grid(theta - gamma, gamma), grid(theta + math.pi + gamma, -gamma)


def body_scanner(parallel: ParallelGeometry, *, source_mm: float = 570.0, field_share: float = 1.05) -> FanBeam:
    """A scanner with about as many detectors and views as the grid has samples.

    Args:
        parallel: geometry of the grid.
        source_mm: distance of the source from the centre [mm]; 530 to 610 on scanners of today.
        field_share: radius of the field over half the side of the image.
    """
    field_mm = min(0.5 * field_share * parallel.n_pixels * parallel.pixel_mm, 0.9 * source_mm)
    n_detectors = math.ceil(2 * math.asin(field_mm / source_mm) * source_mm / parallel.spacing_mm) | 1
    return FanBeam(FanGeometry(source_mm, field_mm, 2 * parallel.n_angles, n_detectors), parallel)


def _sampled(around: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples of (slice, turn, across), both ends included, at (view, detector, 2); zero outside."""
    wanted = grid.to(around.device).expand(around.shape[0], -1, -1, -1)
    found: Tensor = functional.grid_sample(
        around[:, None], wanted, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return found[:, 0]
