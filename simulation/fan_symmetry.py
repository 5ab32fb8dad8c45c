"""The eightfold symmetry of a square image under the rays of a fan that turns about its centre.

A quarter turn of the image moves each ray to the view a quarter further; mirroring at a diagonal moves it to a mirrored
view and to the detector on the other side. So one eighth of the rays is enough: those of detectors at fan angles
gamma >= 0 whose normal theta = beta + gamma lies in [-45, 45) degrees. They run mostly along y, as Joseph's method
likes it. Motions are numbered as in `simulation.ray_symmetry`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulation.ray_symmetry import MOTIONS, half_detectors


@dataclass(frozen=True)
class FanEighth:
    """Rays that stand for all of them: row = number within the quarter turn * half the detectors + detector.

    Attributes:
        n_views: views over 360 degrees, a multiple of four.
        n_detectors: detectors over the fan, centred.
        step: angle between detectors [rad].
    """

    n_views: int
    n_detectors: int
    step: float

    @property
    def quarter(self) -> int:
        """Views in a quarter turn."""
        return self.n_views // 4

    @property
    def half(self) -> int:
        """Detectors at gamma >= 0."""
        return half_detectors(self.n_detectors)

    @property
    def rows(self) -> int:
        """Number of rays in it."""
        return self.quarter * self.half

    @cached_property
    def gamma(self) -> NDArray[np.float64]:
        """Fan angles of its detectors (half,) [rad]."""
        return (np.arange(self.half, dtype=np.float64) + (0.0 if self.n_detectors % 2 else 0.5)) * self.step

    @cached_property
    def first_view(self) -> NDArray[np.int64]:
        """First view of the quarter turn of each of its detectors (half,); it may be negative."""
        first: NDArray[np.int64] = np.ceil((-math.pi / 4 - self.gamma) * self.n_views / (2 * math.pi) - 1e-9).astype(
            np.int64
        )
        return first

    def slots(self) -> Tensor:
        """Where each ray lies among the eight moved copies: int64 (view, detector), row * 8 + motion."""
        view = np.arange(self.n_views)[:, None]
        detector = np.arange(self.n_detectors)[None, :]
        mirrored = detector < self.n_detectors // 2
        place = np.where(
            mirrored, self.n_detectors - self.n_detectors // 2 - 1 - detector, detector - self.n_detectors // 2
        )
        # Mirrored at the diagonal, view beta becomes 270 degrees - beta; then it turns by quarters as the others do.
        since = np.where(mirrored, -view, view) - self.first_view[place]
        turns = np.where(mirrored, 1 - since // self.quarter, since // self.quarter) % 4
        row = (since % self.quarter) * self.half + place
        return torch.from_numpy(row * MOTIONS + 2 * turns + mirrored)
