"""The field from one pair of images, for a spin echo without spectral bins: equal amounts of signal belong together.

Along a line of the readout no signal is lost, so where both polarities have shown the same amount of it they show the
same spins: in the middle between both places (one-dimensional optimal transport; cf. Chang & Fitzpatrick, IEEE TMI
1992, and HySCO's first step).
"""

from __future__ import annotations

import torch
from torch import Tensor

from correctors.common.filters import gaussian, gaussian_along

SMOOTH_PIXELS = 1.5
"""Along and across lines, with the signal's energy as weight: noise moves a line's quantiles."""
QUANTILES_PER_PIXEL = 4
_FLOOR = 2e-3
"""Of the brightest signal, added everywhere: where there is no signal both polarities belong together as they lie."""
_TINY = 1e-12


def pair_field_hz(plus: Tensor, minus: Tensor, bandwidth_hz_px: float, brightness: float) -> Tensor:
    """Off-resonance on the true grid.

    Args:
        plus: image of the positive polarity, magnitude, (z, y, x); the readout is the last axis.
        minus: the same of the negative one.
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        brightness: of the series, in the units of the images.

    Returns:
        (z, y, x) [Hz]; changes its sign when the polarities are swapped.
    """
    smooth = [gaussian_along(one, SMOOTH_PIXELS, -2) for one in (plus, minus)]
    floor = _FLOOR * brightness + _TINY
    shift = _transported(*(one.reshape(-1, one.shape[-1]) + floor for one in smooth)).reshape(plus.shape)
    energy = ((plus + minus) / 2).square() + floor**2
    weight = gaussian(energy, SMOOTH_PIXELS)
    return bandwidth_hz_px * gaussian(shift * energy, SMOOTH_PIXELS) / weight.clamp(min=_TINY)


def _transported(plus: Tensor, minus: Tensor) -> Tensor:
    """Shift of the positive polarity on the true grid, (line, pixel) [pixels]."""
    n_pixels = plus.shape[-1]
    count = QUANTILES_PER_PIXEL * n_pixels
    quantiles = (torch.arange(count, dtype=plus.dtype, device=plus.device) + 0.5) / count
    places = [_quantile_places(one, quantiles) for one in (plus, minus)]
    middle, shift = (places[0] + places[1]) / 2, (places[0] - places[1]) / 2
    grid = torch.arange(n_pixels, dtype=plus.dtype, device=plus.device).expand(len(plus), -1).contiguous()
    return _interpolated(grid, middle, shift)


def _quantile_places(lines: Tensor, quantiles: Tensor) -> Tensor:
    """Where each line has shown a share of its signal, (line, quantile) [pixels]."""
    edges = torch.cat([lines.new_zeros(len(lines), 1), lines.cumsum(dim=-1)], dim=-1)
    edges = edges / edges[:, -1:]
    at = torch.arange(edges.shape[-1], dtype=lines.dtype, device=lines.device) - 0.5
    return _interpolated(quantiles.expand(len(lines), -1).contiguous(), edges, at.expand(edges.shape))


def _interpolated(wanted: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Values at wanted places between known ones, which ascend; (line, n) each; held beyond the ends."""
    after = torch.searchsorted(known.contiguous(), wanted).clamp(1, known.shape[-1] - 1)
    left, right = known.gather(1, after - 1), known.gather(1, after)
    share = ((wanted - left) / (right - left).clamp(min=_TINY)).clamp(0, 1)
    return torch.lerp(values.gather(1, after - 1), values.gather(1, after), share)
