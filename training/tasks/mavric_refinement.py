"""Learn to refine the matched-filter field of MAVRIC, and what is left of its artefacts, from simulated implants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from correctors.mavric.best import INPUTS, Refined, refined
from correctors.mavric.evidence import Acquired, Evidence, gather, within
from simulation.off_resonance import moved, shift_px
from training.task import Draw, Picture, Tried
from training.tasks.mavric_scenes import MavricSlices, TrainingScene

NEAR_PIXELS = 16
"""25 mm of pixels of 1.5 mm."""
_NEAR_WEIGHT = 3.0
_EPSILON = 1e-3
_BINS_OF_CONSISTENCY = 4
_FIELD_UNIT_HZ = 1000.0
_PICTURES = 4
_SHOWN = (0.0, 1.4)


@dataclass(frozen=True, eq=False)
class RefinementExample:
    """A scene, what the networks see of it, and which voxels count how much.

    Attributes:
        scene: the scene.
        evidence: of it.
        near: share 0 or 1 of voxels near metal, (1, y, x).
        judged: 0 in metal, else 1, (1, y, x).
    """

    scene: TrainingScene
    evidence: Evidence
    near: Tensor
    judged: Tensor


class MavricRefinement(MavricSlices):
    """The task; see `training.task.Task`."""

    def __init__(
        self,
        side: int = 128,
        implants: int = 160,
        field_weight: float = 0.05,
        consistency_weight: float = 0.2,
        edges_weight: float = 0.5,
    ) -> None:
        """Choose sizes and weights.

        Args:
            side: pixels along each side of an example; a multiple of 16.
            implants: random implants whose fields are made.
            field_weight: of the error of the field [per kHz].
            consistency_weight: of eq. 12: the corrected bins, distorted again, against the measured ones.
            edges_weight: of the error of neighbouring voxels' differences.
        """
        if side % 16 or side <= 0 or implants < 1:
            raise ValueError("side must be a multiple of 16, and implants 1 or more")
        if min(field_weight, consistency_weight, edges_weight) < 0:
            raise ValueError("weights must be 0 or more")
        super().__init__(side, implants)
        self._field_weight, self._edges_weight = field_weight, edges_weight
        self._consistency_weight = consistency_weight

    def batch(self, draws: Sequence[Draw]) -> list[RefinementExample]:
        """Scenes with their evidence."""
        return [self._example(draw) for draw in draws]

    def loss(self, network: nn.Module, batch: list[RefinementExample]) -> Tensor:
        """Mean over the examples."""
        losses = [self._loss(refined(network, one.evidence), one) for one in batch]
        return torch.stack(losses).mean()

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        """Error near metal and far from it, of the mean, of the method without weights and of the network.

        The score is how much smaller the network's error is than that of the mean: minus the logarithm of their ratio,
        mean over cases, near and far.
        """
        sums: dict[str, list[float]] = {}
        pictures = []
        for number, draw in enumerate(draws):
            one = self._example(draw)
            with torch.no_grad():
                made = refined(network, one.evidence)
            first = one.evidence.first
            images = {
                "mean": one.evidence.mean,
                "classical": first.confidence * first.both + (1 - first.confidence) * one.evidence.mean,
                "straight": made.straight.both,
                "network": made.image,
            }
            for name, image in images.items():
                for where, weight in (("near", one.near), ("far", 1 - one.near)):
                    error = _pooled((image - one.scene.wanted).square(), weight * one.judged)
                    sums.setdefault(f"rmse_{name}_{where}", []).append(max(float(error.sqrt()), _EPSILON))
            if number < _PICTURES:
                shown = {name: image[0].cpu().numpy() for name, image in {**images, "wanted": one.scene.wanted}.items()}
                pictures.append(Picture(f"case {number}, 0 to 1.4", shown, _SHOWN))
        figures = {name: float(np.mean(values)) for name, values in sums.items()}
        for name in ("classical", "network"):
            for where in ("near", "far"):
                ratios = np.log(np.array(sums[f"rmse_{name}_{where}"]) / np.array(sums[f"rmse_mean_{where}"]))
                figures[f"ratio_{name}_{where}"] = float(np.exp(ratios.mean()))
        score = -0.5 * sum(math.log(figures[f"ratio_network_{where}"]) for where in ("near", "far"))
        return Tried(score, figures, tuple(pictures))

    def conventions(self) -> Mapping[str, Any]:
        """What the networks see and give."""
        return dict(INPUTS)

    def _example(self, draw: Draw) -> RefinementExample:
        scene = self.scene(draw.anatomy.arrays["frames"], draw.rng)
        metal = scene.filled.numpy() >= 0.5
        away = ndimage.distance_transform_edt(~metal[0]) if metal.any() else np.full(metal.shape[1:], np.inf)
        near = torch.from_numpy((away <= NEAR_PIXELS).astype(np.float32))[None]
        scene = _on(scene, self._device)
        acquired = Acquired(scene.plus, scene.minus, scene.bandwidth_hz_px, scene.bins)
        judged = (scene.filled < 0.5).float()
        return RefinementExample(scene, gather(acquired), near.to(self._device), judged)

    def _loss(self, made: Refined, one: RefinementExample) -> Tensor:
        scene, scale = one.scene, one.evidence.scale
        weight = one.judged * (1 + _NEAR_WEIGHT * one.near)
        error = (made.image - scene.wanted) / scale
        early = (made.straight.both - scene.wanted) / scale
        loss = _pooled(_charbonnier(error), weight) + 0.3 * _pooled(_charbonnier(early), weight)
        for axis in (-1, -2):
            loss = loss + self._edges_weight * _charbonnier(torch.diff(error, dim=axis)).mean()
        signal = (scene.wanted / scale).clamp(0, 1) * within(scene.off_resonance_hz, scene.bins)
        off = (made.straight.field_hz - scene.off_resonance_hz) / _FIELD_UNIT_HZ
        loss = loss + self._field_weight * _pooled(
            functional.smooth_l1_loss(off, torch.zeros_like(off), reduction="none"), weight * signal
        )
        return loss + self._consistency_weight * _consistency(made, one)


def _consistency(made: Refined, one: RefinementExample) -> Tensor:
    """Eq. 12 over the bins that hold the most signal."""
    scene = one.scene
    strongest = scene.plus.square().sum(dim=(1, 2, 3)).topk(min(_BINS_OF_CONSISTENCY, scene.bins.count)).indices
    centres = torch.tensor(scene.bins.centres_hz, device=scene.plus.device)[strongest].view(-1, 1, 1, 1)
    shift = shift_px(made.straight.field_hz, centres, scene.bandwidth_hz_px)
    images = made.straight.unwarped.images[strongest]
    both = ((1, scene.plus), (-1, scene.minus))
    again = [moved(images, sign * shift) - measured[strongest] for sign, measured in both]
    return sum((_charbonnier(off / one.evidence.scale).mean() for off in again), start=scene.wanted.new_zeros(()))


def _charbonnier(error: Tensor) -> Tensor:
    return (error.square() + _EPSILON**2).sqrt() - _EPSILON


def _pooled(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def _on(scene: TrainingScene, device: torch.device) -> TrainingScene:
    return replace(
        scene,
        plus=scene.plus.to(device),
        minus=scene.minus.to(device),
        wanted=scene.wanted.to(device),
        off_resonance_hz=scene.off_resonance_hz.to(device),
        filled=scene.filled.to(device),
    )
