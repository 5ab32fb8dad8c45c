"""Off-resonance of random implants in slices, made once and scaled often: it goes with B0 and with susceptibility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray, Geometry
from simulation.bars import random_bar
from simulation.hip_sites import HipSite
from simulation.implants import HipImplant, random_implant, rasterise
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V
from simulation.susceptibility import implant_field_hz

PIXEL_MM = 1.5
SLICES = 6
SPACING_MM = 6.0
FIELD_T = 1.0
METALS = (COCRMO, TI6AL4V, STEEL_316L)
_B0 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""Through the slices, or along either of their sides, as in axial, coronal and sagittal stacks."""
_BAR_SHARE = 0.4
_FEWEST_VOXELS = 6
_JITTER_MM = 30.0


@dataclass(frozen=True, eq=False)
class ImplantSlice:
    """A slice through an implant.

    Attributes:
        filled: share of each voxel that the implant fills, (y, x).
        field_hz: off-resonance at 1 T, (y, x) [Hz].
    """

    filled: FloatArray
    field_hz: FloatArray


def implant_slices(count: int, side: int, seed: int) -> tuple[ImplantSlice, ...]:
    """Slices through random hip implants, bars and balls near the middle; the field depends on ratios of sizes only.

    Args:
        count: of the implants; each gives a few slices.
        side: pixels along each side.
        seed: of everything drawn.
    """
    found: list[ImplantSlice] = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        found.extend(_slices(rng, side))
    return tuple(found)


def _slices(rng: np.random.Generator, side: int) -> list[ImplantSlice]:
    geometry = _geometry(side, rng)
    implant = _implant(rng)
    filled = np.zeros(geometry.shape, np.float32)
    for share in rasterise((implant,), geometry).values():
        filled += share
    if int((filled >= 0.5).sum()) < _FEWEST_VOXELS:
        return []
    field = implant_field_hz((implant,), geometry, FIELD_T, b0=_B0[int(rng.integers(3))])
    return [ImplantSlice(one, own) for one, own in zip(filled, field, strict=True)]


def _implant(rng: np.random.Generator) -> HipImplant:
    middle = rng.uniform(-_JITTER_MM, _JITTER_MM, 2)
    centre = (float(middle[0]), float(middle[1]), 0.0)
    shaft = (centre[0] + float(rng.uniform(10, 40)), centre[1] + float(rng.uniform(-10, 10)), -90.0)
    site = HipSite("left", centre, float(rng.uniform(20, 26)), shaft)
    metal = METALS[int(rng.integers(len(METALS)))]
    if rng.random() < _BAR_SHARE:
        return random_bar(site, rng).made_of(metal)
    return random_implant(site, rng, material=metal if rng.random() < 0.5 else None)


def _geometry(side: int, rng: np.random.Generator) -> Geometry:
    corner = -(side - 1) / 2 * PIXEL_MM
    lowest = -float(rng.uniform(0.1, 0.9)) * (SLICES - 1) * SPACING_MM
    return Geometry(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        pixel_spacing_mm=(PIXEL_MM, PIXEL_MM),
        slice_origins_mm=tuple((corner, corner, lowest + z * SPACING_MM) for z in range(SLICES)),
        rows=side,
        columns=side,
        slice_thickness_mm=SPACING_MM,
    )
