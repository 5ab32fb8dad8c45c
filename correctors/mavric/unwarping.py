"""Bins moved back to where their spins are, from both polarities, with the one that folds left aside.

I0(x) = I+(x + d) (1 + d') = I-(x - d) (1 - d') with d the shift in pixels: eqs. 2 and 3 of the paper, solved for the
true image. Where 1 - d' is small or negative the image of the negative polarity is a pile-up that cannot be told apart,
and that of the positive one is stretched and valid; and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulation.mavric import Bins
from simulation.off_resonance import moved_back, shift_px

LARGEST_STRETCH = 3.0
"""Beyond it a stretched image holds more noise than signal."""
LEAST_WEIGHT = 0.02


@dataclass(frozen=True, eq=False)
class Unwarped:
    """Bins of each polarity on the true grid.

    Attributes:
        plus, minus: (bin, z, y, x), in the units of the bins.
        attention: weight of the positive polarity, 0 to 1, (z, y, x).
    """

    plus: Tensor
    minus: Tensor
    attention: Tensor

    @property
    def images(self) -> Tensor:
        """Both together, eq. 9: (bin, z, y, x)."""
        return self.attention * self.plus + (1 - self.attention) * self.minus


def unwarped(
    plus: Tensor,
    minus: Tensor,
    off_resonance_hz: Tensor,
    bandwidth_hz_px: float,
    bins: Bins,
) -> Unwarped:
    """Undo the shifts of a known field; the readout is the last axis.

    Args:
        plus: bins of the positive polarity, (bin, z, y, x).
        minus: the same of the negative one.
        off_resonance_hz: (z, y, x) [Hz].
        bandwidth_hz_px: Pixel Bandwidth [Hz/pixel].
        bins: what they are.
    """
    (slope,) = torch.gradient(off_resonance_hz, dim=-1)
    stretch = slope / bandwidth_hz_px
    centres = torch.tensor(bins.centres_hz, dtype=plus.dtype, device=plus.device)
    shift = shift_px(off_resonance_hz, centres.view(-1, 1, 1, 1), bandwidth_hz_px)
    weights = [(1 + sign * stretch).clamp(LEAST_WEIGHT, 1.0) for sign in (1, -1)]
    images = [
        moved_back(image, sign * shift) * (1 + sign * stretch).clamp(0.0, LARGEST_STRETCH)
        for image, sign in ((plus, 1), (minus, -1))
    ]
    return Unwarped(images[0], images[1], weights[0] / (weights[0] + weights[1]))
