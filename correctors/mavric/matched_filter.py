"""The off-resonance field from spectral bins, and the image from corrected bins: the bins' own profiles are the filter.

A voxel at frequency f shows in bin b in proportion to the bin's profile g_b(f). The frequency whose profiles look most
like what was measured is the matched filter's; with that frequency known, the least-squares signal of the voxel uses
all bins at once (cf. Quist et al., ISMRM 2016, 4241).
"""

from __future__ import annotations

import torch
from torch import Tensor

from correctors.common.filters import gaussian
from simulation.mavric import Bins

STEP_HZ = 250.0
SMOOTH_PIXELS = 0.7
FAINT = 3e-3
"""Energy of the profiles at which a voxel beyond the bins' reach fades away; within reach it is about 1.6."""
_BEYOND_HZ = 1000.0
_QUIET = 1.0
"""Weight of no off-resonance, in units of a bin's noise power: where there is no signal there is no frequency."""


def field_hz(plus: Tensor, minus: Tensor, bins: Bins, noise: float = 0.0) -> Tensor:
    """Off-resonance by matched filtering of the mean of both polarities, with single outliers taken out.

    Args:
        plus: bins of the positive polarity, magnitude, float32 (bin, z, y, x).
        minus: the same of the negative one.
        bins: what they are.
        noise: standard deviation of real and imaginary part in a bin's image.

    Returns:
        (z, y, x) [Hz], smoothed with the signal's energy as weight: where there is no signal there is no frequency.
    """
    both = (plus + minus) / 2
    found = torch.stack([_median(_strongest(both[:, z], bins)) for z in range(both.shape[1])])
    energy = (both.square().sum(dim=0) - 2 * bins.count * noise**2).clamp(min=0)
    weight = gaussian(energy, SMOOTH_PIXELS) + _QUIET * noise**2
    return gaussian(found * energy, SMOOTH_PIXELS) / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def combined(images: Tensor, off_resonance_hz: Tensor, bins: Bins) -> Tensor:
    """Image from corrected bins at known frequencies, on the scale of their root sum of squares.

    Unlike that it adds no noise of bins that hold no signal of the voxel.

    Args:
        images: corrected bins, (bin, z, y, x).
        off_resonance_hz: (z, y, x) [Hz].
        bins: what they are.

    Returns:
        (z, y, x), in the units of the bins.
    """
    profiles = bins.profiles(off_resonance_hz)
    energy = profiles.square().sum(dim=0)
    return (profiles * images).sum(dim=0) / (energy + FAINT) * energy.sqrt()


def without_noise_floor(images: Tensor, noise: float) -> Tensor:
    """Magnitudes without what noise adds to their square on average (Rice's distribution), of the same shape."""
    return (images.square() - 2 * noise**2).clamp(min=0).sqrt()


def root_sum_of_squares(images: Tensor) -> Tensor:
    """RSOS over the bins, the first axis."""
    return images.square().sum(dim=0).sqrt()


def _strongest(slices: Tensor, bins: Bins) -> Tensor:
    """Frequency of the best match of each pixel of (bin, y, x), refined between the steps [Hz]."""
    last = bins.centres_hz[-1] + _BEYOND_HZ
    count = 2 * round(last / STEP_HZ) + 1
    frequencies = torch.linspace(-last, last, count, device=slices.device, dtype=slices.dtype)
    profiles = bins.profiles(frequencies)
    scores = torch.einsum("bf,byx->fyx", profiles / profiles.norm(dim=0).clamp(min=FAINT), slices)
    best = scores.argmax(dim=0)
    inner = best.clamp(1, count - 2)
    below, here, above = (scores.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    curved = (below - 2 * here + above).clamp(max=-torch.finfo(slices.dtype).tiny)
    offset = ((below - above) / (2 * curved)).clamp(-0.5, 0.5)
    step = float(frequencies[1] - frequencies[0])
    return frequencies[best] + step * torch.where(best == inner, offset, 0.0)


def _median(image: Tensor) -> Tensor:
    """Median of the 3 x 3 pixels about each of (y, x)."""
    padded = torch.nn.functional.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return padded.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).median(dim=-1).values
