"""Learn what metal leaves in a CT slice, from slices scanned with random hip implants by polychromatic physics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from correctors.hipct.artefact_loss import (
    ArtefactBatch,
    Crop,
    Weighting,
    artefact_loss,
    evidence_of,
    lost_share,
    near_metal,
    scene_of,
    stacked,
)
from correctors.hipct.best import INPUTS, PASSES, corrected
from correctors.hipct.evidence import Evidence
from correctors.hipct.examples import Example
from correctors.hipct.scene import Restored
from dicom_node.contracts import Units, Volume
from dicom_node.errors import InputError
from simulation.phantoms import make_pelvis
from simulation.projector import ParallelGeometry, ParallelProjector
from training.anatomy import Anatomy
from training.task import Draw, Picture, Tried
from training.tasks.ct_slices import NearHipSlices
from training.tasks.implanted_scenes import CORRECTOR_ANGLES, ImplantedScenes, TwinScenes

SHOWN_HU = (-200.0, 300.0)
NEAR_PIXELS = 2
"""Figures `beyond` leave out so many pixels around metal."""
_PROCEDURAL_SLICES = 5
_PROCEDURAL_SPACING_MM = 16.0
_PICTURES = 4
_METAL = 128
"""Share of metal from which a voxel is not judged, of 255."""


class ImplantArtefacts(NearHipSlices):
    """The task; see `training.task.Task`."""

    def __init__(
        self,
        side: int = 448,
        pixel_mm: float = 1.0,
        crop: int = 288,
        scenes_per_patient: int = 24,
        scenes_per_slice: int = 4,
        near_metal_share: float = 0.6,
        again_from: int = 0,
        again_share: float = 0.5,
        lesion_weight: float = 0.0,
        balance: float = 0.0,
    ) -> None:
        """Choose sizes.

        Args:
            side: pixels along each side of prepared slices; a multiple of 32.
            pixel_mm: their pixel size [mm].
            crop: pixels along each side of a training example; a multiple of 32.
            scenes_per_patient: scans that are simulated of each patient, at least.
            scenes_per_slice: so many more for each slice.
            near_metal_share: of the crops that lie about the metal; the others lie anywhere.
            again_from: number of the first example of the second pass: it is worth little before the first one is good.
            again_share: of the examples from there on that are of the second pass, which starts from the network's own
                first result.
            lesion_weight: of what becomes of lesions. Above 0 each example brings its twin without lesions.
            balance: see `artefact_loss.Weighting`.
        """
        if side % 32 or crop % 32 or crop > side or min(side, crop) <= 0:
            raise ValueError("side and crop must be multiples of 32, and crop not larger than side")
        if pixel_mm <= 0 or scenes_per_patient < 1 or scenes_per_slice < 0:
            raise ValueError("pixel_mm and scenes_per_patient must be positive, scenes_per_slice not negative")
        if min(near_metal_share, again_share, lesion_weight, balance) < 0:
            raise ValueError("shares and weights must be 0 or more")
        super().__init__(side, pixel_mm)
        self._crop = crop
        self._each, self._per_slice = scenes_per_patient, scenes_per_slice
        self._again_from = again_from
        self._near_share, self._again_share = near_metal_share, again_share
        self._weighting = Weighting(lesion_weight, balance)
        self._device = torch.device("cpu")

    def procedural(self, seed: int) -> Mapping[str, NDArray[Any]]:
        """A synthetic pelvis on the grid."""
        pelvis = make_pelvis(
            seed=seed,
            slices=_PROCEDURAL_SLICES,
            n_pixels=self._side,
            pixel_mm=self._pixel_mm,
            spacing_mm=_PROCEDURAL_SPACING_MM,
        )
        return self.prepare(Volume(pelvis.hu, Units.HU, pelvis.geometry))

    def begin(self, training: Sequence[Anatomy], device: torch.device, seed: int) -> None:
        """Take the seed; scenes are simulated when they are first drawn.

        Raises:
            InputError: no training patient has a hip.
        """
        if not any(len(a.arrays["sites_mm"]) for a in training):
            raise InputError("no metal can be placed in the training patients: none has a hip on the grid")
        self._device = device
        twins = self._weighting.lesions > 0
        self._scenes = ImplantedScenes(self._side, self._pixel_mm, seed, device, twins=twins)
        self._projector = ParallelProjector(ParallelGeometry(self._side, self._pixel_mm, CORRECTOR_ANGLES), str(device))

    def batch(self, draws: Sequence[Draw]) -> ArtefactBatch:
        """Crops of scenes, mirrored and turned at random; all their twins follow."""
        scenes = [self._scene(draw) for draw in draws]
        examples = [scene.with_lesions for scene in scenes]
        crops = [self._crop_of(example, draw) for example, draw in zip(examples, draws, strict=True)]
        if not self._weighting.lesions:
            return stacked(examples, crops, self._device)
        return stacked(examples + [scene.without for scene in scenes], crops * 2, self._device, twins=True)

    def loss(self, network: nn.Module, batch: ArtefactBatch) -> Tensor:
        """See `artefact_loss`."""
        return artefact_loss(network, batch, self._projector, self._weighting)

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        """Root mean square of what is left of the artefact, against the same acquisition without metal [HU].

        The score is how much smaller it is than that of the estimate that the network starts from (normalised
        interpolation with the metal put back), as the mean over cases of minus the logarithm of their ratio.
        """
        sums: dict[str, list[float]] = {}
        pictures = []
        for number, draw in enumerate(draws):
            twins = self._scene(draw)
            example = twins.with_lesions
            evidence, results = self._tried(network, example)
            if self._weighting.lesions:
                other = self._tried(network, twins.without)[1][f"network{PASSES}"]
                response = results[f"network{PASSES}"].images - other.images
                lesions = torch.from_numpy((example.wanted - twins.without.wanted)[None]).to(response)
                judged = torch.from_numpy(np.maximum(example.share, twins.without.share)[None] < _METAL).to(response)
                sums.setdefault("lesions_lost", []).append(float(lost_share(response, lesions, judged)))
            images = {
                "uncorrected": evidence.slices,
                "estimate": evidence.base,
                **{name: torch.where(one.metal, evidence.slices, one.images) for name, one in results.items()},
            }
            metal = example.share >= _METAL
            beyond = ~ndimage.binary_dilation(metal, np.ones((3, 3), bool), iterations=NEAR_PIXELS)
            for name, image in images.items():
                error = image[0].cpu().numpy() - example.wanted
                for where, mask in (("outside", ~metal), ("beyond", beyond)):
                    sums.setdefault(f"excess_{name}_{where}_hu", []).append(float(np.sqrt(np.mean(error[mask] ** 2))))
            if number < _PICTURES:
                shown = {name: image[0].cpu().numpy() for name, image in images.items()}
                shown["wanted"] = example.wanted.astype(np.float32)
                pictures.append(Picture(f"case {number}, {SHOWN_HU[0]:g} to {SHOWN_HU[1]:g} HU", shown, SHOWN_HU))
        gains = [
            math.log(before / max(after, 1e-3))
            for where in ("outside", "beyond")
            for before, after in zip(
                sums[f"excess_estimate_{where}_hu"], sums[f"excess_network{PASSES}_{where}_hu"], strict=True
            )
        ]
        figures = {name: float(np.mean(values)) for name, values in sums.items()}
        return Tried(float(np.mean(gains)) - figures.get("lesions_lost", 0.0), figures, tuple(pictures))

    def _tried(self, network: nn.Module, example: Example) -> tuple[Evidence, Mapping[str, Restored]]:
        """What the network sees, and its results by number of passes."""
        evidence = evidence_of([example], self._device)
        scene = scene_of(evidence, self._projector)
        with torch.no_grad():
            results = {f"network{n}": corrected(network, scene, evidence, n) for n in range(1, PASSES + 1)}
        return evidence, results

    def conventions(self) -> Mapping[str, Any]:
        """What the network's images are."""
        return dict(INPUTS)

    def _scene(self, draw: Draw) -> TwinScenes:
        count = self._each + self._per_slice * draw.anatomy.frames
        return self._scenes.twin_scenes(draw.anatomy, int(draw.rng.integers(count)))

    def _crop_of(self, example: Example, draw: Draw) -> Crop:
        rng = draw.rng
        if rng.random() < self._near_share:
            middle = near_metal(example, self._crop, rng)
        else:
            middle = rng.uniform(0, self._side, 2)
        turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)
        again = bool(rng.random() < self._again_share) and draw.number >= self._again_from
        return Crop.about(middle, self._crop, self._side, turns=turns, mirrored=mirrored, again=again)
