"""Method `paper`: each pair of bins corrected by a network of its own shifts and attention (sections 3.1 and 3.2).

Shifts are in pixels along the readout, the last axis. `predecessor` is the same without attention: the mean of both
corrected images (Kwon et al., the paper's reference [1]).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from correctors.common.device import half_precision
from correctors.common.weights import load_network
from correctors.mavric.paper_network import DualPolarityUnet
from dicom_node.errors import WeightsError
from simulation.off_resonance import Splat, moved

NETWORKS: Mapping[str, type[nn.Module]] = {"DualPolarityUnet": DualPolarityUnet}
INPUTS: Mapping[str, Any] = MappingProxyType({"pair": "plus, minus", "shifts": "pixels"})
"""What goes in and out; a weights package whose `inputs` say otherwise was trained for another version."""
TOTAL_VARIATION = 1e-4
"""Of the maps, in pixels; the two other losses count 1 each (eq. 13)."""
SPLAT = Splat.SINC
"""Nearly eq. 1: a linear splat averages two pixels, and would reward a wrong half pixel with less noise."""
PAIRS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class PairMaps:
    """The network's four maps, each (pair, y, x).

    Attributes:
        shift_plus, shift_minus: from each image to the other, on its own distorted grid, eqs. 4 and 5 [pixels].
        off_resonance: on the true grid, as shift with the plus polarity, eqs. 10 and 11 [pixels].
        attention: weight of the plus polarity, eq. 9, 0 to 1.
    """

    shift_plus: Tensor
    shift_minus: Tensor
    off_resonance: Tensor
    attention: Tensor


@dataclass(frozen=True, eq=False)
class CorrectedPairs:
    """Pairs corrected, each (pair, y, x).

    Attributes:
        plus, minus: from one polarity alone, eqs. 6 and 7.
        image: by attention, eq. 9.
        maps: the maps that they were corrected with.
    """

    plus: Tensor
    minus: Tensor
    image: Tensor
    maps: PairMaps


def load(package: Path, device: str) -> nn.Module:
    """Load a weights package.

    Raises:
        WeightsError: it is of another architecture, or for other inputs.
    """
    loaded = load_network(package, NETWORKS, device)
    if dict(loaded.inputs) != dict(INPUTS):
        raise WeightsError(f"{package}: the weights are for other inputs than this version of mavric/paper makes")
    return loaded.network


def corrected(network: nn.Module, plus: Tensor, minus: Tensor, *, attention: bool = True) -> CorrectedPairs:
    """Correct pairs; differentiable in the network's weights.

    Args:
        network: maps (pair, 2, y, x), normalised by the larger maximum of each pair, to four maps.
        plus: images of the plus polarity, (pair, y, x).
        minus: the same of the minus polarity.
        attention: False for the predecessor, which knows shifts only.
    """
    maps = pair_maps(network, plus, minus)
    if not attention:
        off_resonance = (maps.shift_minus - maps.shift_plus) / 4
        maps = PairMaps(maps.shift_plus, maps.shift_minus, off_resonance, torch.full_like(plus, 0.5))
    one = moved(plus, maps.shift_plus / 2, SPLAT)
    other = moved(minus, maps.shift_minus / 2, SPLAT)
    return CorrectedPairs(one, other, maps.attention * one + (1 - maps.attention) * other, maps)


def corrected_bins(network: nn.Module, plus: Tensor, minus: Tensor, *, attention: bool = True) -> CorrectedPairs:
    """Correct every pair of bins, a few at a time.

    Args:
        network: as for `corrected`.
        plus: bins, (bin, z, y, x).
        minus: the same of the minus polarity.
        attention: False for the predecessor.

    Returns:
        Everything of shape (bin, z, y, x).
    """
    shape = plus.shape
    parts = []
    with torch.no_grad():
        for one, other in zip(_split(plus), _split(minus), strict=True):
            parts.append(corrected(network, one, other, attention=attention))

    def whole(name: str, *, of_maps: bool = False) -> Tensor:
        return torch.cat([getattr(part.maps if of_maps else part, name) for part in parts]).reshape(shape)

    names = ("shift_plus", "shift_minus", "off_resonance", "attention")
    maps = PairMaps(*(whole(name, of_maps=True) for name in names))
    return CorrectedPairs(whole("plus"), whole("minus"), whole("image"), maps)


def loss(made: CorrectedPairs, plus: Tensor, minus: Tensor, *, consistency: float = 1.0) -> Tensor:
    """Eq. 13 on pairs that are normalised, mean over pixels: eq. 8, eq. 12 and the total variation of the shifts.

    Args:
        made: of the pairs.
        plus: images of the plus polarity, (pair, y, x).
        minus: the same of the minus polarity.
        consistency: weight of eq. 12; 0 for the predecessor, which has no attention to learn.
    """
    maps = made.maps
    base = _square(moved(plus, maps.shift_plus, SPLAT) - minus)
    base = base + _square(moved(minus, maps.shift_minus, SPLAT) - plus)
    again = _square(moved(made.image, maps.off_resonance, SPLAT) - plus)
    again = again + _square(moved(made.image, -maps.off_resonance, SPLAT) - minus)
    rough = sum(
        (_variation(one) for one in (maps.shift_plus, maps.shift_minus, maps.off_resonance)), start=plus.new_zeros(())
    )
    return base + consistency * again + TOTAL_VARIATION * rough


def pair_maps(network: nn.Module, plus: Tensor, minus: Tensor) -> PairMaps:
    """Run the network on pairs (pair, y, x) of any brightness and size."""
    pair = torch.stack([plus, minus], dim=1)
    brightest = pair.amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(pair.dtype).tiny)
    multiple = int(getattr(network, "multiple", 1))
    height, width = pair.shape[-2:]
    padded = functional.pad(pair / brightest, (0, -width % multiple, 0, -height % multiple))
    with half_precision(pair.device):
        out = network(padded.contiguous(memory_format=torch.channels_last))
    maps = out[..., :height, :width].float()
    return PairMaps(maps[:, 0], maps[:, 1], maps[:, 2], maps[:, 3].sigmoid())


def _split(bins: Tensor) -> tuple[Tensor, ...]:
    return torch.split(bins.reshape(-1, *bins.shape[-2:]), PAIRS_AT_ONCE)


def _square(error: Tensor) -> Tensor:
    return error.square().mean()


def _variation(values: Tensor) -> Tensor:
    return torch.diff(values, dim=-1).abs().mean() + torch.diff(values, dim=-2).abs().mean()
