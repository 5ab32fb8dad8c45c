"""Method `paper`, fitted on to a patient (near-hip paper, first scenario), from the shipped weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from correctors.common.attenuation import hu_to_attenuation
from correctors.common.fitting import FittingPlan
from correctors.hipct.adaptation import PatientSlices
from correctors.hipct.inpainting import BESIDE_TRACE, Inpainting, largest_undisturbed, widened
from correctors.hipct.trace import trace_of
from simulation.crude_metal import fill_trace

EXAMPLES, JUDGED = 64, 12
BATCH = 4
_MASK_FROM = 0.5


@dataclass(frozen=True, eq=False)
class FilledSinogram:
    """One example on the working grid, (1, angle, detector): trace filled, as measured, and what it was filled with."""

    filled: Tensor
    clean: Tensor
    level: Tensor


class PaperAdaptation:
    """See `correctors.hipct.adaptation.Adaptable`.

    Attributes:
        method: the method, with the network as it is now.
        plan: at a tenth of the rate of training.
    """

    plan = FittingPlan(steps=200, learning_rate=5e-4, warmup_steps=10, final_share=0.1, ema=0.95)

    def __init__(self, method: Inpainting, device: str) -> None:
        self.method = method
        self._device = torch.device(device)

    @property
    def network(self) -> nn.Module:
        """The sinogram network."""
        return self.method.network

    def with_network(self, network: nn.Module) -> Self:
        """With another network."""
        return type(self)(self.method.with_network(network), str(self._device))

    def examples(self, patient: PatientSlices, *, held_out: bool) -> Sequence[FilledSinogram]:
        """Sinograms of clean slices, traces of the patient's perturbed masks filled with the largest value."""
        made = []
        for number in range(JUDGED if held_out else EXAMPLES):
            hu, share = patient.draw(np.random.default_rng([patient.seed, int(held_out), number]))
            if (share >= _MASK_FROM).any():
                made.append(self._example(patient, hu, share >= _MASK_FROM))
        return made

    def batch(self, examples: Sequence[FilledSinogram], rng: np.random.Generator) -> FilledSinogram:
        """Whole sinograms."""
        chosen = [examples[int(rng.integers(len(examples)))] for _ in range(BATCH)]
        return FilledSinogram(
            torch.cat([one.filled for one in chosen]),
            torch.cat([one.clean for one in chosen]),
            torch.cat([one.level for one in chosen]),
        )

    def loss(self, network: nn.Module, batch: FilledSinogram) -> Tensor:
        """Mean squared error in the trace [scaled line integrals]."""
        scale = self.method.conventions.scale
        difference = (self.method.inpainted(network, batch.filled, batch.level) - batch.clean) / scale
        trace = (batch.filled == batch.level).to(difference.dtype)
        squared: Tensor = (difference.square() * trace).sum(dim=(1, 2)) / trace.sum(dim=(1, 2)).clamp(min=1)
        return squared.mean()

    def error(self, network: nn.Module, examples: Sequence[FilledSinogram]) -> float:
        """Root mean square error in the trace [line integral]."""
        with torch.no_grad():
            losses = [float(self.loss(network, example)) for example in examples]
        return float(np.sqrt(np.mean(losses))) * self.method.conventions.scale

    def _example(self, patient: PatientSlices, hu: np.ndarray, mask: np.ndarray) -> FilledSinogram:
        projector, grid = patient.projector, self.method.conventions.grid
        image = torch.from_numpy(hu[None]).to(self._device)
        sinogram = projector.forward(hu_to_attenuation(image)) * self.method.factor
        trace = trace_of(projector.forward(torch.from_numpy(mask[None].astype(np.float32)).to(self._device)))
        pixel_mm = projector.geometry.pixel_mm
        measured, lost = grid.sample_measured(sinogram, widened(trace, BESIDE_TRACE), pixel_mm)
        level = largest_undisturbed(measured, lost)
        return FilledSinogram(fill_trace(measured, lost, level), grid.sample(sinogram, pixel_mm), level)
