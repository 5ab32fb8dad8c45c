"""How implant materials are magnetised, against tissue, and the off-resonance that implants cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from dicom_node.contracts import FloatArray, Geometry
from simulation.dipole import off_resonance_hz
from simulation.implants import Implant, rasterise
from simulation.materials import ALUMINA, BONE_CEMENT, COCRMO, STEEL_316L, TI6AL4V, UHMWPE, ZIRCONIA, Material

SUSCEPTIBILITY_PPM: Mapping[Material, float] = MappingProxyType(
    {COCRMO: 900.0, TI6AL4V: 182.0, STEEL_316L: 3500.0, ZIRCONIA: 1.0, ALUMINA: -9.0, UHMWPE: 0.0, BONE_CEMENT: 0.0}
)
"""Volume susceptibility minus that of tissue, -9 ppm (Schenck, Med. Phys. 1996; austenitic steel varies most) [ppm]."""
_LAYER_MM = 2.0
"""About how finely slices are divided for the field."""
_BEYOND_MM = 40.0
"""So far above and below the slices implants are seen: their field reaches in."""


def implant_field_hz(
    implants: tuple[Implant, ...],
    geometry: Geometry,
    field_t: float,
    *,
    b0: Sequence[float] = (1.0, 0.0, 0.0),
    ppm: Mapping[Material, float] = SUSCEPTIBILITY_PPM,
) -> FloatArray:
    """Off-resonance in the middle of the slices.

    Args:
        implants: in place.
        geometry: evenly spaced slices.
        field_t: B0 [T].
        b0: direction of B0 along (z, y, x) of the grid.
        ppm: susceptibility of the materials against tissue [ppm].

    Returns:
        float32 (z, y, x) [Hz].
    """
    spacing = geometry.slice_spacing_mm or geometry.slice_thickness_mm or _LAYER_MM
    layers = max(1, 2 * round(spacing / _LAYER_MM / 2 - 0.5) + 1)  # odd: one lies in the middle of its slice
    beyond = round(_BEYOND_MM / spacing)
    fine = _layered(geometry, spacing, layers, beyond)
    magnetised = np.zeros(fine.shape, np.float32)
    for material, share in rasterise(implants, fine).items():
        magnetised += np.float32(1e-6 * ppm[material]) * share
    voxel_mm = (spacing / layers, *(float(one) for one in geometry.pixel_spacing_mm))
    field = off_resonance_hz(torch.from_numpy(magnetised), voxel_mm, field_t, b0).numpy()
    middle = beyond * layers + layers // 2
    slices: FloatArray = field[middle : middle + layers * len(geometry.slice_origins_mm) : layers]
    return np.ascontiguousarray(slices)


def _layered(geometry: Geometry, spacing: float, layers: int, beyond: int) -> Geometry:
    origins = np.asarray(geometry.slice_origins_mm, dtype=np.float64)
    step = origins[1] - origins[0] if len(origins) > 1 else spacing * np.asarray(geometry.normal)
    heights = (np.arange(-beyond * layers, (len(origins) + beyond) * layers) - layers // 2) / layers
    return Geometry(
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        pixel_spacing_mm=geometry.pixel_spacing_mm,
        slice_origins_mm=tuple((float(x), float(y), float(z)) for x, y, z in origins[0] + heights[:, None] * step),
        rows=geometry.rows,
        columns=geometry.columns,
        slice_thickness_mm=spacing / layers,
    )
