"""Which polarity is which, told from the bins themselves: no DICOM attribute says it.

Spins at f lie (f - f_b) / BW pixels aside in bin b with the positive polarity, and as far to the other side with the
negative one. Two neighbouring bins show much the same spins. So from bin to bin of ascending frequency all of the
image moves back by the bins' spacing with one polarity, and forward with the other, whatever the field is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

LEAST_AGREEMENT = 0.7
"""Share of the neighbouring bins, weighted with signal, that must move in one direction."""
LEAST_PREFERENCE = 0.08
"""Of one direction over the other, in units of the bins' own energy; bins in disorder have none."""
_FINEST = 0.35
"""Detail up to this share of the highest frequency counts: noise has the rest."""


class Order(Enum):
    """How two roles and the order of their bins belong together."""

    AS_NAMED = "as named"
    SWAPPED = "swapped"
    """The role plus moves as the negative polarity would; or the bins descend, which cannot be told from it."""
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class _Movement:
    """From bin to bin of one role.

    Attributes:
        preference: of moving back over moving forward; negative for forward.
        agreement: share of the bins that do so.
    """

    preference: float
    agreement: float

    @property
    def steady(self) -> bool:
        """Whether it is one direction."""
        return abs(self.preference) >= LEAST_PREFERENCE and self.agreement >= LEAST_AGREEMENT


def order_of(plus: Tensor, minus: Tensor, step_pixels: float) -> Order:
    """Compare neighbouring bins of both roles; swapped arguments give the opposite answer.

    Args:
        plus: magnitude, (bin, z, y, x), readout last, in the order of their frequencies.
        minus: the same of the other role.
        step_pixels: spacing of the bins over the bandwidth of a pixel.
    """
    if len(plus) == 1:
        # Nothing tells the sign; a convention makes the result the same for swapped roles.
        return Order.AS_NAMED if _middle(plus) >= _middle(minus) else Order.SWAPPED
    first, second = _movement(plus, step_pixels), _movement(minus, step_pixels)
    if not first.steady or not second.steady or first.preference * second.preference >= 0:
        return Order.UNCLEAR
    return Order.AS_NAMED if first.preference > 0 else Order.SWAPPED


def _movement(images: Tensor, step_pixels: float) -> _Movement:
    n_samples = 2 * images.shape[-1]  # else one edge of the image would be compared with the other
    crossed, energy = [], []
    before: Tensor | None = None
    for one in images:
        spectrum = torch.fft.rfft(one.double(), n=n_samples, dim=-1)
        frequency = torch.arange(spectrum.shape[-1], device=one.device, dtype=torch.float64)
        share = frequency / spectrum.shape[-1]
        spectrum = spectrum * (share * torch.exp(-(share / _FINEST).square()))
        energy.append(spectrum.abs().square().sum())
        if before is not None:
            crossed.append((before.conj() * spectrum).sum(dim=(0, 1)))
        before = spectrum
    turn = torch.exp(2j * math.pi * frequency * (step_pixels / n_samples))
    # The correlation at a lag back minus that at a lag forward.
    preferred = torch.stack([(one * turn.conj()).real.sum() - (one * turn).real.sum() for one in crossed])
    size = (torch.stack(energy[:-1]) * torch.stack(energy[1:])).sqrt()
    weight = size.sqrt()
    total = float(weight.sum())
    if total <= 0:
        return _Movement(0.0, 0.0)
    each = preferred / size.clamp(min=torch.finfo(size.dtype).tiny)
    mean = float((each * weight).sum()) / total
    agreeing = float(weight[torch.sign(each) == math.copysign(1.0, mean)].sum()) / total
    return _Movement(mean, agreeing)


def _middle(images: Tensor) -> float:
    """Of the energy along the readout [pixels]."""
    energy = images.double().square().sum(dim=(0, 1, 2))
    at = torch.arange(len(energy), dtype=energy.dtype, device=energy.device)
    return float((energy * at).sum() / energy.sum().clamp(min=torch.finfo(energy.dtype).tiny))
