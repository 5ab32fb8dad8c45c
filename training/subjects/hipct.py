"""The training side of `hipct`: hips without metal, metal put into them, and what of the result is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from correctors.hipct import refusals
from correctors.hipct.body import body_mask
from correctors.hipct.segmentation import segment
from dicom_node.contracts import BoolArray, CorrectionRefused, TagValue, Units, Volume
from dicom_node.errors import UnusableSeries
from simulation.crude_metal import crude_metal
from simulation.hip_sites import HipSite, find_hips
from simulation.implanted_ct import ImplantedCt, implanted, replaced, unmeasured
from simulation.implants import random_implant
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V, Material
from simulation.metal_ct import SCALE_HU
from simulation.phantoms import make_pelvis
from simulation.projector import ParallelProjector
from simulation.scanner import Acquisition
from simulation.shapes import slice_points
from training.lesions import LesionTwin
from training.subject import Scale, SimulatedCase, scenario_of
from training.subjects.hip_lesions import with_lesions

METAL_HU = 2500.0
SMALLEST_IMPLANT_MM2 = 20.0
MARGIN = 2
"""Voxels around metal that are not judged: partial volume is neither metal nor tissue."""
MOST_SLICES = 10
"""Slices with metal in one case; enough for a figure, few enough to correct with slow methods."""
HEAD_MM, STEM_MM = (25.0, 15.0), (60.0, 15.0)
"""How far below and above the femoral head those slices may begin [mm]: discs belong to the head, stems reach lower."""
ONE_SIDE_SHARE = 0.7
"""Of the physical cases; the others have implants on both sides."""
FAN_SHARE = 0.5
"""Of the physical cases; the others have parallel rays."""
ONLY_METAL: Mapping[str, Material] = MappingProxyType(
    {"physics-titanium": TI6AL4V, "physics-cobalt": COCRMO, "physics-steel": STEEL_316L}
)
"""Scenarios whose implants have one metal."""
MOST_TRIES = 5
CRUDE_DIAMETER_MM = (10.0, 36.0)
CRUDE_JITTER_MM = 4.0
CRUDE_RANGE_HU = (-8192.0, 31743.0)
"""Not the twelve bits of a scanner: the paper's images were never stored, and clipping would spoil the undisturbed rays
of their projections. It is what sixteen bits hold, and the corrector's limits allow [HU]."""
NOISELESS_DOSE = 1e6
"""So many times the dose of a case, its scans have no noise to speak of."""
PHANTOM_SLICES = 24
ORIGINAL: Mapping[str, TagValue] = {"ImageType": ("ORIGINAL", "PRIMARY", "AXIAL")}


