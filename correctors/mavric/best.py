"""Method `best`: the matched-filter field, refined by a network that sees all bins' evidence of a slice together.

A first network changes the field and the attention; every bin of both polarities is then moved back by that one field
and the bins are combined by their profiles. A second network says where that is better than the mean of the
uncorrected combinations, and adds what is left. It adds nothing beyond the reach of the bins.
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
from correctors.mavric.best_network import MavricNetworks
from correctors.mavric.evidence import (
    Combining,
    Evidence,
    Straightened,
    changed_share,
    combined_by,
    straightened,
    within,
)
from correctors.mavric.result import Result
from dicom_node.errors import WeightsError

NETWORKS: Mapping[str, type[nn.Module]] = {"MavricNetworks": MavricNetworks}
FIELD_STEP_HZ = 500.0
"""What 1 of the field network's output stands for."""
INPUTS: Mapping[str, Any] = MappingProxyType(
    {"evidence": "matched filter, straightened twice", "field_step_hz": FIELD_STEP_HZ}
)
"""What goes in and out; a weights package whose `inputs` say otherwise was trained for another version."""
MULTIPLE = 16
"""Sides are padded to it where the networks do not say."""


@dataclass(frozen=True, eq=False)
class Refined:
    """What the networks made of slices.

    Attributes:
        image: (z, y, x), in the units of the bins, on the scale of their root sum of squares.
        straight: the bins moved back by the refined field, before the second network.
        confidence: the share of them in the image, (z, y, x).
    """

    image: Tensor
    straight: Straightened
    confidence: Tensor


def load(package: Path, device: str) -> MavricNetworks:
    """Load a weights package.

    Raises:
        WeightsError: it is of another architecture, or for other inputs.
    """
    loaded = load_network(package, NETWORKS, device)
    if dict(loaded.inputs) != dict(INPUTS):
        raise WeightsError(f"{package}: the weights are for other inputs than this version of mavric/best makes")
    assert isinstance(loaded.network, MavricNetworks)
    return loaded.network


def refined(networks: nn.Module, evidence: Evidence) -> Refined:
    """Run both networks; differentiable in their weights.

    Args:
        networks: `MavricNetworks`: trained ones, or new ones, which change nothing.
        evidence: of the slices.
    """
    acquired, scale = evidence.acquired, evidence.scale
    change = _run(networks, evidence.channels())
    field = evidence.first.field_hz + FIELD_STEP_HZ * change[:, 0]
    straight = straightened(acquired, field, scale, change[:, 1])
    seen = torch.stack(_image_channels(evidence, straight), dim=1)
    out = _run(networks, seen)
    confidence = changed_share(straight.confidence, out[:, 0])
    base = confidence * straight.both + (1 - confidence) * evidence.mean
    image = base + within(field, acquired.bins) * scale * out[:, 1]
    return Refined(image.clamp(min=0), straight, confidence)


def result(networks: nn.Module, evidence: Evidence, combining: Combining = Combining.MATCHED) -> Result:
    """What a series gets of it.

    Args:
        networks: trained ones.
        evidence: of the slices.
        combining: how bins become one image; the second network has learnt from matched ones, and adds nothing to
            others.
    """
    made = refined(networks, evidence)
    image = made.image
    if combining is Combining.RSOS:
        image = torch.lerp(
            evidence.mean, combined_by(combining, made.straight, evidence.acquired.bins), made.confidence
        )
    straight, bandwidth = made.straight, evidence.acquired.bandwidth_hz_px
    return Result.by_field(image, straight.field_hz, straight.unwarped.attention, made.confidence, bandwidth)


def _image_channels(evidence: Evidence, straight: Straightened) -> list[Tensor]:
    acquired, scale = evidence.acquired, evidence.scale
    rsos_plus, rsos_minus, _, _, farthest, noise, _ = evidence.other
    return [
        *straight.channels(acquired, scale),
        *evidence.first.channels(acquired, scale),
        rsos_plus,
        rsos_minus,
        farthest,
        noise,
        evidence.mean / scale,
        (straight.field_hz - evidence.first.field_hz) / acquired.bins.reach_hz,
    ]


def _run(network: nn.Module, channels: Tensor) -> Tensor:
    """On sides that are padded to what the network takes."""
    multiple = int(getattr(network, "multiple", MULTIPLE))
    height, width = channels.shape[-2:]
    padded = functional.pad(channels, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    with half_precision(channels.device):
        out = network(padded.contiguous(memory_format=torch.channels_last))
    made: Tensor = out[..., :height, :width].float()
    return made
