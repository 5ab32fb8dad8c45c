"""HU error of the hip CT methods against plain textbook LI and NMAR, on metal simulated into CT slices.

    python tests/benchmarks/bench_hipct.py --data FOLDER_OR_ZIP [...] [--slices 6] [--seeds 1]

Without `--data` it uses synthetic pelvises. The textbook methods (`textbook_mar.py`) use scikit-image's radon and
iradon, share nothing with the product, and replace the whole image by the reconstruction (`full`) or add the
reconstructed difference to the original (`diff`). Errors are taken outside true metal (`rmse`), more than two pixels
away from it (`rmse+2`), and there in the patient only (`body`, `streak`).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity
from textbook_mar import textbook

from correctors.hipct.body import body_mask
from correctors.hipct.infer import build
from correctors.hipct.plugin import SPEC
from dicom_node.contracts import Corrector, Geometry, Units, Volume
from dicom_node.dicom.context import DicomCommandContext
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V, Material
from simulation.metal_ct import Chain, simulate_metal
from simulation.phantoms import make_pelvis
from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition, Scanner

MATERIALS = (TI6AL4V, COCRMO, STEEL_316L)
SHAPES_MM = ((7.0,), (5.0,), (18.0,), (9.0, 9.0), (16.0, 16.0), (25.0,))
"""Radii of one or two implants [mm]."""
PHOTONS = (2e6, 5e6, 2e7)
Method = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One slice with simulated metal [HU]."""

    group: str
    name: str
    artefact: np.ndarray
    truth: np.ndarray
    metal: np.ndarray
    pixel_mm: float


def slices_of(data: list[Path], count: int) -> Iterator[tuple[np.ndarray, float]]:
    """Evenly chosen axial slices (y, x) [HU] and their pixel size, padding as air."""
    if not data:
        for seed in range(count):
            yield make_pelvis(seed=seed, slices=1).hu[0], 0.85
        return
    for image in DicomCommandContext().read(data, modality="CT"):
        volume = image.volume
        if volume.shape[-1] != volume.shape[-2]:
            continue
        for z in np.unique(np.linspace(0, volume.shape[0] - 1, count).round().astype(int)):
            hu = np.where(volume.pixels[z] < -1900, -1000, volume.pixels[z])
            yield hu.astype(np.float32), volume.geometry.pixel_spacing_mm[0]


def cases(data: list[Path], count: int, seeds: int) -> Iterator[Case]:
    """Every slice with materials, shapes, doses and chains in turn."""
    number = 0
    for hu, pixel_mm in slices_of(data, count):
        projector = ParallelProjector(ParallelGeometry(hu.shape[0], pixel_mm, 720))
        for seed in range(seeds):
            for material in MATERIALS:
                radii = SHAPES_MM[number % len(SHAPES_MM)]
                photons = PHOTONS[number % len(PHOTONS)]
                chain = (Chain.REPROJECTED, Chain.DIFFERENCE)[number % 2]
                number += 1
                share = implants(hu, radii, pixel_mm)
                yield simulate(hu, share, material, photons, chain, projector, seed * 1000 + number)


def simulate(
    hu: np.ndarray,
    share: np.ndarray,
    material: Material,
    photons: float,
    chain: Chain,
    projector: ParallelProjector,
    seed: int,
) -> Case:
    """One case."""
    done = simulate_metal(
        torch.from_numpy(hu[None]),
        {material: torch.from_numpy(share[None])},
        projector=projector,
        scanner=Scanner(Acquisition(photons=photons)),
        generator=torch.Generator().manual_seed(seed),
        chain=chain,
    )
    name = f"{material.name} {int((share > 0).sum())} px, {photons:.0e} photons, {chain}"
    pixel_mm = projector.geometry.pixel_mm
    return Case(material.name, name, done.artefact[0].numpy().round(), done.truth[0].numpy(), share > 0, pixel_mm)


