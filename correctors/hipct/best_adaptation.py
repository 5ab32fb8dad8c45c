"""Method `best`, fitted on to a patient: implants like his own are scanned into clean slices of the same scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from correctors.common.fitting import FittingPlan
from correctors.hipct.adaptation import PatientSlices
from correctors.hipct.artefact_loss import (
    ArtefactBatch,
    Crop,
    artefact_loss,
    evidence_of,
    near_metal,
    scene_of,
    stacked,
)
from correctors.hipct.best import Best, corrected
from correctors.hipct.coarse import half_resolution
from correctors.hipct.examples import Example, Projectors, make_example
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V
from simulation.projector import ParallelProjector
from simulation.scanner import Acquisition

EXAMPLES, JUDGED = 40, 8
BATCH = 2
CROP = 256
BEYOND_PIXELS = 2
_MATERIALS = (COCRMO, STEEL_316L, TI6AL4V)
"""Which metal it is, nobody knows."""
_MOST_TRIES = 4


class BestAdaptation:
    """See `correctors.hipct.adaptation.Adaptable`.

    Attributes:
        method: the method, with the network as it is now.
        plan: a low rate: the shipped weights know more patients than this one.
    """

    plan = FittingPlan(steps=100, learning_rate=1e-4, warmup_steps=10, final_share=0.1, ema=0.95, clip=1.0)

    def __init__(self, method: Best, device: str) -> None:
        self.method = method
        self._device = torch.device(device)
        self._projector: ParallelProjector | None = None

    @property
    def network(self) -> nn.Module:
        """The image network."""
        return self.method.network

    def with_network(self, network: nn.Module) -> Self:
        """With another network."""
        return type(self)(self.method.with_network(network), str(self._device))

    def examples(self, patient: PatientSlices, *, held_out: bool) -> Sequence[Example]:
        """Scans of the patient's clean slices with implants as found, of random metal and dose."""
        self._projector = patient.projector
        projectors = Projectors(patient.projector, patient.projector, half_resolution(patient.projector))
        made: list[Example] = []
        for number in range(JUDGED if held_out else EXAMPLES):
            rng = np.random.default_rng([patient.seed, int(held_out), number])
            for _ in range(_MOST_TRIES):
                example = _example(patient, projectors, rng)
                if example is not None:
                    made.append(example)
                    break
        return made

    def batch(self, examples: Sequence[Example], rng: np.random.Generator) -> ArtefactBatch:
        """Crops about the metal, as they lie: the patient is not mirrored."""
        chosen = [examples[int(rng.integers(len(examples)))] for _ in range(BATCH)]
        return stacked(chosen, [_crop(example, rng) for example in chosen], self._device)

    def loss(self, network: nn.Module, batch: ArtefactBatch) -> Tensor:
        """As in training."""
        return artefact_loss(network, batch, self._grid())

    def error(self, network: nn.Module, examples: Sequence[Example]) -> float:
        """What is left of the artefact beyond two voxels from metal [HU]."""
        squares = []
        for example in examples:
            evidence = evidence_of([example], self._device)
            with torch.no_grad():
                restored = corrected(network, scene_of(evidence, self._grid()), evidence)
            beyond = example.away > 4 * BEYOND_PIXELS
            error = restored.images[0].cpu().numpy()[beyond] - example.wanted[beyond]
            squares.append(float(np.mean(error**2, dtype=np.float64)))
        return float(np.sqrt(np.mean(squares)))

    def _grid(self) -> ParallelProjector:
        assert self._projector is not None  # examples come first
        return self._projector


def _example(patient: PatientSlices, projectors: Projectors, rng: np.random.Generator) -> Example | None:
    hu, share = patient.draw(rng)
    photons = float(10 ** rng.uniform(6.3, 7.3))
    return make_example(
        hu,
        {_MATERIALS[int(rng.integers(len(_MATERIALS)))]: share},
        projectors=projectors,
        acquisition=Acquisition(photons=photons, scatter_counts=photons * float(10 ** rng.uniform(-6.5, -5.5))),
        window="ram-lak",
        fan=False,
        seed=int(rng.integers(2**31)),
    )


def _crop(example: Example, rng: np.random.Generator) -> Crop:
    side = example.slices.shape[0]
    size = min(CROP, side // 32 * 32)
    middle, again = near_metal(example, size, rng), bool(rng.random() < 0.5)
    return Crop.about(middle, size, side, turns=0, mirrored=False, again=again)
