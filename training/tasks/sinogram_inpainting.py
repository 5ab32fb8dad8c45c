"""Learn to inpaint the filled metal trace of a sinogram, from slices near the hip (near-hip paper, section II-A)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from correctors.common.attenuation import AIR_HU, attenuation_to_hu_change, hu_to_attenuation
from correctors.hipct.brightness import brightness_factor, brightness_of
from correctors.hipct.inpainting import Conventions, inpaint, largest_undisturbed
from correctors.hipct.nmar import divided_interpolation, segmented_prior
from correctors.hipct.trace import interpolate
from correctors.hipct.working_grid import WorkingGrid
from dicom_node.contracts import Units, Volume
from dicom_node.errors import InputError
from simulation.crude_metal import fill_trace, metal_trace
from simulation.phantoms import make_pelvis
from simulation.projector import ParallelGeometry, ParallelProjector
from training.anatomy import Anatomy
from training.task import Draw, Picture, Tried
from training.tasks.ct_slices import NearHipSlices
from training.tasks.perturbed_masks import PerturbedMasks, hip_masks, inserted_circles

JUDGED_HU = (-1000.0, 1604.0)
"""PSNR's range, 2604 HU, as in the literature that the paper is compared with."""
SHOWN_HU = (-200.0, 300.0)
HIP_MM = 16.0
"""Slices so near the femoral heads' centres are the hip; the paper judged eleven."""
_PROCEDURAL_SLICES = 9
_PROCEDURAL_SPACING_MM = 18.0
_PICTURES = 3


@dataclass(frozen=True, eq=False)
class Sinograms:
    """A batch on the device.

    Attributes:
        filled: sinograms with filled trace (batch, angle, detector), dimensionless.
        clean: the same without metal.
        level: what the traces are filled with (batch, 1, 1).
    """

    filled: Tensor
    clean: Tensor
    level: Tensor


@dataclass(frozen=True, eq=False)
class _Metal:
    """One mask, bool (1, y, x), with its trace, bool (1, angle, detector)."""

    voxels: Tensor
    trace: Tensor


@dataclass(frozen=True, eq=False)
class _Scan:
    """One slice with crude metal: sinogram with filled trace, clean sinogram, fill (1, 1, 1), trace; mask (1, y, x)."""

    filled: Tensor
    clean: Tensor
    level: Tensor
    trace: Tensor
    metal: Tensor


