"""What method `best` sees of slices: what every bin of both polarities tells without a network, as channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from correctors.mavric.agreement import confident
from correctors.mavric.matched_filter import combined, field_hz, root_sum_of_squares, without_noise_floor
from correctors.mavric.pair_field import pair_field_hz
from correctors.mavric.unwarping import Unwarped, unwarped
from simulation.mavric import Bins

BRIGHT_QUANTILE = 0.995
_STEEPEST = 3.0
_SAMPLES = 100_000
"""Of a series, enough for its brightness and its noise."""
_RAYLEIGH_MEDIAN, _RAYLEIGH_SPREAD, _NORMAL_MEDIAN = 1.1774, 0.6551, 0.6745
_TISSUE = 1.5
"""How much larger the median may be than the detail tells, before tissue is taken for the reason."""
_FOUR = ((0, 0), (0, 1), (1, 0), (1, 1))
_SURE = 1e-3
"""No share is surer than that: its logit stays finite."""
_TINY = 1e-12


class Combining(StrEnum):
    """How bins become one image."""

    RSOS = "rsos"
    """Root sum of squares over the bins."""
    MATCHED = "matched"
    """By the bins' profiles at the voxel's frequency, on the scale of the root sum of squares."""


class Side(StrEnum):
    """Which polarity an image is made from."""

    BOTH = "both"
    PLUS = "plus"
    MINUS = "minus"

    @property
    def swapped(self) -> Side:
        """The other one."""
        return {Side.BOTH: Side.BOTH, Side.PLUS: Side.MINUS, Side.MINUS: Side.PLUS}[self]


@dataclass(frozen=True, eq=False)
class Acquired:
    """Bins of both polarities; the readout is the last axis.

    Attributes:
        plus, minus: magnitude, float32 (bin, z, y, x).
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        bins: which bins.
    """

    plus: Tensor
    minus: Tensor
    bandwidth_hz_px: float
    bins: Bins


@dataclass(frozen=True)
class Levels:
    """Of a whole series, in the units of its images.

    Attributes:
        scale: its brightest tissue in the mean of both polarities.
        noise: standard deviation of real and imaginary part in a bin's image.
    """

    scale: float
    noise: float


@dataclass(frozen=True, eq=False)
class Straightened:
    """Bins moved back by some field, and combined; (z, y, x) each.

    Attributes:
        field_hz: the field [Hz].
        unwarped: the bins.
        plus, minus: combined from each polarity alone.
        both: combined from both, by their attention.
        confidence: 1 where the polarities agree.
    """

    field_hz: Tensor
    unwarped: Unwarped
    plus: Tensor
    minus: Tensor
    both: Tensor
    confidence: Tensor

    def channels(self, acquired: Acquired, scale: Tensor) -> list[Tensor]:
        """Eight of them, each (z, y, x): images in units of the scale, field in units of the bins' reach."""
        reach = acquired.bins.reach_hz
        (slope,) = torch.gradient(self.field_hz, dim=-1)
        return [
            self.plus / scale,
            self.minus / scale,
            self.both / scale,
            self.field_hz / reach,
            (slope / acquired.bandwidth_hz_px).clamp(-_STEEPEST, _STEEPEST),
            self.unwarped.attention,
            self.confidence,
            within(self.field_hz, acquired.bins),
        ]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known before any network.

    Attributes:
        acquired: the bins, without the floor that noise gives to magnitudes.
        scale: brightness of the series, a number.
        mean: mean of both polarities' root sums of squares, (z, y, x).
        first: by the matched-filter field.
        other: seven more channels of it, (z, y, x) each.
    """

    acquired: Acquired
    scale: Tensor
    mean: Tensor
    first: Straightened
    other: tuple[Tensor, ...]

    def channels(self) -> Tensor:
        """For the network of the field: (z, 15, y, x)."""
        return torch.stack([*self.first.channels(self.acquired, self.scale), *self.other], dim=1)


def levels(acquired: Acquired) -> Levels:
    """Brightness and noise of a series.

    Noise is the median of the outermost bins, 1.18 standard deviations where there is no signal (Rayleigh): most of a
    slice holds no spins at their frequencies. Where they hold tissue all the same (few bins, or one), their finest
    detail tells it: the median of the diagonal differences of four neighbours (Donoho).
    """
    mean = mean_of_polarities(acquired)
    bright = torch.quantile(_sampled(mean), BRIGHT_QUANTILE)
    outer = [one[number] for one in (acquired.plus, acquired.minus) for number in (0, -1)]
    level = float(torch.cat([_sampled(one) for one in outer]).median()) / _RAYLEIGH_MEDIAN
    detail = float(torch.cat([_sampled(_diagonal(one)) for one in outer]).median()) / _NORMAL_MEDIAN
    # Without signal magnitudes spread by 0.66 standard deviations; with it by one.
    return Levels(max(float(bright), _TINY), level if level * _RAYLEIGH_SPREAD < _TISSUE * detail else detail)


def mean_of_polarities(acquired: Acquired) -> Tensor:
    """Mean of MAVRIC(+) and MAVRIC(-), each by root sum of squares, (z, y, x)."""
    return (root_sum_of_squares(acquired.plus) + root_sum_of_squares(acquired.minus)) / 2


def gather(acquired: Acquired, known: Levels | None = None) -> Evidence:
    """Find the field, and what it makes of the bins.

    Args:
        acquired: the bins of some slices.
        known: levels of the series; None where these slices are all of it.
    """
    known = levels(acquired) if known is None else known
    bins = acquired.bins
    field = first_field(acquired, known)
    # The polarities alone show their signal on either side of its place: where both differ, the field is steep.
    own = [
        field if bins.count == 1 else field_hz(one, one, bins, known.noise) for one in (acquired.plus, acquired.minus)
    ]
    plus, minus = (without_noise_floor(one, known.noise) for one in (acquired.plus, acquired.minus))
    acquired = replace(acquired, plus=plus, minus=minus)
    rsos = [root_sum_of_squares(one) for one in (plus, minus)]
    mean = (rsos[0] + rsos[1]) / 2
    scale = mean.new_tensor(known.scale)
    # A bin's spins lie at most this far from their place: the narrower the bandwidth, the farther.
    farthest = torch.full_like(mean, bins.fwhm_hz / acquired.bandwidth_hz_px / 10)
    noise = torch.full_like(mean, known.noise / known.scale)
    apart = (rsos[0] - rsos[1]).abs() / scale
    other = (rsos[0] / scale, rsos[1] / scale, own[0] / bins.reach_hz, own[1] / bins.reach_hz, farthest, noise, apart)
    return Evidence(acquired, scale, mean, straightened(acquired, field, scale), other)


def first_field(acquired: Acquired, known: Levels) -> Tensor:
    """The field of both polarities together, (z, y, x) [Hz]: from all bins, or from one pair."""
    plus, minus, bins = acquired.plus, acquired.minus, acquired.bins
    if bins.count == 1:
        return pair_field_hz(plus[0], minus[0], acquired.bandwidth_hz_px, known.scale)
    return field_hz(plus, minus, bins, known.noise)


def combined_by(combining: Combining, straight: Straightened, bins: Bins, side: Side = Side.BOTH) -> Tensor:
    """Bins moved back, combined, (z, y, x).

    Args:
        combining: how.
        straight: the bins moved back.
        bins: which bins; a single one has no profile that could be matched.
        side: from which polarity.
    """
    if combining is Combining.MATCHED and bins.count > 1:
        return {Side.BOTH: straight.both, Side.PLUS: straight.plus, Side.MINUS: straight.minus}[side]
    moved = straight.unwarped
    return root_sum_of_squares({Side.BOTH: moved.images, Side.PLUS: moved.plus, Side.MINUS: moved.minus}[side])


def straightened(
    acquired: Acquired, field: Tensor, scale: Tensor, attention_logit: Tensor | None = None
) -> Straightened:
    """Move bins back by a field and combine them; differentiable in the field and the logit.

    Args:
        acquired: the bins.
        field: (z, y, x) [Hz].
        scale: brightness of the series, a number.
        attention_logit: added to the logit of the physical attention, (z, y, x).
    """
    bins = acquired.bins
    moved = unwarped(acquired.plus, acquired.minus, field, acquired.bandwidth_hz_px, bins)
    if attention_logit is not None:
        attention = changed_share(moved.attention, attention_logit)
        moved = Unwarped(moved.plus, moved.minus, attention)
    plus, minus = (combined(images, field, bins) for images in (moved.plus, moved.minus))
    both = moved.attention * plus + (1 - moved.attention) * minus
    return Straightened(field, moved, plus, minus, both, confident(plus, minus, scale))


def within(field: Tensor, bins: Bins) -> Tensor:
    """1 where the bins see a frequency fully, falling to 0 beyond their reach: of the shape of the field."""
    energy = bins.profiles(field).square().sum(dim=0)
    full = float(bins.profiles(field.new_zeros(1)).square().sum())
    return (energy / (0.5 * full)).clamp(0, 1).sqrt()


def _diagonal(images: Tensor) -> Tensor:
    """Finest diagonal detail of each four neighbours, magnitude: white noise keeps its standard deviation."""
    a, b, c, d = (images[..., y::2, x::2][..., : images.shape[-2] // 2, : images.shape[-1] // 2] for y, x in _FOUR)
    return (a - b - c + d).abs() / 2


def _sampled(values: Tensor) -> Tensor:
    flat = values.flatten()
    return flat[:: max(1, len(flat) // _SAMPLES) | 1]  # an odd step meets every column


def changed_share(share: Tensor, logit: Tensor) -> Tensor:
    """A share from 0 to 1 after a change of its logit, both of one shape."""
    return torch.sigmoid(torch.logit(share, eps=_SURE) + logit)
