"""Method `best`: metal's rays replaced with a prior, and what is left of the artefact predicted by an image network.

It does so twice: the first result is the prior of the second. The network sees the whole slice, so its reach spans
every trace; it starts from a sinogram correction that keeps all rays beside metal, and predicts a change. It also says
which of the dense voxels are metal: blooming around cobalt is given back to the tissue. It was trained against the same
acquisition without metal, noise and all, so it gains nothing by smoothing. What it takes away with the streaks all the
same is given back: detail of the size of lesions as far as it was measured (`measured_detail`), and noise as
far as the series has it (`grain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from correctors.common.weights import load_network
from correctors.hipct.artefact_network import ArtefactUnet
from correctors.hipct.coarse import HalfResolution
from correctors.hipct.doubt import doubtful
from correctors.hipct.evidence import METAL_FROM, SCALE_HU, Evidence, gather, look_again
from correctors.hipct.grain import UNKNOWN_HU, distance_mm, noise_level, with_grain
from correctors.hipct.measured_detail import with_measured_detail
from correctors.hipct.scene import Restored, Scene
from dicom_node.contracts import FloatArray
from dicom_node.errors import WeightsError

NETWORKS: Mapping[str, type[nn.Module]] = {"ArtefactUnet": ArtefactUnet}
PASSES = 2
TRAINED_MM = 1.0
"""Pixels are about this large in training, within a quarter [mm]."""
INPUTS: Mapping[str, Any] = MappingProxyType(
    {"evidence": "slice, estimate, previous, metal, shadow, streaks", "scale_hu": SCALE_HU}
)
"""What goes in and out; a weights package whose `inputs` say otherwise was trained for another version."""


class Best:
    """The network on its device, with the half-resolution projector of the last grid.

    Attributes:
        network: maps the evidence's channels to a change and the metal's logit.
    """

    def __init__(self, network: nn.Module, noise_hu: float = UNKNOWN_HU) -> None:
        self.network = network
        self._noise_hu = noise_hu
        self._half = HalfResolution()

    @classmethod
    def load(cls, package: Path, device: str) -> Best:
        """Load a weights package.

        Raises:
            WeightsError: it is of another architecture, or for other inputs.
        """
        loaded = load_network(package, NETWORKS, device)
        if dict(loaded.inputs) != dict(INPUTS):
            raise WeightsError(f"{package}: the weights are for other inputs than this version of hipct/best makes")
        return cls(loaded.network)

    def with_network(self, network: nn.Module) -> Best:
        """The same with another network."""
        return Best(network, self._noise_hu)

    def begin_series(self, clean_hu: Iterable[FloatArray]) -> None:
        """Measure the noise of a series in slices (y, x) without metal [HU]."""
        self._noise_hu = noise_level(clean_hu)

    def __call__(self, scene: Scene) -> Restored:
        """Correct.

        Args:
            scene: slices with metal.
        """
        coarse = self._half.of(scene.projector)
        evidence = gather(scene, coarse)
        restored = corrected(self.network, scene, evidence)
        left = doubtful(scene, restored)
        detailed, measured = with_measured_detail(scene, coarse, restored)
        away = distance_mm(scene.shadow, scene.pixel_mm)
        images = with_grain(detailed, measured, away, self._noise_hu)
        return replace(restored, images=images, doubtful=left)


def corrected(network: nn.Module, scene: Scene, evidence: Evidence, passes: int = PASSES) -> Restored:
    """Run the network on whole slices.

    Args:
        network: maps (batch, channel, y, x) to (batch, 2, y, x); has `multiple`.
        scene: slices with metal.
        evidence: `gather` of it.
        passes: how often.
    """
    shrink = max(1, round(TRAINED_MM / scene.pixel_mm))
    result, likely = predicted(network, evidence, shrink)
    for _ in range(passes - 1):
        evidence = look_again(scene, evidence, result, likely)
        result, likely = predicted(network, evidence, shrink)
    return Restored(result, likely > METAL_FROM)


def predicted(network: nn.Module, evidence: Evidence, shrink: int = 1) -> tuple[Tensor, Tensor]:
    """One pass of the network.

    Args:
        network: as for `corrected`.
        evidence: of the slices.
        shrink: so many pixels a side are shown to the network as one, where they are much finer than it knows.

    Returns:
        Images without metal put back [HU], and how likely each voxel is metal; both (batch, y, x).
    """
    channels = functional.avg_pool2d(evidence.channels(), shrink, ceil_mode=True)
    multiple = int(getattr(network, "multiple", 1))
    height, width = channels.shape[-2:]
    padded = functional.pad(channels, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    half = torch.autocast("cuda", dtype=torch.float16, enabled=channels.device.type == "cuda")
    with half:
        out = network(padded.contiguous(memory_format=torch.channels_last))
    out = out[..., :height, :width].float()
    if shrink > 1:
        wide = functional.interpolate(out, scale_factor=shrink, mode="bilinear", align_corners=False)
        out = wide[..., : evidence.slices.shape[-2], : evidence.slices.shape[-1]]
    # Only what was segmented can be metal: the network takes blooming away, and finds no implants of its own.
    return evidence.base + SCALE_HU * out[:, 0], out[:, 1].sigmoid() * (evidence.likely > 0)