class SinogramInpainting(NearHipSlices):
    """The task; see `training.task.Task`."""

    def __init__(
        self,
        side: int = 128,
        pixel_mm: float = 4.0,
        n_angles: int = 80,
        detectors: int = 141,
        crop_angles: int = 80,
        scale: float = 4.0,
        diameters_mm: tuple[float, float] = (10.0, 36.0),
        masks: int = 1000,
        brightness_jitter: float = 0.05,
        replaced: Literal["all", "trace"] = "all",
        near_slices: int = 0,
    ) -> None:
        """Choose the working grid and the augmentation.

        Args:
            side: pixels along each side of the working grid.
            pixel_mm: its pixel size, also the detector spacing of the network's sinograms [mm].
            n_angles: angles over 180 degrees; even.
            detectors: detectors of training sinograms; a patient must fit, the corners of the grid need not.
            crop_angles: neighbouring angles of one training example.
            scale: line integrals are divided by this.
            diameters_mm: smallest and largest inserted circle [mm].
            masks: perturbed masks in the bank.
            brightness_jitter: spread of a random factor on each example.
            replaced: which rays the corrector takes from the network; see `Conventions`.
            near_slices: the paper's first scenario: learn from so many slices above and below the hip, be tried on the
                slices of the hip itself; 0 draws from all.
        """
        super().__init__(side, pixel_mm)
        if replaced not in ("all", "trace"):
            raise ValueError(f"replaced must be all or trace, got {replaced!r}")
        if min(scale, pixel_mm) <= 0 or masks < 1 or near_slices < 0 or crop_angles < 1 or min(diameters_mm) <= 0:
            raise ValueError("scale, pixel_mm, masks, crop_angles and diameters_mm must be positive")
        self._geometry = ParallelGeometry(side, pixel_mm, n_angles, detectors)
        self._grid = WorkingGrid(pixel_mm, n_angles)
        self._crop = min(crop_angles, n_angles)
        self._scale = scale
        self._diameters_mm = (float(diameters_mm[0]), float(diameters_mm[1]))
        self._mask_count = masks
        self._jitter = brightness_jitter
        self._replaced = replaced
        self._near = near_slices
        self._standard: tuple[float, ...] = ()
        self._device = torch.device("cpu")

    def procedural(self, seed: int) -> Mapping[str, NDArray[Any]]:
        """A synthetic pelvis on the working grid."""
        pelvis = make_pelvis(
            seed=seed, slices=_PROCEDURAL_SLICES, n_pixels=320, pixel_mm=1.5, spacing_mm=_PROCEDURAL_SPACING_MM
        )
        return self.prepare(Volume(pelvis.hu, Units.HU, pelvis.geometry))

    def begin(self, training: Sequence[Anatomy], device: torch.device, seed: int) -> None:
        """Take the standard brightness (mean over the patients) and the bank of masks from the training patients.

        Raises:
            InputError: no metal could be inserted into any of them.
        """
        self._device = device
        self._projector = ParallelProjector(self._geometry, str(device))
        each = [brightness_of(a.arrays["frames"].astype(np.float32)) for a in training]
        self._standard = tuple(float(q) for q in np.mean([q for q in each if q], axis=0))
        self._factors: dict[str, float] = {}
        originals = hip_masks(
            training, self._projector, count=32, diameters_mm=self._diameters_mm, seed=seed, device=device
        )
        if not originals:
            raise InputError("no metal could be placed in the training patients: none has a hip on the working grid")
        self._masks = PerturbedMasks(originals, self._mask_count, seed, self._pixel_mm)
        self._metals: dict[int, _Metal] = {}
        self._cleans: dict[tuple[str, int, bool], Tensor] = {}

    def batch(self, draws: Sequence[Draw]) -> Sinograms:
        """Overlay a random perturbed mask on a random slice, project, fill the trace with the largest value."""
        filled, clean, level = [], [], []
        with torch.no_grad():
            for draw in draws:
                scan = self._scan(draw, near_frames(draw.anatomy, self._near))
                first = int(draw.rng.integers(self._grid.n_angles))
                factor = 1 + self._jitter * float(draw.rng.normal())
                filled.append(self._cropped(scan.filled, first) * factor)
                clean.append(self._cropped(scan.clean, first) * factor)
                level.append(scan.level * factor)
        return Sinograms(torch.cat(filled), torch.cat(clean), torch.cat(level))

    def loss(self, network: nn.Module, batch: Sinograms) -> Tensor:
        """Mean squared error over the rays that the corrector takes from the network [dimensionless, scaled]."""
        filled, clean = ((values - batch.level) / self._scale for values in (batch.filled, batch.clean))
        out = network(filled[:, None].contiguous(memory_format=torch.channels_last))
        squared: Tensor = (out[:, 0].float() - clean).square()
        if self._replaced == "all":
            return squared.mean()
        trace: Tensor = (filled == 0).to(squared.dtype)
        # Each example counts alike, so that a batch in parts has the gradient of the whole.
        return ((squared * trace).sum(dim=(1, 2)) / trace.sum(dim=(1, 2)).clamp(min=1)).mean()

    def trial(self, network: nn.Module, draws: Sequence[Draw]) -> Tried:
        """PSNR outside metal over 2604 HU, beside no correction, LI and NMAR.

        Everything happens on the working grid, in the paper's own frame: filled sinogram in, filtered back-projection
        out, against that of the clean sinogram; brightness undone. The metal is circles that no training mask was made
        of, at the patient's own hips; where it lies is known.
        """
        decibels: dict[str, list[float]] = {}
        pictures = []
        conventions = self._conventions()
        for number, draw in enumerate(draws):
            with torch.no_grad():
                scan = self._tried_scan(draw)
                inpainted = inpaint(network, scan.filled, scan.level, conventions, _reach(network))
                rays = {
                    "uncorrected": scan.filled,
                    "li": interpolate(scan.filled, scan.trace),
                    "nmar": self._normalised(scan, self._factor(draw.anatomy)),
                    # A network that was only judged on the trace knows nothing of other rays.
                    **({"all_rays": inpainted} if self._replaced == "all" else {}),
                    "trace_only": torch.where(scan.trace, inpainted, scan.filled),
                }
                factor = self._factor(draw.anatomy)
                truth = self._reconstruct(scan.clean / factor)
                images = {name: self._reconstruct(sinogram / factor) for name, sinogram in rays.items()}
            for name, image in images.items():
                decibels.setdefault(name, []).append(_psnr(image, truth, ~scan.metal))
            if number < _PICTURES:
                shown = {**images, "truth": truth}
                title = f"case {number}, {SHOWN_HU[0]:g} to {SHOWN_HU[1]:g} HU"
                pictures.append(Picture(title, {n: i[0].cpu().numpy() for n, i in shown.items()}, SHOWN_HU))
        figures = {f"psnr_{name}_db": float(np.mean(values)) for name, values in decibels.items()}
        score = figures["psnr_all_rays_db" if self._replaced == "all" else "psnr_trace_only_db"]
        return Tried(score, figures, tuple(pictures))

    def conventions(self) -> Mapping[str, Any]:
        """Grid, scale, standard brightness and what is replaced."""
        return self._conventions().as_mapping()

    def _conventions(self) -> Conventions:
        return Conventions(self._grid, self._scale, self._standard, self._replaced)

    def _scan(self, draw: Draw, frames: NDArray[np.intp]) -> _Scan:
        anatomy, rng = draw.anatomy, draw.rng
        frame = int(rng.choice(frames))
        metal = self._metal(int(rng.integers(len(self._masks))))
        mirrored = bool(rng.random() < 0.5)
        clean = self._clean(anatomy, frame, mirrored)
        # The paper reconstructs the filled sinogram and projects it once more; this does not, so that rays beside the
        # trace are cleaner here than in the node.
        level = largest_undisturbed(clean, metal.trace)
        return _Scan(fill_trace(clean, metal.trace, level), clean, level, metal.trace, metal.voxels)

    def _tried_scan(self, draw: Draw) -> _Scan:
        """A slice with freshly inserted circles."""
        anatomy, rng = draw.anatomy, draw.rng
        frame = int(rng.choice(hip_frames(anatomy, self._near)))
        shape = anatomy.arrays["frames"].shape[1:]
        circles = inserted_circles(anatomy.arrays["sites_mm"], shape, self._pixel_mm, self._diameters_mm, rng)
        metal = torch.from_numpy(circles[None]).to(self._device)
        trace = metal_trace(metal, self._projector)
        clean = self._clean(anatomy, frame, False)
        level = largest_undisturbed(clean, trace)
        return _Scan(fill_trace(clean, trace, level), clean, level, trace, metal)

    def _metal(self, number: int) -> _Metal:
        """A mask of the bank with its trace; each is projected once."""
        if number not in self._metals:
            voxels = torch.from_numpy(self._masks.mask(number)[None]).to(self._device)
            self._metals[number] = _Metal(voxels, metal_trace(voxels, self._projector))
        return self._metals[number]

    def _clean(self, anatomy: Anatomy, frame: int, mirrored: bool) -> Tensor:
        """Sinogram of a slice at the standard brightness; each is projected once."""
        key = anatomy.digest, frame, mirrored
        if key not in self._cleans:
            hu = anatomy.arrays["frames"][frame].astype(np.float32)
            image = torch.from_numpy(np.ascontiguousarray(hu[:, ::-1] if mirrored else hu)[None]).to(self._device)
            self._cleans[key] = self._projector.forward(hu_to_attenuation(image) * self._factor(anatomy))
        return self._cleans[key]

    def _cropped(self, sinogram: Tensor, first: int) -> Tensor:
        """Neighbouring angles from `first` on; beyond 180 degrees the sinogram goes on, the other way round."""
        over = first + self._crop - sinogram.shape[1]
        if over <= 0:
            return sinogram[:, first : first + self._crop]
        return torch.cat([sinogram[:, first:], sinogram[:, :over].flip(-1)], dim=1)

    def _factor(self, anatomy: Anatomy) -> float:
        if anatomy.digest not in self._factors:
            own = brightness_of(anatomy.arrays["frames"].astype(np.float32))
            self._factors[anatomy.digest] = brightness_factor(own, self._standard)
        return self._factors[anatomy.digest]

    def _normalised(self, scan: _Scan, factor: float) -> Tensor:
        """The trace by NMAR, as the corrector's method of that name does, at the patient's own brightness."""
        own = scan.filled / factor
        first = self._reconstruct(interpolate(own, scan.trace))
        expected = self._projector.forward(hu_to_attenuation(segmented_prior(first, scan.metal)))
        filled = divided_interpolation(own, scan.trace, expected)
        return torch.where(scan.trace, filled * factor, scan.filled)

    def _reconstruct(self, sinograms: Tensor) -> Tensor:
        return attenuation_to_hu_change(self._projector.fbp(sinograms)) + AIR_HU