class HipCtSubject:
    """Hip CT with simulated implants; see `training.subject.Subject`."""

    corrector: str = "hipct"
    scenarios: Mapping[str, str] = MappingProxyType(
        {
            "physics": "random hip implants of real materials, polychromatic, with noise, partial volume and scatter, "
            "half of them in a fan beam",
            "physics-titanium": "the same with all metal of the implants titanium (Ti6Al4V)",
            "physics-cobalt": "the same with all metal of the implants cobalt-chromium (CoCrMo)",
            "physics-steel": "the same with all metal of the implants stainless steel (316L)",
            "lesions": "`physics` with discs of 20 to 60 HU and 5 to 15 mm in soft tissue 5 to 40 mm from metal",
            "crude": "discs of 10 to 36 mm in both hips, their trace filled with the sinogram's largest value "
            "(near-hip CT paper)",
        }
    )
    scales: Mapping[str, Scale] = MappingProxyType(
        {"ct": Scale(Units.HU, judged=(-1000.0, 1604.0), shown=(-200.0, 300.0), difference=200.0)}
    )
    routing_tags: Mapping[str, TagValue] = MappingProxyType(
        {**ORIGINAL, "BodyPartExamined": "HIP", "SeriesDescription": "Hip CT"}
    )

    role_tags: Mapping[str, Mapping[str, TagValue]] = MappingProxyType({})
    baseline: str | None = None

    @property
    def default_recipe(self) -> Path:
        """Recipe of `train`."""
        return Path(__file__).parents[1] / "recipes" / "hipct" / "paper-compact.yaml"

    def procedural(self, seed: int) -> Mapping[str, Volume]:
        """A synthetic pelvis around the femoral heads, 512 x 512."""
        pelvis = make_pelvis(seed=seed, slices=PHANTOM_SLICES)
        return {"ct": Volume(pelvis.hu, Units.HU, pelvis.geometry, tags={**ORIGINAL, "KVP": 120.0})}

    def clean(self, image: Volume) -> Mapping[str, Volume]:
        """A CT series with hips and without metal, that the corrector would take.

        Image Type is set to that of an original axial series: what is simulated from it is one.

        Raises:
            UnusableSeries: no CT, not axial, tilted, pixels not square, metal in it, no hip, or the field of view cuts
                the patient there.
        """
        if image.units is not Units.HU or image.axes != "zyx":
            raise UnusableSeries(f"it must be a CT stack in HU with axes zyx, got {image.units.value}, {image.axes}")
        volume = replace(
            image,
            tags={**image.tags, **ORIGINAL},
            frame_tags={name: values for name, values in image.frame_tags.items() if name not in ORIGINAL},
        )
        try:
            refusals.check_headers(volume)
            refusals.check_geometry(volume)
            refusals.check_pixels(volume)
        except CorrectionRefused as refusal:
            raise UnusableSeries(str(refusal)) from refusal
        if metal := _segmented(volume).any(axis=(1, 2)).sum():
            raise UnusableSeries(f"there is metal in {metal} of its slices already")
        sites = find_hips(volume.pixels, volume.geometry)
        if not sites:
            raise UnusableSeries("no hip was found in it")
        if not any(_whole(volume, z) for site in sites for z in _levels(volume, site, HEAD_MM)):
            raise UnusableSeries("the field of view cuts the patient in every slice around the hips")
        return {"ct": volume}

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        """Put metal into up to ten slices around a hip.

        Args:
            clean: from `clean` or `procedural`.
            scenario: one of `scenarios`.
            seed: of everything that is drawn.

        Raises:
            RequestError: no such scenario.
            UnusableSeries: no hip where metal could go.
        """
        scenario_of(self, scenario)
        volume = clean["ct"]
        rng = np.random.default_rng(seed)
        sites = find_hips(volume.pixels, volume.geometry)
        if not sites:
            raise UnusableSeries("no hip was found in it")
        for _ in range(MOST_TRIES):
            if scenario == "crude":
                scan, description = _crude(volume, sites, rng)
            else:
                scan, description = _physics(volume, sites, rng, ONLY_METAL.get(scenario))
            made = scan(volume)
            slices = _slices(made.metal)
            if slices:
                break
        else:
            raise UnusableSeries(f"no implant reached into its slices in {MOST_TRIES} tries")
        metal = made.metal.copy()
        for z in slices:  # voxels that are less than half metal may show as metal all the same
            metal[z] |= made.truth.pixels[z] >= METAL_HU
        twin = None
        if scenario == "lesions":
            lesions = with_lesions(volume, made.truth.pixels, metal, slices, rng)
            twin = LesionTwin({"ct": made.artefact}, {"ct": made.truth}, {"ct": lesions.labels})
            made = _changed(made, scan(volume, NOISELESS_DOSE), scan(lesions.volume, NOISELESS_DOSE))
            volume = lesions.volume
            description = f"{description}, {lesions.count} lesions"
        return SimulatedCase(
            artefact={"ct": made.artefact},
            truth={"ct": made.truth},
            excluded={"ct": _excluded(metal, volume)},
            slices=slices,
            description=f"{description}, slices {slices[0] + 1} to {slices[-1] + 1}",
            floor={"ct": _floor(made, volume)},
            twin=twin,
        )

    def shown(self, artefact: Mapping[str, Volume]) -> Mapping[str, Volume]:
        """The artefact itself."""
        return artefact

    def judge(self, artefact: Mapping[str, Volume], truth: Mapping[str, Volume]) -> SimulatedCase:
        """Metal is what the truth shows of it (from 2500 HU), or else what the corrector finds in the artefact.

        Raises:
            UnusableSeries: neither shows metal.
        """
        shown = truth["ct"].pixels >= METAL_HU
        metal = shown if shown.any() else _segmented(artefact["ct"])
        if not metal.any():
            raise UnusableSeries("neither the truth nor the artefact shows metal")
        excluded = _excluded(metal, truth["ct"]) | unmeasured(artefact["ct"])
        return SimulatedCase(artefact, truth, {"ct": excluded}, _slices(metal), "given pair")


