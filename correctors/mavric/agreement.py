"""How far both polarities agree after correction: where they do not, the field cannot be right."""

from __future__ import annotations

import torch
from torch import Tensor

from correctors.common.filters import gaussian

DISAGREEING = 1.0
"""Difference of the polarities over their mean at which confidence has fallen to a third."""
FAINT_SHARE = 0.05
"""Of the brightest signal: what is fainter is noise, whose polarities never agree."""
NEIGHBOURHOOD_PIXELS = 1.0


def confident(plus: Tensor, minus: Tensor, brightest: Tensor) -> Tensor:
    """How far two images of one series agree.

    Args:
        plus: (z, y, x).
        minus: likewise.
        brightest: of the series, a number in their units.

    Returns:
        1 where they agree, towards 0 where they do not, (z, y, x).
    """
    apart = gaussian((plus - minus).abs(), NEIGHBOURHOOD_PIXELS)
    level = gaussian(plus + minus, NEIGHBOURHOOD_PIXELS) / 2 + FAINT_SHARE * brightest
    return torch.exp(-(apart / (DISAGREEING * level.clamp(min=torch.finfo(level.dtype).tiny))).square())