def implants(hu: np.ndarray, radii_mm: tuple[float, ...], pixel_mm: float) -> np.ndarray:
    """Share of each pixel filled by discs in the densest bone left and right of the midline."""
    body = body_mask(hu)
    columns = np.flatnonzero(body.any(axis=0))
    left, right = int(columns[0]), int(columns[-1])
    middle, width = (left + right) / 2, right - left
    bone = np.where(body, ndimage.gaussian_filter((hu > 200).astype(np.float32), 6), 0)
    share = np.zeros(hu.shape, dtype=np.float32)
    sides = ((left + 0.08 * width, middle - 0.16 * width), (middle + 0.16 * width, right - 0.08 * width))
    for radius, (first, last) in zip(radii_mm, sides, strict=False):
        here = bone.copy()
        here[:, : int(first)] = here[:, int(last) :] = 0
        y, x = np.unravel_index(int(here.argmax()), here.shape)
        distance = np.hypot(np.arange(hu.shape[0])[:, None] - y, np.arange(hu.shape[1])[None] - x)
        share = np.maximum(share, np.clip(radius / pixel_mm - distance + 0.5, 0, 1).astype(np.float32))
    return share


def product(name: str) -> Method:
    """One of the corrector's methods on a single slice."""
    values = {key: p.default for key, p in SPEC.parameters.items()}
    corrector: Corrector = build(method=name, weights=None, device="cpu", parameters=values)

    def run(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
        geometry = Geometry((1, 0, 0), (0, 1, 0), (pixel_mm, pixel_mm), ((0, 0, 0),), *hu.shape, 3.0)
        volume = Volume(hu[None], Units.HU, geometry)
        outcome = corrector.correct({"ct": replace(volume, tags={"ImageType": ("ORIGINAL", "PRIMARY", "AXIAL")})})
        return outcome.volumes["ct"].pixels[0] if outcome.changed else hu

    return run


def figures(case: Case, image: np.ndarray) -> tuple[float, ...]:
    """RMSE, RMSE away from metal, RMSE in the body away from metal, streak amplitude [HU], SSIM over 5000 HU."""
    error = np.clip(image, -1024, 3071) - case.truth
    far = ~ndimage.binary_dilation(case.metal, iterations=2)
    inside = np.sort(error[body_mask(case.truth) & far])
    tail = max(1, len(inside) // 20)
    _, similarity = structural_similarity(np.where(far, image, case.truth), case.truth, data_range=5000, full=True)

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(values**2)))

    amplitude = float(inside[-tail:].mean() - inside[:tail].mean())
    return rms(error[~case.metal]), rms(error[far]), rms(inside), amplitude, float(similarity[far].mean())


def main() -> None:
    """Print one line for each case and method, and the means of each material."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--slices", type=int, default=4, help="of each series")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    methods: dict[str, Method] = {
        "uncorrected": lambda hu, _: hu,
        "textbook LI full": lambda hu, _: textbook(hu, prior=False, full=True),
        "textbook LI diff": lambda hu, _: textbook(hu, prior=False, full=False),
        "textbook NMAR full": lambda hu, _: textbook(hu, prior=True, full=True),
        "textbook NMAR diff": lambda hu, _: textbook(hu, prior=True, full=False),
        **{name: product(name) for name in ("li", "nmar", "classical")},
    }
    results: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    print(f"{'':20s}{'rmse':>8s}{'rmse+2':>8s}{'body':>8s}{'streak':>8s}{'SSIM':>8s}{'s':>7s}")
    for case in cases(arguments.data, arguments.slices, arguments.seeds):
        print(case.name)
        for name, run in methods.items():
            started = time.perf_counter()
            image = run(case.artefact, case.pixel_mm)
            row = (*figures(case, image), time.perf_counter() - started)
            results[case.group][name].append(row)
            print_row(name, row)
    for group, by_method in results.items():
        print(f"MEAN {group}, {len(by_method['classical'])} cases")
        for name, rows in by_method.items():
            print_row(name, tuple(np.mean(rows, axis=0)))


def print_row(name: str, row: tuple[float, ...]) -> None:
    """One line of the table."""
    print(f"{name:20s}" + "".join(f"{v:8.1f}" for v in row[:4]) + f"{row[4]:8.4f}{row[5]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