SUBJECT = HipCtSubject()


class Scan(Protocol):
    """A planned acquisition with implants."""

    def __call__(self, clean: Volume, dose: float = 1.0) -> ImplantedCt:
        """Scan a clean volume, with so many times the planned dose; twice the same gives the same."""
        ...


def _changed(made: ImplantedCt, before: ImplantedCt, after: ImplantedCt) -> ImplantedCt:
    """A scan with the change between two others.

    These have no noise: of a ray that a handful of photons passes, a lesion would draw other ones, and the case would
    differ from its twin by noise.
    """

    def image(name: str) -> Volume:
        own, old, new = (getattr(one, name) for one in (made, before, after))
        added: Volume = own.with_pixels(
            np.clip(own.pixels + (new.pixels - old.pixels), own.pixels.min(), own.pixels.max())
        )
        return added

    return ImplantedCt(image("artefact"), image("truth"), made.metal, image("floor"))


def _floor(made: ImplantedCt, clean: Volume) -> Volume:
    """The floor, with the truth where the implants' plastic lies: there its tissue is no noise."""
    displaced = np.abs(made.truth.pixels - clean.pixels) > 1.0
    return made.floor.with_pixels(np.where(displaced, made.truth.pixels, made.floor.pixels))


def _physics(
    volume: Volume, sites: Sequence[HipSite], rng: np.random.Generator, metal: Material | None
) -> tuple[Scan, str]:
    chosen = [sites[i] for i in rng.permutation(len(sites))[: 1 if rng.random() < ONE_SIDE_SHARE else 2]]
    here = _window(volume, chosen[0], STEM_MM, rng)
    implants = tuple(random_implant(site, rng, material=metal) for site in chosen)
    photons = float(10 ** rng.uniform(6.3, 7.5))
    acquisition = Acquisition(
        kvp=float(rng.choice([80.0, 100.0, 120.0, 140.0], p=[0.1, 0.2, 0.5, 0.2])),
        photons=photons,
        scatter_counts=photons * float(10 ** rng.uniform(-6.5, -5.5)),
    )
    seed, fan = int(rng.integers(2**31)), bool(rng.random() < FAN_SHARE)
    names = " and ".join(
        f"{implant.kind.value} {implant.site.side} ({', '.join(sorted({p.material.name for p in implant.parts}))})"
        for implant in implants
    )

    def scan(clean: Volume, dose: float = 1.0) -> ImplantedCt:
        dosed = replace(
            acquisition, photons=acquisition.photons * dose, scatter_counts=acquisition.scatter_counts * dose
        )
        return implanted(clean, implants, here, acquisition=dosed, seed=seed, fan=fan)

    beam = "fan" if fan else "parallel"
    return scan, f"{names}, {beam} beam, {acquisition.kvp:g} kVp, {photons:.1e} photons"


