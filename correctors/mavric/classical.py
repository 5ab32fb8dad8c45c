"""Method `classical`: matched-filter field, fold-aware unwarping, matched-filter combining. It has no weights.

Where the two polarities, each corrected by itself, do not agree the field cannot be right there: the image goes over
into the mean of the two uncorrected combinations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from correctors.common.filters import gaussian
from correctors.mavric.matched_filter import combined, field_hz, root_sum_of_squares
from correctors.mavric.unwarping import unwarped
from simulation.mavric import Bins

DISAGREEING = 1.0
"""Difference of the polarities over their mean at which confidence has fallen to a third."""
FAINT_SHARE = 0.05
"""Of the brightest signal: what is fainter is noise, whose polarities never agree."""
NEIGHBOURHOOD_PIXELS = 1.0


@dataclass(frozen=True, eq=False)
class Combined:
    """A corrected and combined series.

    Attributes:
        image: (z, y, x), in the units of the bins, on the scale of their root sum of squares.
        off_resonance_hz: (z, y, x) [Hz].
        attention: weight of the positive polarity, 0 to 1, (z, y, x).
        confidence: 1 where the polarities agree after correction, towards 0 where they do not, (z, y, x).
        beyond: bool (z, y, x), where the frequency lies beyond the bins' reach: nothing there was measured.
    """

    image: Tensor
    off_resonance_hz: Tensor
    attention: Tensor
    confidence: Tensor
    beyond: Tensor


def mean_of_polarities(plus: Tensor, minus: Tensor) -> Tensor:
    """Mean of MAVRIC(+) and MAVRIC(-), each by root sum of squares."""
    return (root_sum_of_squares(plus) + root_sum_of_squares(minus)) / 2


def classical(plus: Tensor, minus: Tensor, bandwidth_hz_px: float, bins: Bins) -> Combined:
    """Correct and combine; the readout is the last axis.

    Args:
        plus: bins of the positive polarity, magnitude, float32 (bin, z, y, x).
        minus: the same of the negative one.
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        bins: what they are.
    """
    field = field_hz(plus, minus, bins)
    straight = unwarped(plus, minus, field, bandwidth_hz_px, bins)
    one, other = (combined(images, field, bins) for images in (straight.plus, straight.minus))
    mean = mean_of_polarities(plus, minus)
    confidence = confident(one, other)
    image = confidence * combined(straight.images, field, bins) + (1 - confidence) * mean
    return Combined(image, field, straight.attention, confidence, field.abs() > bins.reach_hz)


def confident(plus: Tensor, minus: Tensor) -> Tensor:
    """1 where two images of one slice agree, towards 0 where they do not, (z, y, x)."""
    apart = gaussian((plus - minus).abs(), NEIGHBOURHOOD_PIXELS)
    level = gaussian(plus + minus, NEIGHBOURHOOD_PIXELS) / 2 + FAINT_SHARE * (plus + minus).max() / 2
    return torch.exp(-(apart / (DISAGREEING * level.clamp(min=torch.finfo(level.dtype).tiny))).square())
