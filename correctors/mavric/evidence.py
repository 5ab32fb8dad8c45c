"""What method `best` sees of slices: what every bin of both polarities tells without a network, as channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from correctors.mavric.classical import confident
from correctors.mavric.matched_filter import combined, field_hz, root_sum_of_squares
from correctors.mavric.unwarping import Unwarped, unwarped
from simulation.mavric import Bins

BRIGHT_QUANTILE = 0.995
_STEEPEST = 3.0
_LEAST_WIDTH_SHARE = 1e-3


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
        acquired: the bins.
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


def gather(acquired: Acquired, first_field_hz: Tensor | None = None) -> Evidence:
    """Find the matched-filter field, and what it makes of the bins.

    Args:
        acquired: the bins.
        first_field_hz: the field where it is known already, (z, y, x) [Hz].
    """
    plus, minus, bins = acquired.plus, acquired.minus, acquired.bins
    field = field_hz(plus, minus, bins) if first_field_hz is None else first_field_hz
    rsos = [root_sum_of_squares(one) for one in (plus, minus)]
    mean = (rsos[0] + rsos[1]) / 2
    scale = torch.quantile(mean.flatten()[:: max(1, mean.numel() // 100_000)], BRIGHT_QUANTILE).clamp(min=1e-12)
    own = [field_hz(one, one, bins) / bins.reach_hz for one in (plus, minus)]
    # A bin's spins lie at most this far from their place: the narrower the bandwidth, the farther.
    farthest = torch.full_like(mean, bins.fwhm_hz / acquired.bandwidth_hz_px / 10)
    noise = torch.full_like(mean, float(noise_level(plus, minus) / scale))
    other = (rsos[0] / scale, rsos[1] / scale, own[0], own[1], farthest, noise, (rsos[0] - rsos[1]).abs() / scale)
    return Evidence(acquired, scale, mean, straightened(acquired, field), other)


def straightened(acquired: Acquired, field: Tensor, attention_logit: Tensor | None = None) -> Straightened:
    """Move bins back by a field and combine them; differentiable in the field and the logit.

    Args:
        acquired: the bins.
        field: (z, y, x) [Hz].
        attention_logit: added to the logit of the physical attention, (z, y, x).
    """
    bins = acquired.bins
    moved = unwarped(acquired.plus, acquired.minus, field, acquired.bandwidth_hz_px, bins)
    if attention_logit is not None:
        prior = moved.attention.clamp(1e-3, 1 - 1e-3)
        attention = torch.sigmoid(torch.log(prior / (1 - prior)) + attention_logit)
        moved = Unwarped(moved.plus, moved.minus, attention)
    plus, minus = (combined(images, field, bins) for images in (moved.plus, moved.minus))
    both = moved.attention * plus + (1 - moved.attention) * minus
    return Straightened(field, moved, plus, minus, both, confident(plus, minus))


def within(field: Tensor, bins: Bins) -> Tensor:
    """1 where the bins see a frequency fully, falling to 0 beyond their reach: of the shape of the field."""
    energy = bins.profiles(field).square().sum(dim=0)
    full = float(bins.profiles(field.new_zeros(1)).square().sum())
    return (energy / (0.5 * full)).clamp(0, 1).sqrt()


def noise_level(plus: Tensor, minus: Tensor) -> Tensor:
    """Standard deviation of real and imaginary part in a bin's image: from the outermost bins' median magnitude.

    Most of a slice holds no spins at their frequencies; Rayleigh's median is 1.18 standard deviations.
    """
    outer = torch.stack([plus[0], plus[-1], minus[0], minus[-1]]).flatten()
    return outer[:: max(1, outer.numel() // 100_000)].median() / 1.1774
