"""One example for the image network: a clean slice, scanned with an implant, and what the corrector makes of it.

Training makes them from many patients, adaptation from slices of the patient at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from correctors.hipct.evidence import Evidence, gather
from correctors.hipct.scene import make_scene
from correctors.hipct.segmentation import segment
from dicom_node.contracts import BoolArray, FloatArray, Geometry, Units, Volume
from simulation.fan_beam import body_scanner
from simulation.fbp import Window
from simulation.materials import Material
from simulation.metal_ct import METAL_FROM_HU, SCALE_HU, reference_hu, simulate_metal
from simulation.projector import ParallelProjector
from simulation.scanner import Acquisition, Scanner

THRESHOLD_HU = 2500.0
SMALLEST_MM2 = 20.0
METAL_SHARE = 0.5
"""A voxel with at least so much metal is metal."""


@dataclass(frozen=True, eq=False)
class Projectors:
    """Of one square grid on one device: the scanner's, the corrector's, and the corrector's at half the resolution."""

    scanner: ParallelProjector
    fine: ParallelProjector
    coarse: ParallelProjector

    def resized(self, pixel_mm: float) -> Projectors:
        """The same for pixels of another size [mm]."""
        return Projectors(
            self.scanner.resized(pixel_mm), self.fine.resized(pixel_mm), self.coarse.resized(2 * pixel_mm)
        )


@dataclass(frozen=True, eq=False)
class Example:
    """What the corrector sees of a slice, and what it should be; kept small, for many are held at once.

    Attributes:
        slices: int16 (y, x), with artefacts [HU].
        estimate: float16 (y, x), see `evidence.Evidence` [HU].
        streaks: float16 (y, x), likewise [HU].
        metal: bool (y, x), as segmented.
        shadow: bool (y, x), likewise.
        wanted: int16 (y, x), the same acquisition without artefact: noise and all, metal pasted in [HU].
        share: uint8 (y, x), share of metal in each voxel, 255 for all of it.
        away: uint8 (y, x), distance from voxels that are mostly metal, 255 for that or more [pixels / 4].
    """

    slices: NDArray[np.int16]
    estimate: NDArray[np.float16]
    streaks: NDArray[np.float16]
    metal: BoolArray
    shadow: BoolArray
    wanted: NDArray[np.int16]
    share: NDArray[np.uint8]
    away: NDArray[np.uint8]


def make_example(
    tissue_hu: FloatArray,
    implants: Mapping[Material, FloatArray],
    *,
    projectors: Projectors,
    acquisition: Acquisition,
    window: Window,
    fan: bool,
    seed: int,
) -> Example | None:
    """Scan a slice with implants in it, and look at it as the corrector does.

    What is wanted keeps the noise of the same acquisition without metal, ray by ray: a network that removed it would be
    no better for it.

    Args:
        tissue_hu: (y, x) without metal, square, on the projectors' grid [HU].
        implants: share of each voxel (0 to 1) that each material fills, (y, x).
        projectors: of the grid.
        acquisition: how it is scanned.
        window: reconstruction filter.
        fan: whether the scanner has a fan beam; else its rays are parallel.
        seed: of the noise.

    Returns:
        The example; None where no implant is found in the slice.
    """
    scanner, device = Scanner(acquisition), projectors.scanner.device
    made = simulate_metal(
        torch.from_numpy(tissue_hu[None]).to(device),
        {material: torch.from_numpy(share[None]).to(device) for material, share in implants.items()},
        projector=projectors.scanner,
        scanner=scanner,
        generator=torch.Generator().manual_seed(seed),
        window=window,
        beam=body_scanner(projectors.scanner.geometry) if fan else None,
    )
    slices = made.artefact[0].cpu().numpy().round()
    pixel_mm = projectors.fine.geometry.pixel_mm
    metal = _found(slices, pixel_mm)
    if not metal.any():
        return None
    evidence = gather(make_scene(projectors.fine, str(device), [slices], [metal], pixel_mm), projectors.coarse)
    noise = made.floor[0].cpu().numpy() - np.clip(tissue_hu, *SCALE_HU)
    dense = [share for material, share in implants.items() if reference_hu(material, scanner) > METAL_FROM_HU]
    return _packed(evidence, made.truth[0].cpu().numpy() + noise, np.sum(dense, axis=0))


def _found(slice_hu: FloatArray, pixel_mm: float) -> BoolArray:
    rows, columns = slice_hu.shape
    geometry = Geometry((1, 0, 0), (0, 1, 0), (pixel_mm, pixel_mm), ((0, 0, 0),), rows, columns, 3.0)
    volume = Volume(slice_hu[None].astype(np.float32), Units.HU, geometry)
    found = segment(volume, method="threshold", threshold_hu=THRESHOLD_HU, smallest_mm2=SMALLEST_MM2)
    one: BoolArray = found.metal[0]
    return one


def _packed(evidence: Evidence, wanted: FloatArray, share: FloatArray) -> Example:
    largest = float(np.finfo(np.float16).max)
    estimate, streaks = (
        one[0].clamp(-largest, largest).cpu().numpy().astype(np.float16)
        for one in (evidence.estimate, evidence.streaks)
    )
    return Example(
        slices=evidence.slices[0].cpu().numpy().astype(np.int16),
        estimate=estimate,
        streaks=streaks,
        metal=evidence.metal[0].cpu().numpy(),
        shadow=evidence.shadow[0].cpu().numpy(),
        wanted=np.rint(np.clip(wanted, *SCALE_HU)).astype(np.int16),
        share=np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8),
        away=np.clip(4 * distance_transform_edt(share < METAL_SHARE), 0, 255).astype(np.uint8),
    )
