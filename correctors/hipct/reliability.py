"""Joins two estimates of the rays behind metal: one smooth and always there, one measured and noisy.

The measured one is trusted scale by scale: where rays carry enough photons its finest detail is kept, where fewer,
only its local mean, and where the detector saw next to nothing, none of it (Wiener's gain with local variances).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from correctors.common.filters import gaussian_along

SCALES = (1.0, 2.0, 4.0)
"""Standard deviations along the detector [bins]; along the angle two thirds of it."""
ANGLE_SHARE = 0.7
NOISE_SHARES = (1.0, 0.25, 0.06)
"""Share of the variance of white noise that is left in each band, finest first."""
DETAIL = 0.02
"""Standard deviation of what is finer than the interpolation can know, without noise [line integral]."""
STARVED = 0.2
"""Noise at which a ray's mean is worth half: bias from the detector's floor sets in [line integral]."""
STARVED_SLICE = 0.15
"""The same for a whole trace: what starved rays did to the image, re-projection spreads over all [line integral]."""
IMPLAUSIBLE = 0.4
"""Rays do not differ by more than this from the interpolated ones unless the model failed [line integral]."""


def reliable_part(difference: Tensor, trace: Tensor) -> Tensor:
    """What to believe of `measured - interpolated`.

    Args:
        difference: (batch, angle, detector) line integrals.
        trace: bool, same shape: rays through metal.

    Returns:
        Same shape, zero outside the trace.
    """
    kept = torch.zeros_like(difference)
    columns = trace.any(dim=0).any(dim=0).nonzero()
    if len(columns):
        # All that counts lies between the outermost rays through metal of any angle, a third of the detector or so. One
        # more on each side, for the edge is what smoothing takes to go on for ever.
        here = slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2)
        kept[..., here] = _reliable(difference[..., here], trace[..., here])
    return kept


def _reliable(difference: Tensor, trace: Tensor) -> Tensor:
    inside = trace.to(difference.dtype)
    levels = [difference, *(_mean(difference, inside, scale) for scale in SCALES)]
    bands = [finer - coarser for finer, coarser in pairwise(levels)]
    noise = _noise(bands[0], inside)
    base = levels[-1]
    trust = 1 / (1 + (base / IMPLAUSIBLE) ** 4) / (1 + noise / STARVED**2)
    trust = trust * (1 - _starved_share(noise, inside))
    kept = base + DETAIL**2 / (DETAIL**2 + noise) * bands[0]
    for band, share in zip(bands[1:], NOISE_SHARES[1:], strict=True):
        energy = _mean(band.square(), inside, 4.0)
        kept = kept + ((energy - share * noise) / (energy + 1e-8)).clamp(0, 1) * band
    return kept * trust * inside


def starvation(difference: Tensor, trace: Tensor) -> Tensor:
    """How starved the trace of each slice is.

    Args:
        difference: as for `reliable_part`.
        trace: likewise.

    Returns:
        (batch, 1, 1), from 0 for metal that lets enough through to 1 for metal that lets nothing through.
    """
    inside = trace.to(difference.dtype)
    return _starved_share(_noise(difference - _mean(difference, inside, SCALES[0]), inside), inside)


def _noise(finest: Tensor, inside: Tensor) -> Tensor:
    """Local variance of the noise, from the finest band."""
    return (_mean(finest.square(), inside, 3.0) - DETAIL**2).clamp(min=0)


def _starved_share(noise: Tensor, inside: Tensor) -> Tensor:
    everywhere = (noise * inside).sum((-2, -1), keepdim=True) / inside.sum((-2, -1), keepdim=True).clamp(min=1)
    return 1 - 1 / (1 + (everywhere / STARVED_SLICE**2) ** 2)


def _mean(values: Tensor, inside: Tensor, scale: float) -> Tensor:
    """Local mean over the trace only."""
    weight = _smooth(inside, scale).clamp(min=1e-3)
    return _smooth(values * inside, scale) / weight


def _smooth(values: Tensor, scale: float) -> Tensor:
    return gaussian_along(gaussian_along(values, scale, -1), ANGLE_SHARE * scale, -2)
