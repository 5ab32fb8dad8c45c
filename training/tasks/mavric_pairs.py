"""Learn shifts and attention from pairs of single bins alone, as the MAVRIC paper does: no truth is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from correctors.mavric.matched_filter import root_sum_of_squares
from correctors.mavric.paper import INPUTS, corrected, corrected_bins, loss
from training.task import Draw, Picture, Tried
from training.tasks.mavric_scenes import MavricSlices

_PICTURES = 4
_SHOWN = (0.0, 1.4)
_EPSILON = 1e-3


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of bins, normalised by the larger maximum of each pair: (pair, y, x)."""

    plus: Tensor
    minus: Tensor


class MavricPairs(MavricSlices):
    """The task; see `training.task.Task`."""

    def __init__(
        self, side: int = 160, implants: int = 160, pairs_per_scene: int = 4, *, attention: bool = True
    ) -> None:
        """Choose sizes.

        Args:
            side: pixels along each side of a pair; a multiple of 16. The paper's crops have 160.
            implants: random implants whose fields are made.
            pairs_per_scene: bins that are taken from each scene.
            attention: False for the predecessor: eq. 8 alone, and the mean of both images.
        """
        if side % 16 or side <= 0 or implants < 1 or pairs_per_scene < 1:
            raise ValueError("side must be a multiple of 16, implants and pairs_per_scene 1 or more")
        super().__init__(side, implants)
        self._each, self._attention = pairs_per_scene, attention

    def batch(self, draws: Sequence[Draw]) -> Pairs:
        """A few bins of each scene."""
        pairs = [self._pairs(draw) for draw in draws]
        plus, minus = (torch.cat([pair[n] for pair in pairs]).to(self._device) for n in (0, 1))
        brightest = torch.maximum(plus.amax(dim=(1, 2)), minus.amax(dim=(1, 2)))[:, None, None].clamp(min=1e-12)
        return Pairs(plus / brightest, minus / brightest)

    def loss(self, network: nn.Module, batch: Pairs) -> Tensor:
        """Eq. 13."""
        made = corrected(network, batch.plus, batch.minus, attention=self._attention)
        return loss(made, batch.plus, batch.minus, consistency=1.0 if self._attention else 0.0)

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        """Error of the bins' root sum of squares, against the mean of the uncorrected ones, and without attention.

        The score is minus the logarithm of the ratio of errors, mean over cases.
        """
        sums: dict[str, list[float]] = {}
        pictures = []
        for number, draw in enumerate(draws):
            scene = self.scene(draw.anatomy.arrays["frames"], draw.rng)
            plus, minus, wanted = (one.to(self._device) for one in (scene.plus, scene.minus, scene.wanted))
            made = corrected_bins(network, plus, minus, attention=self._attention)
            images = {
                "mean": (root_sum_of_squares(plus) + root_sum_of_squares(minus)) / 2,
                "without_attention": root_sum_of_squares((made.plus + made.minus) / 2),
                "network": root_sum_of_squares(made.image),
            }
            judged = (scene.filled < 0.5).to(self._device)
            for name, image in images.items():
                error = float((image - wanted)[judged].square().mean().sqrt())
                sums.setdefault(f"rmse_{name}", []).append(max(error, _EPSILON))
            if number < _PICTURES:
                shown = {name: image[0].cpu().numpy() for name, image in {**images, "wanted": wanted}.items()}
                pictures.append(Picture(f"case {number}, 0 to 1.4", shown, _SHOWN))
        ratios = [
            math.log(after / before) for after, before in zip(sums["rmse_network"], sums["rmse_mean"], strict=True)
        ]
        figures = {name: float(np.mean(values)) for name, values in sums.items()}
        return Tried(-float(np.mean(ratios)), figures, tuple(pictures))

    def conventions(self) -> Mapping[str, Any]:
        """What the network sees and gives."""
        return dict(INPUTS)

    def _pairs(self, draw: Draw) -> tuple[Tensor, Tensor]:
        scene = self.scene(draw.anatomy.arrays["frames"], draw.rng, most_bins=self._each)
        return scene.plus[:, 0], scene.minus[:, 0]