def hip_frames(anatomy: Anatomy, near_slices: int) -> NDArray[np.intp]:
    """Frames at the femoral heads; all frames where `near_slices` is 0."""
    if near_slices == 0:
        return np.arange(anatomy.frames)
    distance = np.abs(anatomy.arrays["frames_offset_mm"])
    return np.flatnonzero(distance <= max(HIP_MM, float(distance.min())))


def near_frames(anatomy: Anatomy, near_slices: int) -> NDArray[np.intp]:
    """The `near_slices` frames next above and next below the hip; all frames where that is 0.

    Raises:
        InputError: the series has no slice beside the hip.
    """
    if near_slices == 0:
        return np.arange(anatomy.frames)
    offset = anatomy.arrays["frames_offset_mm"]
    at_hip = offset[hip_frames(anatomy, near_slices)]
    above = [k for k in np.argsort(offset) if offset[k] > at_hip.max()][:near_slices]
    below = [k for k in np.argsort(-offset) if offset[k] < at_hip.min()][:near_slices]
    if not above and not below:
        raise InputError(f"series {anatomy.series} has no slice beside the hip to learn from")
    return np.asarray(below + above, dtype=np.intp)


def _reach(network: nn.Module) -> int:
    inner = getattr(network, "module", network)
    return int(getattr(inner, "reach", (0, 0))[0])


def _psnr(image_hu: Tensor, truth_hu: Tensor, where: Tensor) -> float:
    low, high = JUDGED_HU
    error = (image_hu.clamp(low, high) - truth_hu.clamp(low, high))[where]
    return 10 * math.log10((high - low) ** 2 / max(float(error.double().square().mean()), 1e-12))
