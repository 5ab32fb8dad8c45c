"""Spins along a readout as an image: exact discrete Fourier encoding at any position, and its transpose.

A spin at position p (in pixels) shows in the image of N pixels as the Dirichlet kernel D(x - p), the periodic sinc that
N samples of k-space give. The sample at the edge of k-space is taken half from either side, so real spins give a real
image and mirrored spins the mirrored image.

The sums over k are exact, at the cost of matrix products: with k = 16 a + b every phase is a product of two factors,
and the double sum over a and b one product of matrices for each line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

_FINE = 16
_LINES_AT_ONCE = 512


def spread(spins: Tensor, positions: Tensor, n_pixels: int) -> Tensor:
    """Image of spins, differentiable in both.

    Args:
        spins: real or complex (line, spin).
        positions: real (line, spin) [pixels]; whole numbers are pixel centres, periodic in `n_pixels`.
        n_pixels: of the image.

    Returns:
        (line, pixel); the sum over pixels is that over spins.
    """
    _check(spins, positions)
    if spins.is_complex():
        parts = (spread(part.contiguous(), positions, n_pixels) for part in (spins.real, spins.imag))
        return torch.complex(*parts)
    return cast(Tensor, _Spread.apply(spins, positions, n_pixels))  # type: ignore[no-untyped-call]


def gather(image: Tensor, positions: Tensor) -> Tensor:
    """Band-limited image at positions: the transpose of `spread`, differentiable in both.

    Args:
        image: real or complex (line, pixel).
        positions: real (line, spin) [pixels].

    Returns:
        (line, spin).
    """
    if image.ndim != 2 or positions.ndim != 2 or image.shape[0] != positions.shape[0]:
        raise ValueError(f"image {tuple(image.shape)} and positions {tuple(positions.shape)} must have the same lines")
    if image.is_complex():
        return torch.complex(*(gather(part.contiguous(), positions) for part in (image.real, image.imag)))
    return cast(Tensor, _Gather.apply(image, positions))  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spins: Tensor, positions: Tensor, n_pixels: int) -> Tensor:
        ctx.save_for_backward(spins, positions)
        return _spread(spins, positions, n_pixels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        spins, positions = ctx.saved_tensors
        values, slopes = _gather(gradients[0], positions, slope=ctx.needs_input_grad[1])
        return values, None if slopes is None else spins * slopes, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, positions: Tensor) -> Tensor:
        ctx.save_for_backward(image, positions)
        return _gather(image, positions, slope=False)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        image, positions = ctx.saved_tensors
        spun = _spread(gradients[0], positions, image.shape[-1])
        if not ctx.needs_input_grad[1]:
            return spun, None
        slopes = _gather(image, positions, slope=True)[1]
        assert slopes is not None
        return spun, gradients[0] * slopes


def _spread(spins: Tensor, positions: Tensor, n_pixels: int) -> Tensor:
    out = spins.new_empty(spins.shape[0], n_pixels)
    for lines in _chunks(spins.shape[0]):
        coarse, fine = _phases(-positions[lines], n_pixels)
        samples = torch.bmm(coarse * spins[lines, None, :], fine.transpose(1, 2)).flatten(1)
        out[lines] = torch.fft.irfft(samples[:, : n_pixels // 2 + 1], n=n_pixels)
    return out


def _gather(image: Tensor, positions: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
    """Values, and their derivative by position [1/pixel]."""
    n_pixels = image.shape[-1]
    samples = torch.fft.rfft(image)
    frequencies = torch.arange(samples.shape[-1], device=image.device, dtype=image.dtype)
    once = ((frequencies == 0) | (2 * frequencies == n_pixels)).to(image.dtype)
    samples = samples * ((2 - once) / n_pixels)
    values = torch.empty_like(positions)
    slopes = torch.empty_like(positions) if slope else None
    turning = 2j * math.pi / n_pixels * frequencies
    for lines in _chunks(image.shape[0]):
        coarse, fine = _phases(positions[lines], n_pixels)
        values[lines] = _summed(samples[lines], coarse, fine)
        if slopes is not None:
            slopes[lines] = _summed(samples[lines] * turning, coarse, fine)
    return values, slopes


def _summed(samples: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(samples, (0, coarse.shape[1] * _FINE - samples.shape[-1]))
    return (coarse * torch.bmm(padded.reshape(*coarse.shape[:2], _FINE), fine)).sum(dim=1).real


def _phases(positions: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
    """exp(2 pi i k p / N) for k = 0, 16, 32, ... to N / 2 and for k = 0 ... 15, each complex (line, k, spin)."""
    # Whole turns are taken off before they cost digits.
    turns = torch.remainder(positions, n_pixels) * (2 * math.pi / n_pixels)
    blocks = (n_pixels // 2) // _FINE + 1
    steps = (_FINE * torch.arange(blocks, device=positions.device), torch.arange(_FINE, device=positions.device))
    coarse, fine = (torch.remainder(turns[:, None, :] * step[:, None], 2 * math.pi) for step in steps)
    return tuple(torch.polar(torch.ones_like(angle), angle) for angle in (coarse, fine))  # type: ignore[return-value]


def _chunks(lines: int) -> Iterator[slice]:
    return (slice(first, first + _LINES_AT_ONCE) for first in range(0, lines, _LINES_AT_ONCE))


def _check(spins: Tensor, positions: Tensor) -> None:
    if spins.ndim != 2 or spins.shape != positions.shape:
        raise ValueError(f"spins {tuple(spins.shape)} and positions {tuple(positions.shape)} must both be (line, spin)")
    if positions.is_complex() or positions.dtype != (spins.real if spins.is_complex() else spins).dtype:
        raise ValueError(f"positions must be real and as precise as the spins, got {positions.dtype}")
