"""What a network is to learn: how patients become examples, and how well an output is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dicom_node.contracts import Volume
from training.anatomy import Anatomy


@dataclass(frozen=True, eq=False)
class Draw:
    """One example to make.

    All randomness of an example comes from `rng`, so that example number n is the same whatever process makes it.

    Attributes:
        anatomy: the patient.
        rng: a source of randomness of its own.
        number: which example of the training it is, from 0; or which of the fixed cases.
    """

    anatomy: Anatomy
    rng: np.random.Generator
    number: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A row of images on one window.

    Attributes:
        title: what it shows, with the window and its unit.
        images: float32 (y, x) by name, in the order in which they are shown.
        window: lowest and highest shown value.
    """

    title: str
    images: Mapping[str, NDArray[np.float32]]
    window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Tried:
    """How a network did on fixed cases.

    Attributes:
        score: higher is better; the best checkpoint is the one with the highest.
        figures: by name, units in the name.
        pictures: before, after and truth of some cases.
    """

    score: float
    figures: Mapping[str, float]
    pictures: tuple[Picture, ...]


class Task(Protocol):
    """Made by a recipe's `task` section; simulation happens in `batch`, on the device."""

    @property
    def modality(self) -> str:
        """DICOM Modality of the images that it takes, `CT` or `MR`."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """DICOM keywords that `prepare` wants to see."""
        ...

    @property
    def preparation(self) -> str:
        """Changes whenever `prepare` or `procedural` would give other arrays; a cache of another one is refused."""
        ...

    def prepare(self, image: Volume) -> Mapping[str, NDArray[Any]]:
        """Arrays of a real image on the task's grid; `frames` must be among them.

        Raises:
            dicom_node.errors.UnusableSeries: it cannot serve; the message says why.
        """
        ...

    def procedural(self, seed: int) -> Mapping[str, NDArray[Any]]:
        """Arrays of a patient made by the package."""
        ...

    def begin(self, training: Sequence[Anatomy], device: torch.device, seed: int) -> None:
        """Take from the training patients what all examples share (e.g. a standard brightness)."""
        ...

    def batch(self, draws: Sequence[Draw]) -> Any:
        """Make examples, on the device."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Mean loss over a batch."""
        ...

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        """Judge a network on fixed cases."""
        ...

    def conventions(self) -> Mapping[str, Any]:
        """What the corrector must know to use the network: `inputs` of the weights package."""
        ...
