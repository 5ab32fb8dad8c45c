"""A task small enough for tests: learn to blur, on random squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.contracts import Volume
from dicom_node.errors import UnusableSeries
from training.anatomy import Anatomy
from training.recipe import Recipe
from training.task import Draw, Picture, Tried

SIDE = 12


class Blur:
    """Noisy squares to clean ones. `dropout` makes the loss draw numbers of its own."""

    modality = "CT"
    tags = ("KVP",)

    def __init__(self, noise: float = 0.5, begun: bool = True) -> None:
        self.noise = noise
        self.level = 0.0

    @property
    def preparation(self) -> str:
        return f"blur-{SIDE}"

    def prepare(self, image: Volume) -> Mapping[str, Any]:
        if image.shape[0] < 2:
            raise UnusableSeries("fewer than two slices")
        return {"frames": image.pixels[:, :SIDE, :SIDE].astype(np.int16)}

    def procedural(self, seed: int) -> Mapping[str, Any]:
        rng = np.random.default_rng(seed)
        frames = np.zeros((3, SIDE, SIDE), np.int16)
        for frame in frames:
            y, x = rng.integers(0, SIDE - 4, 2)
            frame[y : y + 4, x : x + 4] = rng.integers(1, 9)
        return {"frames": frames}

    def begin(self, training: Sequence[Anatomy], device: torch.device, seed: int) -> None:
        self.level = float(np.mean([a.arrays["frames"].mean() for a in training]))
        self._device = device

    def batch(self, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        clean, noisy = [], []
        for draw in draws:
            frame = draw.anatomy.arrays["frames"][int(draw.rng.integers(draw.anatomy.frames))].astype(np.float32)
            clean.append(frame)
            noisy.append(frame + self.noise * draw.rng.standard_normal(frame.shape).astype(np.float32))
        return (
            torch.from_numpy(np.stack(noisy))[:, None].to(self._device),
            torch.from_numpy(np.stack(clean))[:, None].to(self._device),
        )

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.mse_loss(network(batch[0]), batch[1])

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        noisy, clean = self.batch(draws)
        out = network(noisy)
        mse = float((out - clean).square().mean())
        images = {"before": noisy[0, 0].numpy(), "after": out[0, 0].numpy(), "truth": clean[0, 0].numpy()}
        return Tried(-mse, {"mse": mse}, (Picture("0 to 8", images, (0.0, 8.0)),))

    def conventions(self) -> Mapping[str, Any]:
        return {"level": round(self.level, 4)}


class SmallNet(nn.Module):
    """Two convolutions, on wish with dropout or batch normalisation between."""

    def __init__(self, width: int = 4, dropout: float = 0.0, normalised: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.BatchNorm2d(width) if normalised else nn.Identity(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.layers(values)
        return out


def recipe(**values: Any) -> Recipe:
    """A recipe for the small task; `values` replace whole sections or single keys of `fit`."""
    document: dict[str, Any] = {
        "name": "blur-small",
        "corrector": "hipct",
        "method": "paper",
        "size": "compact",
        "network": {"factory": "small_task:SmallNet", "arguments": {}},
        "task": {"factory": "small_task:Blur"},
        "data": {"procedural_patients": 6},
        "fit": {"steps": 20, "batch": 4, "learning_rate": 0.01, "ema": 0.9},
        "validation": {"every": 5, "cases": 3},
        "package": {"intended_use": "Tests.", "limits": ["None."]},
    }
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            document[key] = {**document[key], **value}
        else:
            document[key] = value
    return Recipe.model_validate(document)
