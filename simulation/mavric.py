"""A MAVRIC acquisition with both readout polarities, from true signal and off-resonance (paper 00, sections 2 and 3.5).

Each spectral bin excites spins about its centre frequency with a Gaussian profile, without slice selection, and is
received at that frequency. Spins lie finer than pixels along the readout: where the field compresses, many land in one
pixel, and where it stretches no pixel may stay empty by accident of sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simulation import readout
from simulation.off_resonance import Splat, shift_px, splatted

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
PROFILE_FROM = 0.01
"""Part of its peak below which a bin's profile excites nothing."""
PLUS, MINUS = 1, -1
"""Polarities of the readout gradient."""
FINE = 4
"""Spins to a pixel along the readout."""
_MARGIN_PX = 4


@dataclass(frozen=True)
class Bins:
    """Spectral bins, evenly spaced about the resonance of water.

    Attributes:
        count: number of bins.
        spacing_hz: between their centres [Hz].
        fwhm_hz: full width at half maximum of their Gaussian profiles [Hz].
    """

    count: int = 24
    spacing_hz: float = 1000.0
    fwhm_hz: float = 2250.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.spacing_hz <= 0 or self.fwhm_hz <= 0:
            raise ValueError("a MAVRIC acquisition has at least one bin, of positive spacing and width")

    @property
    def centres_hz(self) -> tuple[float, ...]:
        """Centre frequencies, ascending [Hz]."""
        return tuple((number - (self.count - 1) / 2) * self.spacing_hz for number in range(self.count))

    def profiles(self, off_resonance_hz: Tensor) -> Tensor:
        """What part of the signal each bin excites: (bin, ...), 0 to 1, for off-resonance (...) [Hz]."""
        return torch.stack([self.profile(number, off_resonance_hz) for number in range(self.count)])

    def profile(self, number: int, off_resonance_hz: Tensor) -> Tensor:
        """What part of the signal one bin excites, 0 to 1, of the shape of the off-resonance [Hz]."""
        away = off_resonance_hz - self.centres_hz[number]
        profile = torch.exp(-0.5 * (away * (FWHM_PER_SIGMA / self.fwhm_hz)).square())
        return torch.where(profile < PROFILE_FROM, 0.0, profile)

    @property
    def reach_hz(self) -> float:
        """Off-resonance beyond which the outermost bin excites less than half [Hz]."""
        return self.centres_hz[-1] + self.fwhm_hz / 2


@dataclass(frozen=True)
class MavricAcquisition:
    """How bins are read out.

    Attributes:
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        bins: the spectral bins.
        noise: standard deviation of real and imaginary part in each bin's image, in units of the signal.
    """

    bandwidth_hz_px: float = 780.0
    bins: Bins = Bins()
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.bandwidth_hz_px <= 0 or self.noise < 0:
            raise ValueError("the bandwidth must be positive, and the noise not negative")


@dataclass(frozen=True, eq=False)
class Mismatch:
    """How the negative polarity differs from the positive one beside the sign: eddy currents and drifts.

    Attributes:
        gain: of its signal, broadcasts with a slice (..., y, x).
        shift_px: by which it is displaced besides [pixels], likewise.
    """

    gain: Tensor
    shift_px: Tensor


@dataclass(frozen=True, eq=False)
class SpectralBins:
    """What a scanner exports: magnitude images.

    Attributes:
        plus, minus: with each polarity, float32 (bin, ..., y, x).
    """

    plus: Tensor
    minus: Tensor


def acquire(
    signal: Tensor,
    off_resonance_hz: Tensor,
    acquisition: MavricAcquisition,
    generator: torch.Generator,
    mismatch: Mismatch | None = None,
    splat: Splat = Splat.EXACT,
    only: Sequence[int] | None = None,
) -> SpectralBins:
    """Image every bin with both polarities; the readout is the last axis.

    Args:
        signal: true signal, float32 (..., y, x * FINE).
        off_resonance_hz: of the spins, same shape [Hz].
        acquisition: how.
        generator: source of the noise.
        mismatch: of the negative polarity, on the grid of the spins; None for none.
        splat: how signal is moved; `SINC` is for training, where thousands of slices are made.
        only: numbers of the bins that are imaged; None for all.

    Returns:
        The images, (bin, ..., y, x).
    """
    polarities = []
    for polarity in (PLUS, MINUS):
        own = mismatch if polarity == MINUS else None
        numbers = range(acquisition.bins.count) if only is None else only
        clean = torch.stack([_bin(signal, off_resonance_hz, acquisition, n, polarity, own, splat) for n in numbers])
        noise = acquisition.noise * torch.randn((2, *clean.shape), generator=generator).to(clean.device)
        polarities.append(torch.hypot(clean + noise[0], noise[1]))
    return SpectralBins(*polarities)


def undistorted(signal: Tensor, off_resonance_hz: Tensor, bins: Bins) -> Tensor:
    """Root sum of squares of the bins had nothing moved and nothing been noise, (..., y, x) on the pixel grid."""
    share = bins.profiles(off_resonance_hz).square().sum(dim=0).sqrt()
    return _placed(signal * share, torch.zeros_like(signal))


def _bin(
    signal: Tensor,
    off_resonance_hz: Tensor,
    acquisition: MavricAcquisition,
    number: int,
    polarity: int,
    mismatch: Mismatch | None,
    splat: Splat,
) -> Tensor:
    bins = acquisition.bins
    excited = signal * bins.profile(number, off_resonance_hz)
    shift = polarity * shift_px(off_resonance_hz, bins.centres_hz[number], acquisition.bandwidth_hz_px)
    # What is not excited must not widen the field of view.
    shift = torch.where(excited != 0, shift, 0.0)
    if mismatch is not None:
        excited, shift = excited * mismatch.gain, shift + mismatch.shift_px
    return _placed(excited, shift, splat)


def _placed(spins: Tensor, shift: Tensor, splat: Splat = Splat.EXACT) -> Tensor:
    """Image of spins that lie `FINE` to a pixel; signal that leaves the field of view is lost, and does not fold."""
    n_pixels = spins.shape[-1] // FINE
    margin = int(float(shift.abs().max())) + _MARGIN_PX
    own = (torch.arange(spins.shape[-1], device=spins.device, dtype=spins.dtype) - (FINE - 1) / 2) / FINE
    positions = (own + margin + shift).expand(spins.shape).reshape(-1, spins.shape[-1])
    each = spins.reshape(-1, spins.shape[-1])
    if splat is Splat.EXACT:
        lines = readout.spread(each, positions, n_pixels + 2 * margin)
    else:
        line, spin = torch.nonzero(each, as_tuple=True)
        shape = (len(each), n_pixels + 2 * margin)
        lines = splatted(each[line, spin], line, positions[line, spin], shape, splat)
    return lines[:, margin : margin + n_pixels].reshape(*spins.shape[:-1], n_pixels) / FINE
