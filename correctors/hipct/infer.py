"""The hip CT corrector: finds metal, refuses what it must not touch, corrects slice by slice, puts metal back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from correctors.common.attenuation import AIR_HU
from correctors.common.device import resolve_device
from correctors.common.weights import package_digest
from correctors.hipct import harm, refusals
from correctors.hipct.adaptation import PatientSlices, adapt, nearest_clean
from correctors.hipct.best import Best
from correctors.hipct.best_adaptation import BestAdaptation
from correctors.hipct.body import body_mask
from correctors.hipct.classical import Classical
from correctors.hipct.inpainting import Inpainting
from correctors.hipct.li import linear
from correctors.hipct.nmar import normalised
from correctors.hipct.paper_adaptation import PaperAdaptation
from correctors.hipct.report import Kept, no_metal_reason, warnings_of
from correctors.hipct.scene import Restored, Scene, make_scene, window
from correctors.hipct.segmentation import Segmentation, segment
from correctors.hipct.starvation import is_starved
from dicom_node.contracts import (
    BoolArray,
    Correction,
    CorrectionRefused,
    Corrector,
    FloatArray,
    Mask,
    ParameterMap,
    ParameterValue,
    Units,
    Volume,
)
from dicom_node.errors import RequestError, WeightsError
from simulation.projector import ParallelGeometry, ParallelProjector

Method = Callable[[Scene], Tensor | Restored]
"""Corrected images, metal not put back; or with the metal as the method has it."""
CLASSICAL: Mapping[str, Callable[[], Method]] = {
    "li": lambda: linear,
    "nmar": lambda: normalised,
    "classical": Classical,
}
SEGMENTATION_OF = {"paper": "kmeans"}
"""How metal is found where the route leaves it to the method; a threshold for those that are not here."""
SLICES_AT_ONCE = {"cpu": 2, "cuda": 8}
"""Bounds the memory: a slice of 512 x 512 has a sinogram of 2 MB, and a method holds a dozen; a GPU wants more work."""
QUIET_SLICES = 4
"""In which the noise of a series is measured."""
NO_VALUE_HU = -1900.0
"""No reconstruction holds so low a value; scanners write -2000, -2048 or -3024 outside the circle [HU]."""


def build(*, method: str, weights: Path | None, device: str, parameters: Mapping[str, ParameterValue]) -> Corrector:
    """Build the corrector; see `dicom_node.contracts.CorrectorFactory`.

    Args:
        method: `li`, `nmar`, `classical`, `best` or `paper`.
        weights: package of `best` or `paper`; the others have none.
        device: `auto`, `cpu` or `cuda[:n]`.
        parameters: those of `correctors.hipct.plugin.SPEC`.

    Returns:
        The corrector.

    Raises:
        WeightsError: the method needs weights and got none, or ones of another architecture.
        RequestError: weights are to be adapted, and the method has none.
    """
    on = resolve_device(device)
    chosen: Method
    if method in CLASSICAL:
        if weights is not None:
            raise WeightsError(f"hipct/{method} has no weights: name a method that has, with --method")
        chosen = CLASSICAL[method]()
    elif weights is None:
        raise WeightsError(f"hipct/{method} needs a weights package, and none is installed: train one")
    else:
        chosen = Best.load(weights, on) if method == "best" else Inpainting.load(weights, on)
    wanted = str(parameters["segmentation"])
    adapt_from = ""
    if parameters["adapt"] == "patient":
        if weights is None:
            raise RequestError(
                f"hipct/{method} has no weights that could be adapted: leave out adapt, or name a method that has"
            )
        adapt_from = package_digest(weights)
    return HipCt(
        method=chosen,
        device=on,
        segmentation=SEGMENTATION_OF.get(method, "threshold") if wanted == "auto" else wanted,
        metal_threshold_hu=float(parameters["metal_threshold_hu"]),
        smallest_implant_mm2=float(parameters["smallest_implant_mm2"]),
        n_angles=int(parameters["n_angles"]),
        adapt_from=adapt_from,
    )


@dataclass(frozen=True, eq=False)
class _Done:
    """One corrected slice: (y, x) [HU], its metal, and whether it was kept as it was because correction did no good."""

    pixels: FloatArray
    metal: BoolArray
    harmful: bool


@dataclass(frozen=True, eq=False)
class _Used:
    """The method that corrects a series, and what the report says of it."""

    method: Method
    sentences: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    adapted_sha256: str = ""


class HipCt:
    """Metal artefact reduction on one device; keeps the projector of the last geometry."""

    def __init__(
        self,
        *,
        method: Method,
        device: str,
        segmentation: str,
        metal_threshold_hu: float,
        smallest_implant_mm2: float,
        n_angles: int,
        adapt_from: str = "",
    ) -> None:
        """Hold what does not change between series.

        Args:
            method: maps a `Scene` to corrected images.
            device: torch device string.
            segmentation: `threshold` or `kmeans`.
            metal_threshold_hu: lowest value of metal [HU].
            smallest_implant_mm2: smallest cross-section of an implant [mm2].
            n_angles: projection angles over 180 degrees.
            adapt_from: SHA-256 of the weights package that is fitted on to each patient; empty: used as it is.
        """
        self._method = method
        self._device = device
        self._segmentation = segmentation
        self._threshold_hu = metal_threshold_hu
        self._smallest_mm2 = smallest_implant_mm2
        self._n_angles = n_angles + -n_angles % 4
        self._adapt_from = adapt_from
        self._projector: ParallelProjector | None = None

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        """Correct one CT series.

        Args:
            inputs: `ct`, axes zyx [HU].

        Returns:
            Corrected series, metal mask and change map; unchanged when there is no implant, or when every slice was
            better left as it was.

        Raises:
            CorrectionRefused: derived, reformatted, tilted or non-axial images, vendor MAR, or a patient cut by the
                field of view in every slice with metal.
        """
        volume = refusals.series_of(inputs)
        refusals.check_headers(volume)
        refusals.check_geometry(volume)
        refusals.check_pixels(volume)
        found = segment(
            volume, method=self._segmentation, threshold_hu=self._threshold_hu, smallest_mm2=self._smallest_mm2
        )
        if not found.slices:
            return Correction(changed=False, reason=no_metal_reason(found))
        padding = [_unmeasured(volume, z) for z in found.slices]
        shares = [
            refusals.cut_fraction(volume.pixels[z], body_mask(volume.pixels[z]), unmeasured)
            for z, unmeasured in zip(found.slices, padding, strict=True)
        ]
        cut = tuple(z for z, share in zip(found.slices, shares, strict=True) if share > refusals.LARGEST_CUT_FRACTION)
        if len(cut) == len(found.slices):
            raise CorrectionRefused(
                f"the field of view cuts {100 * min(shares):.0f} % or more of the patient's outline in every slice "
                f"with metal ({len(cut)}): their projections are incomplete"
            )
        whole = [gap for z, gap in zip(found.slices, padding, strict=True) if z not in cut]
        return self._assemble(volume, found.without(cut), whole, cut)

    def _assemble(
        self, volume: Volume, found: Segmentation, padding: list[BoolArray], cut: tuple[int, ...]
    ) -> Correction:
        pixels, metal = volume.pixels.copy(), found.metal.copy()
        if isinstance(self._method, Inpainting):
            self._method.begin_series(volume)
        elif isinstance(self._method, Best):
            self._method.begin_series(volume.pixels[z] for z in _quiet(found))
        used = self._adapted(volume, found)
        harmful: list[int] = []
        starved: list[int] = []
        at_once = SLICES_AT_ONCE[torch.device(self._device).type]
        for start in range(0, len(found.slices), at_once):
            batch = found.slices[start : start + at_once]
            for z, done in zip(batch, self._batch(used.method, volume, found, batch, padding[start:]), strict=True):
                pixels[z], metal[z] = done.pixels, done.metal
                if done.harmful:
                    harmful.append(z)
                elif is_starved(volume.pixels[z], done.pixels, done.metal):
                    starved.append(z)
        if len(harmful) == len(found.slices):
            return Correction(
                changed=False,
                reason=f"metal was found in {len(harmful)} slices, but no correction would surely make them better",
            )
        change = pixels - volume.pixels
        count = range(volume.pixels.shape[0])
        return Correction(
            changed=True,
            volumes={"ct": volume.with_pixels(pixels)},
            masks={"metal": Mask("ct", metal, "Metal implant")},
            maps={"change": ParameterMap("ct", change, Units.HU, "Change of CT number by the correction")},
            quality={
                "metal_voxels": tuple(float(metal[z].sum()) for z in count),
                "largest_change_hu": tuple(float(np.abs(change[z]).max()) for z in count),
                "mean_change_hu": tuple(float(change[z].mean(dtype=np.float64)) for z in count),
            },
            metrics={
                "metal_slices": float(len(found.slices)),
                "corrected_slices": float(len(found.slices) - len(harmful)),
                "metal_threshold_hu": found.threshold_hu,
                **used.metrics,
            },
            warnings=(*warnings_of(found, Kept(tuple(harmful), cut, tuple(starved))), *used.sentences),
            device=self._device.split(":")[0],
            adapted_weights_sha256=used.adapted_sha256,
        )

    def _adapted(self, volume: Volume, found: Segmentation) -> _Used:
        """The method for this series: fitted on to its slices without metal where that is asked for."""
        if not self._adapt_from or not isinstance(self._method, Best | Inpainting):
            return _Used(self._method)
        projector = self._projector_for(max(volume.pixels.shape[1:]), float(np.mean(volume.geometry.pixel_spacing_mm)))
        patient = _patient_slices(volume, found, projector)
        if isinstance(self._method, Best):
            best = adapt(BestAdaptation(self._method, self._device), patient, self._adapt_from)
            return _Used(best.method.method, best.sentences, best.metrics, best.weights_sha256)
        paper = adapt(PaperAdaptation(self._method, self._device), patient, self._adapt_from)
        return _Used(paper.method.method, paper.sentences, paper.metrics, paper.weights_sha256)

    def _batch(
        self, method: Method, volume: Volume, found: Segmentation, batch: tuple[int, ...], padding: list[BoolArray]
    ) -> list[_Done]:
        pixel_mm = float(np.mean(volume.geometry.pixel_spacing_mm))
        originals = [volume.pixels[z] for z in batch]
        scene = make_scene(
            self._projector_for(max(volume.pixels.shape[1:]), pixel_mm),
            self._device,
            [np.where(gap, np.float32(AIR_HU), one) for one, gap in zip(originals, padding, strict=False)],
            [found.metal[z] for z in batch],
            pixel_mm,
        )
        with torch.no_grad():
            made = method(scene)
        restored = made if isinstance(made, Restored) else Restored(made, scene.metal)
        corrected, metal = restored.images.cpu().numpy(), restored.metal.cpu().numpy()
        done = []
        for number, (z, original) in enumerate(zip(batch, originals, strict=True)):
            at = window(scene.projector.geometry.n_pixels, original.shape)
            one, kept = corrected[number][at], metal[number][at]
            # Nothing may leave the range of the source's values, or the derived instance could not hold it.
            one = np.clip(one, min(-1024.0, float(original.min())), max(3071.0, float(original.max())))
            one = np.where(kept | padding[number], original, one).astype(np.float32)
            region = harm.judged_region(original, one, found.metal[z], pixel_mm)
            worse = harm.is_harm(*harm.streak_levels(original, one, region, pixel_mm))
            stays = worse or number in restored.doubtful
            done.append(_Done(original, found.metal[z], True) if stays else _Done(one, kept, False))
        return done

    def _projector_for(self, side: int, pixel_mm: float) -> ParallelProjector:
        # An even side halves exactly; four divides the angles of the half-resolution projector evenly.
        geometry = ParallelGeometry(side + side % 2, pixel_mm, self._n_angles)
        if self._projector is None or self._projector.geometry != geometry:
            self._projector = None  # free the old matrices before the new ones are built
            self._projector = ParallelProjector(geometry, self._device)
        return self._projector


def _patient_slices(volume: Volume, found: Segmentation, projector: ParallelProjector) -> PatientSlices:
    """Clean slices of a series nearest to its metal, and its implants, on the projector's grid."""
    side = projector.geometry.n_pixels
    at = window(side, volume.pixels.shape[1:])
    chosen = nearest_clean(
        [z in found.slices for z in range(len(volume.pixels))],
        lambda z: not found.dense[z] and _shows_a_whole_patient(volume, z),
    )
    clean = np.full((len(chosen), side, side), np.float32(AIR_HU))
    for place, z in enumerate(chosen):
        clean[place][at] = np.where(_unmeasured(volume, z), np.float32(AIR_HU), volume.pixels[z])
    implants = np.zeros((len(found.slices), side, side), dtype=bool)
    for place, z in enumerate(found.slices):
        implants[place][at] = found.metal[z]
    return PatientSlices(clean, implants, projector)


