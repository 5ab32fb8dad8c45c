"""The MR image in the presence of off-resonance: signal moves along the readout (Kwon et al., eqs. 1 to 3, 10 and 11).

Every voxel of the true image lands `shift` pixels farther along the readout; what lands together adds up. Three ways
compute it, behind `moved` and its transpose `moved_back`:

- `EXACT`: the discrete Fourier sum of eq. 1, see `simulation.readout`. The oracle, and what makes data.
- `SINC`: splat with an eight-tap windowed sinc.
- `LINEAR`: splat on the two nearest pixels, the fastest.

All keep the sum of the signal, all are periodic along the readout, and all equal a circular shift for whole shifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from simulation import readout

TAPS = 8
WINDOW_MEAN = 0.54
"""Of the raised cosine over `TAPS` pixels; found by the error against `EXACT` on band-limited images."""
_SAME_PLACE = 1e-3
"""A distance [pixels] at which the sinc is 1 to single precision."""


class Splat(StrEnum):
    """How signal is moved; see the module."""

    EXACT = "exact"
    SINC = "sinc"
    LINEAR = "linear"


def shift_px(off_resonance_hz: Tensor, bin_centre_hz: Tensor | float, bandwidth_hz_px: float) -> Tensor:
    """How far signal moves with a positive readout gradient [pixels]; with a negative one, minus that.

    Args:
        off_resonance_hz: of the voxels [Hz].
        bin_centre_hz: frequency that the receiver is tuned to [Hz].
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
    """
    return (off_resonance_hz - bin_centre_hz) / bandwidth_hz_px


def moved(image: Tensor, shift: Tensor, splat: Splat = Splat.LINEAR, *, dim: int = -1) -> Tensor:
    """F of eq. 1: the image as the readout shows it; differentiable in image and shift.

    Args:
        image: true image, real or complex, any shape.
        shift: of each of its voxels [pixels], real; broadcasts with the image.
        splat: how.
        dim: the readout's axis.

    Returns:
        Of the broadcast shape.
    """
    image, shift = _lines(image, shift, dim)
    lines, n_pixels = image.reshape(-1, image.shape[-1]), image.shape[-1]
    if splat is Splat.EXACT:
        out = readout.spread(lines, _positions(shift), n_pixels)
    else:
        out = torch.zeros_like(lines)
        for place, weight in _taps(_positions(shift), n_pixels, splat):
            out = out.scatter_add(1, place, lines * weight)
    return out.reshape(image.shape).movedim(-1, dim)


def moved_back(image: Tensor, shift: Tensor, splat: Splat = Splat.LINEAR, *, dim: int = -1) -> Tensor:
    """Transpose of `moved` for the same shift: what the image shows where each true voxel landed.

    Args:
        image: distorted image, real or complex.
        shift: of each voxel of the true image [pixels]; broadcasts with the image.
        splat: how.
        dim: the readout's axis.
    """
    image, shift = _lines(image, shift, dim)
    lines = image.reshape(-1, image.shape[-1])
    if splat is Splat.EXACT:
        out = readout.gather(lines, _positions(shift))
    else:
        out = torch.zeros_like(lines)
        for place, weight in _taps(_positions(shift), lines.shape[-1], splat):
            out = out + weight * lines.gather(1, place)
    return out.reshape(image.shape).movedim(-1, dim)


def splatted(signal: Tensor, line: Tensor, positions: Tensor, shape: tuple[int, int], splat: Splat) -> Tensor:
    """Spins anywhere on lines, each put where it lands: for few spins of many.

    Args:
        signal: of each spin, real or complex, (spin,).
        line: which line each is of, integers (spin,).
        positions: where each lands on it [pixels], (spin,).
        shape: number of lines, and pixels of each.
        splat: `SINC` or `LINEAR`.

    Returns:
        Of that shape; periodic along the lines.
    """
    if splat is Splat.EXACT:
        raise ValueError("the exact sum takes whole lines: see `simulation.readout`")
    out = signal.new_zeros(shape[0] * shape[1])
    for place, weight in _taps(positions, shape[1], splat):
        out = out.scatter_add(0, line * shape[1] + place, signal * weight)
    return out.reshape(shape)


def _lines(image: Tensor, shift: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    if shift.is_complex():
        raise ValueError("a shift is real")
    shape = np.broadcast_shapes(image.shape, shift.shape)
    image, shift = image.expand(shape), shift.expand(shape)
    return image.movedim(dim, -1), shift.movedim(dim, -1)


def _positions(shift: Tensor) -> Tensor:
    """Where voxels land, (line, voxel) [pixels]."""
    lines = shift.reshape(-1, shift.shape[-1])
    return lines + torch.arange(lines.shape[-1], device=lines.device, dtype=lines.dtype)


def _taps(positions: Tensor, n_pixels: int, splat: Splat) -> list[tuple[Tensor, Tensor]]:
    """Pixels that a voxel lands on, and its share in each, both (line, voxel); the shares of a voxel sum to 1."""
    first = positions.detach().floor()
    rest = positions - first
    first = first.long()
    if splat is Splat.LINEAR:
        weights = torch.stack([1 - rest, rest])
        offsets = range(2)
    else:
        offsets = range(1 - TAPS // 2, 1 + TAPS // 2)
        weights = torch.stack(_windowed_sinc(rest, offsets))
        weights = weights / weights.sum(dim=0)
    return [(torch.remainder(first + o, n_pixels), w) for o, w in zip(offsets, weights, strict=True)]


def _windowed_sinc(rest: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """Of the distances `rest - offset`; sines of all of them follow from those of `rest`."""
    wave = torch.sin(math.pi * rest) / math.pi
    turn = 2 * math.pi / TAPS
    cosine, sine = torch.cos(turn * rest), torch.sin(turn * rest)
    weights = []
    for offset in offsets:
        distance = rest - offset
        near = distance.abs() < _SAME_PLACE
        sinc = torch.where(near, 1.0, (-1) ** offset * wave / torch.where(near, 1.0, distance))
        window = cosine * math.cos(turn * offset) + sine * math.sin(turn * offset)
        weights.append(sinc * (WINDOW_MEAN + (1 - WINDOW_MEAN) * window))
    return weights
