"""Method `classical`: matched-filter field, fold-aware unwarping, matched-filter combining. It has no weights.

Where the two polarities, each corrected by itself, do not agree the field cannot be right there: the image goes over
into the mean of the two uncorrected combinations.
"""

from __future__ import annotations

import torch

from correctors.mavric.evidence import Combining, Evidence, Side, combined_by
from correctors.mavric.result import Result


def classical(evidence: Evidence, combining: Combining = Combining.MATCHED, side: Side = Side.BOTH) -> Result:
    """Correct and combine.

    Args:
        evidence: of the slices.
        combining: how bins become one image.
        side: from which polarity.
    """
    first = evidence.first
    straight = combined_by(combining, first, evidence.acquired.bins, side)
    image = torch.lerp(evidence.mean, straight, first.confidence)
    bandwidth = evidence.acquired.bandwidth_hz_px
    return Result.by_field(image, first.field_hz, first.unwarped.attention, first.confidence, bandwidth)
