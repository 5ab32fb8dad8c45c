"""What any acquisition geometry offers: line integrals, and the way back."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from simulation.fbp import Window


def check_shape(values: Tensor, shape: tuple[int, int], name: str) -> None:
    """Refuse what no projector takes.

    Raises:
        ValueError: not float32 (batch, *shape).
    """
    if values.ndim != 3 or tuple(values.shape[1:]) != shape or values.dtype != torch.float32:
        raise ValueError(
            f"{name} must be float32 (batch, {shape[0]}, {shape[1]}), got {values.dtype} {tuple(values.shape)}"
        )


class Projector(Protocol):
    """Rays through a square image; `ParallelProjector` and `FanProjector` are some.

    The rays turn about the image's centre, index (n_pixels - 1) / 2.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Line integrals, float32 (batch, view, detector), of images float32 (batch, y, x) [1/mm]."""
        ...

    def adjoint(self, sinograms: Tensor) -> Tensor:
        """Exact transpose of `forward`: float32 (batch, y, x)."""
        ...

    def fbp(self, sinograms: Tensor, *, window: Window = "ram-lak") -> Tensor:
        """Filtered back-projection, float32 (batch, y, x) [1/mm], linear in the sinograms."""
        ...
