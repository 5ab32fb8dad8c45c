"""Which polarity is which, told from the bins themselves: no DICOM attribute says it.

Spins at f lie (f - f_b) / BW pixels aside in bin b with the positive polarity, and as far to the other side with the
negative one. Two neighbouring bins show much the same spins. So from bin to bin of ascending frequency all of the
image moves back by the bins' spacing with one polarity, and forward with the other, whatever the field is. And no bin
looks more like one far away in frequency than like its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

LEAST_AGREEMENT = 0.7
"""Share of the neighbouring bins, weighted with signal, that must move in one direction."""
LEAST_PREFERENCE = 0.08
"""Of one direction over the other, in units of the bins' own energy; bins in disorder have none."""
LIT_FACTOR = 3.0
"""So many times the energy of the emptiest bin that is not all zeros, a bin holds signal."""
_LINES = 2048
"""Of the readout, enough to tell."""
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
        disorder: bins that look more like one that is not near them than like a neighbour.
    """

    preference: float
    agreement: float
    disorder: int

    @property
    def steady(self) -> bool:
        """Whether it is one direction, and in order."""
        return abs(self.preference) >= LEAST_PREFERENCE and self.agreement >= LEAST_AGREEMENT and not self.disorder


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
    back, forward, energy = _likeness(images, step_pixels)
    lit = energy > LIT_FACTOR * energy[energy > 0].min() if bool((energy > 0).any()) else energy > 0
    both = lit[:-1] & lit[1:]  # bins of noise alone go anywhere
    weight = (energy[:-1] * energy[1:]).pow(0.25) * (both if bool(both.any()) else torch.ones_like(both))
    total = float(weight.sum())
    if total <= 0:
        return _Movement(0.0, 0.0, 0)
    each = (back - forward).diagonal(1)
    mean = float((each * weight).sum()) / total
    agreeing = float(weight[torch.sign(each) == math.copysign(1.0, mean)].sum()) / total
    return _Movement(mean, agreeing, _misplaced(torch.maximum(back, forward), lit.tolist()))


def _likeness(images: Tensor, step_pixels: float) -> tuple[Tensor, Tensor, Tensor]:
    """How much each bin looks like each other one that is moved back, or forward, by a step; and the bins' energy.

    Returns:
        (bin, bin) and (bin, bin), 1 where they are equal, and (bin,).
    """
    lines = images.reshape(len(images), -1, images.shape[-1])
    lines = lines[:, :: (max(1, lines.shape[1] // _LINES) | 1)]
    n_samples = 2 * lines.shape[-1]  # else one edge of the image would be compared with the other
    spectra = torch.fft.rfft(lines, n=n_samples, dim=-1)
    frequency = torch.arange(spectra.shape[-1], device=images.device, dtype=torch.float32)
    share = frequency / spectra.shape[-1]
    spectra = spectra * (share * torch.exp(-(share / _FINEST).square()))
    turn = torch.exp(2j * math.pi * frequency * (step_pixels / n_samples))
    flat = spectra.flatten(1)
    energy = flat.abs().square().sum(dim=1)
    size = (energy[:, None] * energy[None]).sqrt().clamp(min=torch.finfo(energy.dtype).tiny)
    # The correlation of every two bins at a lag back, and at a lag forward.
    back, forward = (flat.conj() @ (spectra * one).flatten(1).T for one in (turn.conj(), turn))
    return back.real / size, forward.real / size, energy


def _misplaced(alike: Tensor, lit: Sequence[bool]) -> int:
    """Bins with signal that look more like one at least three places away than like a neighbour."""
    count, misplaced = len(lit), 0
    for own in range(count):
        near = [float(alike[own, other]) for other in (own - 1, own + 1) if 0 <= other < count]
        far = [float(alike[own, other]) for other in range(count) if abs(other - own) > 2 and lit[other]]
        misplaced += bool(lit[own] and far and max(far) > max(near))
    return misplaced


def _middle(images: Tensor) -> float:
    """Of the energy along the readout [pixels]."""
    energy = images.double().square().sum(dim=(0, 1, 2))
    at = torch.arange(len(energy), dtype=energy.dtype, device=energy.device)
    return float((energy * at).sum() / energy.sum().clamp(min=torch.finfo(energy.dtype).tiny))
