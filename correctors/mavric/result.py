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
        shift_plus: from the image of the positive polarity to that of the negative one, for a receiver tuned to water:
            eq. 4 of the paper [pixels].
        shift_minus: the other way, eq. 5 [pixels].
    """

    image: Tensor
    off_resonance_hz: Tensor
    attention: Tensor
    confidence: Tensor
    shift_plus: Tensor
    shift_minus: Tensor

    @classmethod
    def by_field(
        cls, image: Tensor, off_resonance_hz: Tensor, attention: Tensor, confidence: Tensor, bandwidth_hz_px: float
    ) -> Result:
        """The shifts follow from the field.

        Args:
            image: see the class.
            off_resonance_hz: likewise.
            attention: likewise.
            confidence: likewise.
            bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        """
        shift = off_resonance_hz * (2 / bandwidth_hz_px)
        return cls(image, off_resonance_hz, attention, confidence, -shift, shift)
