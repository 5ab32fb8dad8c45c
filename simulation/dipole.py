"""The field that magnetised matter adds to the scanner's: susceptibility convolved with the magnetic dipole.

In k-space the kernel is 1/3 - (k . b)^2 / k^2 with b along B0 (Salomir et al., Concepts Magn. Reson. 2003; Marques &
Bowtell 2005), sphere of Lorentz included: inside and far outside a sphere it gives the textbook's field.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

HZ_PER_TESLA = 42.577478518e6
"""Of protons: gamma / 2 pi [Hz/T]."""


def off_resonance_hz(
    susceptibility: Tensor, voxel_mm: Sequence[float], field_t: float, b0: Sequence[float] = (1.0, 0.0, 0.0)
) -> Tensor:
    """Off-resonance of the voxels of a volume in which matter is magnetised.

    Args:
        susceptibility: real (z, y, x), against the surroundings, SI (not ppm); 0 outside the volume.
        voxel_mm: voxel size along z, y and x [mm].
        field_t: B0 [T].
        b0: direction of B0 along (z, y, x); any length but 0.

    Returns:
        (z, y, x) [Hz].

    Raises:
        ValueError: shapes or sizes that make no sense.
    """
    direction = torch.tensor(tuple(b0), dtype=susceptibility.dtype, device=susceptibility.device)
    if susceptibility.ndim != 3 or len(voxel_mm) != 3 or len(direction) != 3:
        raise ValueError("the susceptibility is (z, y, x), with three voxel sizes and a direction of three components")
    if min(voxel_mm) <= 0 or field_t <= 0 or float(direction.norm()) == 0:
        raise ValueError("voxel sizes and the field must be positive, and B0 must point somewhere")
    padded = [2 * n for n in susceptibility.shape]  # else copies beside the volume would add their fields
    spectrum = torch.fft.rfftn(susceptibility, s=padded)
    spectrum *= _kernel(padded, voxel_mm, direction / direction.norm())
    field = torch.fft.irfftn(spectrum, s=padded)
    inside = tuple(slice(n) for n in susceptibility.shape)
    scaled: Tensor = field[inside] * (field_t * HZ_PER_TESLA)
    return scaled


def _kernel(shape: Sequence[int], voxel_mm: Sequence[float], direction: Tensor) -> Tensor:
    frequencies = [
        (torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq)(n, d=size, dtype=direction.dtype)
        for axis, (n, size) in enumerate(zip(shape, voxel_mm, strict=True))
    ]
    k = torch.meshgrid(*(f.to(direction.device) for f in frequencies), indexing="ij")
    along = sum(component * one for component, one in zip(direction, k, strict=True))
    square = sum(one.square() for one in k)
    assert isinstance(along, Tensor) and isinstance(square, Tensor)
    kernel = 1 / 3 - along.square() / square.clamp(min=torch.finfo(square.dtype).tiny)
    kernel[0, 0, 0] = 0.0
    return kernel