def _crude(volume: Volume, sites: Sequence[HipSite], rng: np.random.Generator) -> tuple[Scan, str]:
    here = _window(volume, sites[0], HEAD_MM, rng)
    height, width = volume.pixels.shape[1:]
    discs = np.zeros((here.stop - here.start, height, width), dtype=bool)
    for disc, z in zip(discs, range(here.start, here.stop), strict=True):
        for site in sites:
            offsets = slice_points(volume.geometry, z) - np.asarray(site.centre_mm)
            offsets -= (offsets @ np.asarray(volume.geometry.normal))[..., None] * np.asarray(volume.geometry.normal)
            shift = rng.normal(0, CRUDE_JITTER_MM, 2)
            offsets -= shift[0] * np.asarray(volume.geometry.row_direction)
            offsets -= shift[1] * np.asarray(volume.geometry.column_direction)
            disc |= np.linalg.norm(offsets, axis=-1) <= rng.uniform(*CRUDE_DIAMETER_MM) / 2

    def fill(slices: Tensor, projector: ParallelProjector) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        metal = torch.zeros(slices.shape, dtype=torch.bool)
        top, left = (slices.shape[1] - height) // 2, (slices.shape[2] - width) // 2
        metal[:, top : top + height, left : left + width] = torch.from_numpy(discs)
        full = torch.full_like(slices, SCALE_HU[1])
        return crude_metal(slices, metal, projector), torch.where(metal, full, slices), metal, slices

    def scan(clean: Volume, dose: float = 1.0) -> ImplantedCt:
        return replaced(clean, here, fill, range_hu=CRUDE_RANGE_HU)

    return scan, f"discs in {len(sites)} hip{'s' if len(sites) > 1 else ''}"


def _window(volume: Volume, site: HipSite, reach_mm: tuple[float, float], rng: np.random.Generator) -> slice:
    """Up to ten neighbouring slices near a hip, all with the whole patient in the field of view."""
    whole = [z for z in _levels(volume, site, reach_mm) if _whole(volume, z)]
    if not whole:
        raise UnusableSeries("the field of view cuts the patient in every slice around the hip")
    first = last = int(rng.choice(whole))
    while last - first + 1 < MOST_SLICES and (first - 1 in whole or last + 1 in whole):
        last += last + 1 in whole
        first -= first - 1 in whole and last - first + 1 < MOST_SLICES
    return slice(first, last + 1)


def _levels(volume: Volume, site: HipSite, reach_mm: tuple[float, float]) -> list[int]:
    """Slices from so far below to so far above the femoral head [mm]; where there is none, the nearest."""
    origins = np.asarray(volume.geometry.slice_origins_mm)
    above = (origins - np.asarray(site.centre_mm)) @ np.asarray(volume.geometry.normal)
    above *= np.sign(volume.geometry.normal[2])
    near = np.flatnonzero((above >= -reach_mm[0]) & (above <= reach_mm[1]))
    return [int(z) for z in near] or [int(np.abs(above).argmin())]


def _whole(volume: Volume, z: int) -> bool:
    """Whether a slice shows the patient's whole outline, as the corrector demands."""
    one = replace(
        volume,
        pixels=volume.pixels[z : z + 1],
        geometry=replace(volume.geometry, slice_origins_mm=volume.geometry.slice_origins_mm[z : z + 1]),
        padding=None if volume.padding is None else volume.padding[z : z + 1],
        frame_tags={},
    )
    cut = refusals.cut_fraction(one.pixels[0], body_mask(one.pixels[0]), unmeasured(one)[0])
    return cut <= refusals.LARGEST_CUT_FRACTION


def _segmented(volume: Volume) -> BoolArray:
    return segment(volume, method="threshold", threshold_hu=METAL_HU, smallest_mm2=SMALLEST_IMPLANT_MM2).metal


def _slices(metal: BoolArray) -> tuple[int, ...]:
    return tuple(int(z) for z in np.flatnonzero(metal.any(axis=(1, 2))))


def _excluded(metal: BoolArray, volume: Volume) -> BoolArray:
    near: BoolArray = ndimage.binary_dilation(metal, np.ones((1, 3, 3), dtype=bool), iterations=MARGIN)
    return near | unmeasured(volume)
