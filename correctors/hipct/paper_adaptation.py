"""Method `paper`, fitted on to a patient (near-hip paper, first scenario), from the shipped weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from correctors.common.attenuation import hu_to_attenuation
from correctors.common.fitting import FittingPlan
from correctors.hipct.adaptation import PatientSlices
from correctors.hipct.inpainting import BESIDE_TRACE, Inpainting, largest_undisturbed, widened
from correctors.hipct.scene import Scene, make_scene
from correctors.hipct.trace import trace_of
from dicom_node.contracts import BoolArray, FloatArray
from simulation.crude_metal import crude_metal, fill_trace

EXAMPLES, JUDGED = 64, 12
BATCH = 4
BEYOND_PIXELS = 2
_MASK_FROM = 0.5


@dataclass(frozen=True, eq=False)
class FilledSinogram:
    """One example on the working grid, (1, angle, detector): trace filled, as measured, and what it was filled with."""

    filled: Tensor
    clean: Tensor
    level: Tensor


@dataclass(frozen=True, eq=False)
class ScannedSlice:
    """A slice with the crude artefacts of an implant, and what it was without.

    Attributes:
        scene: of the one slice.
        wanted: (y, x) [HU].
        beyond: bool (y, x), voxels that are judged.
    """

    scene: Scene
    wanted: FloatArray
    beyond: BoolArray


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

    def examples(self, patient: PatientSlices, *, held_out: bool) -> Sequence[FilledSinogram | ScannedSlice]:
        """Clean slices with the patient's perturbed masks: filled sinograms to fit, whole images to judge by."""
        made: list[FilledSinogram | ScannedSlice] = []
        for number in range(JUDGED if held_out else EXAMPLES):
            hu, share = patient.draw(np.random.default_rng([patient.seed, int(held_out), number]))
            mask = share >= _MASK_FROM
            if mask.any():
                made.append(self._scanned(patient, hu, mask) if held_out else self._filled(patient, hu, mask))
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
        # Four sinograms are too few to normalise by: the statistics of training hold on, as when it corrects.
        network.eval()
        scale = self.method.conventions.scale
        difference = (self.method.inpainted(network, batch.filled, batch.level) - batch.clean) / scale
        trace = (batch.filled == batch.level).to(difference.dtype)
        squared: Tensor = (difference.square() * trace).sum(dim=(1, 2)) / trace.sum(dim=(1, 2)).clamp(min=1)
        return squared.mean()

    def error(self, network: nn.Module, examples: Sequence[ScannedSlice]) -> float:
        """Of corrected images beyond two voxels from metal [HU]: better sinograms can still make worse images."""
        method = self.method.with_network(network)
        squares = []
        for example in examples:
            with torch.no_grad():
                image = method(example.scene)[0].cpu().numpy()
            squares.append(float(np.mean((image - example.wanted)[example.beyond] ** 2, dtype=np.float64)))
        return float(np.sqrt(np.mean(squares)))

    def _filled(self, patient: PatientSlices, hu: FloatArray, mask: BoolArray) -> FilledSinogram:
        projector, grid = patient.projector, self.method.conventions.grid
        image = torch.from_numpy(hu[None]).to(self._device)
        sinogram = projector.forward(hu_to_attenuation(image)) * self.method.factor
        trace = trace_of(projector.forward(torch.from_numpy(mask[None].astype(np.float32)).to(self._device)))
        pixel_mm = projector.geometry.pixel_mm
        measured, lost = grid.sample_measured(sinogram, widened(trace, BESIDE_TRACE), pixel_mm)
        level = largest_undisturbed(measured, lost)
        return FilledSinogram(fill_trace(measured, lost, level), grid.sample(sinogram, pixel_mm), level)

    def _scanned(self, patient: PatientSlices, hu: FloatArray, mask: BoolArray) -> ScannedSlice:
        projector = patient.projector
        image, metal = (torch.from_numpy(values[None]).to(self._device) for values in (hu, mask))
        artefact = crude_metal(image, metal, projector)[0].cpu().numpy()
        scene = make_scene(projector, str(self._device), [artefact], [mask], projector.geometry.pixel_mm)
        return ScannedSlice(scene, hu, ~ndimage.binary_dilation(mask, np.ones((3, 3), bool), BEYOND_PIXELS))
