"""What every method makes of slices."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Result:
    """One combined image and its maps, (z, y, x) each; the readout is the last axis.

    Attributes:
        image: in the units of the bins, on the scale of their root sum of squares.
        off_resonance_hz: [Hz].
        attention: weight of the positive polarity, 0 to 1.
        confidence: 1 where the correction is trusted, towards 0 where the mean of the uncorrected images stands.
    """

    image: Tensor
    off_resonance_hz: Tensor
    attention: Tensor
    confidence: Tensor
