"""A demo study: hips with simulated metal, and the same without artefact as truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicom_node.contracts import CommandContext, DemoStudy, TagValue, Units, Volume
from dicom_node.errors import InputError
from simulation.hip_sites import find_hips
from simulation.implanted_ct import implanted, part
from simulation.implants import ImplantKind, random_implant
from simulation.phantoms import make_pelvis
from simulation.scanner import Acquisition

SLICES = 40
METAL_SLICES = 10
METAL_HU = 2500.0
PREFERRED = "ct_pelvis"
TAGS = ("ImageType", "KVP", "ConvolutionKernel", "GantryDetectorTilt", "ReconstructionDiameter")
HEADER: dict[str, TagValue] = {
    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
    "BodyPartExamined": "HIP",
    "StudyDescription": "Hip, simulated metal",
    "SeriesDescription": "Hip CT, simulated metal",
}


@dataclass(frozen=True, eq=False)
class _Hips:
    """Hips without metal: title for the user, axial CT."""

    title: str
    volume: Volume


def make_study(context: CommandContext, folder: Path, *, data: Path | None, seed: int) -> DemoStudy:
    """Make the demo study; see `dicom_node.contracts.DemoStudyMaker`.

    Args:
        context: reads real CT and writes the series.
        folder: gets `artefact/` and `truth/`.
        data: folder with real CT somewhere below it, preferably under `ct_pelvis`; None makes a synthetic pelvis.
        seed: of implant, noise and synthetic anatomy.

    Returns:
        Where the study lies.

    Raises:
        InputError: no usable axial CT with a hip below `data`.
    """
    hips = _synthetic(seed) if data is None else _real(context, data)
    artefact, truth = _with_metal(hips.volume, seed)
    context.write(artefact, folder / "artefact", tags=HEADER, seed=seed)
    context.write(truth, folder / "truth", tags=HEADER | {"SeriesDescription": "Hip CT, truth"}, seed=seed)
    return DemoStudy(hips.title, folder / "artefact", folder / "truth", METAL_HU)


def _synthetic(seed: int) -> _Hips:
    pelvis = make_pelvis(seed=seed, slices=SLICES)
    volume = Volume(pelvis.hu, Units.HU, pelvis.geometry, tags={"KVP": 120.0})
    return _Hips("synthetic pelvis made by the package, metal simulated into it", volume)


def _real(context: CommandContext, data: Path) -> _Hips:
    for source in _sources(data):
        try:
            images = context.read([source], modality="CT", tags=TAGS)
        except InputError:
            continue  # holds no CT: the next one may
        for image in sorted(images, key=lambda i: -i.volume.shape[0]):
            volume = image.volume
            axial = abs(volume.geometry.normal[2]) > 0.99 and volume.axes == "zyx"
            square = len({*volume.pixels.shape[1:]}) == 1
            if axial and square and volume.shape[0] >= METAL_SLICES and find_hips(volume.pixels, volume.geometry):
                title = f"real CT (series {image.label}), metal simulated into {METAL_SLICES} slices"
                return _Hips(title, _around_hips(volume))
    raise InputError(f"{data}: no axial CT with hips below this folder; run the demo without data for a synthetic one")


def _sources(data: Path) -> Iterator[Path]:
    """ZIPs and folders of DICOM files, those of the pelvis first, the largest first."""
    files = [path for path in data.rglob("*") if path.is_file() and path.suffix.lower() in (".zip", ".dcm")]
    sizes: dict[Path, int] = {}
    for path in files:
        source = path if path.suffix.lower() == ".zip" else path.parent
        sizes[source] = sizes.get(source, 0) + path.stat().st_size
    yield from sorted(sizes, key=lambda source: (PREFERRED not in source.parts, -sizes[source], source))


def _around_hips(volume: Volume) -> Volume:
    """At most `SLICES` slices around the femoral heads."""
    middle = _hip_slice(volume)
    first = max(0, min(middle - SLICES // 2, volume.shape[0] - SLICES))
    here = slice(first, first + SLICES)
    return replace(
        volume,
        pixels=np.ascontiguousarray(volume.pixels[here]),
        geometry=part(volume.geometry, here),
        padding=None if volume.padding is None else volume.padding[here],
        frame_tags={},
    )


def _hip_slice(volume: Volume) -> int:
    geometry = volume.geometry
    along = np.asarray(geometry.slice_origins_mm) @ np.asarray(geometry.normal)
    sites = find_hips(volume.pixels, geometry)
    if not sites:
        return volume.shape[0] // 2
    centre = np.mean([np.asarray(site.centre_mm) @ np.asarray(geometry.normal) for site in sites])
    return int(np.abs(along - centre).argmin())


def _with_metal(volume: Volume, seed: int) -> tuple[Volume, Volume]:
    """The volume as scanned with a total hip in some of its slices, and its truth."""
    rng = np.random.default_rng(seed)
    sites = find_hips(volume.pixels, volume.geometry)
    if not sites:
        raise InputError("no hip was found in the CT that the demo would put metal into")
    site = sites[int(rng.integers(len(sites)))]
    middle = _hip_slice(volume)
    first = max(0, min(middle - METAL_SLICES // 2, volume.shape[0] - METAL_SLICES))
    implants = (random_implant(site, rng, ImplantKind.TOTAL),)
    here = slice(first, first + METAL_SLICES)
    made = implanted(volume, implants, here, acquisition=Acquisition(), seed=seed)
    return made.artefact, made.truth
