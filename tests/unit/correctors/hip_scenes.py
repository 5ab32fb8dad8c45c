"""Small hips with and without metal, for the tests of the hip CT corrector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from scipy import ndimage

from correctors.hipct.infer import build
from correctors.hipct.plugin import SPEC
from dicom_node.contracts import Corrector, Geometry, ParameterValue, TagValue, Units, Volume
from simulation.materials import COCRMO, TI6AL4V, Material
from simulation.metal_ct import MetalSimulation, simulate_metal
from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition, Scanner

SIDE = 192
PIXEL_MM = 2.0
ANGLES = 180
AXIAL: Mapping[str, TagValue] = {"ImageType": ("ORIGINAL", "PRIMARY", "AXIAL")}
MATERIALS = {"cobalt": COCRMO, "titanium": TI6AL4V}


def disc(centre: tuple[float, float], radius_mm: float, stretch: float = 1.0) -> np.ndarray:
    """Share of each pixel inside an ellipse; centre (y, x) in mm from the middle, `stretch` along x."""
    fine = (np.arange(SIDE * 4) + 0.5) / 4 - SIDE / 2
    y, x = np.meshgrid(fine * PIXEL_MM - centre[0], fine * PIXEL_MM - centre[1], indexing="ij")
    inside = (y**2 + (x / stretch) ** 2 <= radius_mm**2).astype(np.float32)
    return inside.reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3))


def pelvis() -> np.ndarray:
    """One slice without metal (y, x) [HU]: fat, muscle, two femoral heads with cortex, a gas bubble."""
    hu = np.full((SIDE, SIDE), -1000.0, dtype=np.float32)
    for share, value in (
        (disc((0, 0), 105, 1.5), -90.0),
        (disc((0, 0), 90, 1.5), 50.0),
        (disc((-25, 0), 25), -900.0),
        *((disc((10, side), 30), 900.0) for side in (-75, 75)),
        *((disc((10, side), 24), 250.0) for side in (-75, 75)),
    ):
        hu += share * (value - hu)
    return hu


@cache
def simulated(material: str, radius_mm: float, *, photons: float = 2e7, both: bool = False) -> MetalSimulation:
    """The pelvis scanned with one or two metal heads; tensors (1, y, x) [HU]."""
    share = disc((10, -75), radius_mm) + (disc((10, 75), radius_mm) if both else 0)
    return scanned(pelvis(), share, material, photons=photons)


def scanned(tissue: np.ndarray, share: np.ndarray, material: str, *, photons: float) -> MetalSimulation:
    """A slice (y, x) [HU] scanned with metal, given as its share of each pixel; tensors (1, y, x) [HU]."""
    metal: Material = MATERIALS[material]
    return simulate_metal(
        torch.from_numpy(tissue[None]),
        {metal: torch.from_numpy(share[None].astype(np.float32))},
        projector=ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, ANGLES)),
        scanner=Scanner(Acquisition(photons=photons)),
        generator=torch.Generator().manual_seed(1),
    )


def volume(
    slices: list[np.ndarray],
    *,
    tags: Mapping[str, TagValue] = AXIAL,
    spacing_mm: tuple[float, float] = (PIXEL_MM, PIXEL_MM),
    thickness_mm: float = 3.0,
    column_direction: tuple[float, float, float] = (0.0, 1.0, 0.0),
    drift_mm: float = 0.0,
) -> Volume:
    """An axial CT of these slices, 3 mm apart; `drift_mm` shears the stack."""
    pixels = np.ascontiguousarray(np.stack(slices), dtype=np.float32)
    normal = np.cross((1.0, 0.0, 0.0), column_direction)
    origins = [3.0 * z * normal + np.array([0.0, drift_mm * z, 0.0]) for z in range(len(slices))]
    geometry = Geometry(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=column_direction,
        pixel_spacing_mm=spacing_mm,
        slice_origins_mm=tuple((float(o[0]), float(o[1]), float(o[2])) for o in origins),
        rows=pixels.shape[1],
        columns=pixels.shape[2],
        slice_thickness_mm=thickness_mm,
    )
    return Volume(pixels, Units.HU, geometry, tags=tags)


def corrector(method: str = "classical", **parameters: ParameterValue) -> Corrector:
    """A corrector on the CPU, with few angles."""
    values = {name: p.default for name, p in SPEC.parameters.items()} | {"n_angles": ANGLES} | parameters
    return build(method=method, weights=None, device="cpu", parameters=values)


def error_hu(corrected: np.ndarray, scene: MetalSimulation) -> float:
    """RMSE outside metal and its rim [HU]."""
    outside = ~ndimage.binary_dilation(scene.metal[0].numpy(), iterations=2)
    return float(np.sqrt(np.mean((corrected - scene.truth[0].numpy())[outside] ** 2)))