def _shows_a_whole_patient(volume: Volume, z: int) -> bool:
    body = body_mask(volume.pixels[z])
    cut = refusals.cut_fraction(volume.pixels[z], body, _unmeasured(volume, z))
    return bool(body.any()) and cut <= refusals.LARGEST_CUT_FRACTION


def _quiet(found: Segmentation) -> list[int]:
    """A few slices without anything dense, those nearest to the metal."""
    free = np.flatnonzero(~found.dense)
    away = np.abs(free[:, None] - np.asarray(found.slices)[None]).min(axis=1)
    return [int(z) for z in free[np.argsort(away, kind="stable")][:QUIET_SLICES]]


def _unmeasured(volume: Volume, z: int) -> BoolArray:
    """Voxels of a slice without a measured value, bool (y, x)."""
    low: BoolArray = volume.pixels[z] <= NO_VALUE_HU
    outside = _at_border(low)
    return outside if volume.padding is None else outside | volume.padding[z]


def _at_border(low: BoolArray) -> BoolArray:
    """Only what hangs together with the image's border: dark streaks inside the patient are measured."""
    seeds = np.zeros_like(low)
    seeds[[0, -1], :] = low[[0, -1], :]
    seeds[:, [0, -1]] = low[:, [0, -1]]
    grown: BoolArray = ndimage.binary_propagation(seeds, mask=low)
    return grown
