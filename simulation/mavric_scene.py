"""What a MAVRIC acquisition looks at: an MR phantom or image with an implant in it, and the field that it makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from dicom_node.contracts import BoolArray, FloatArray
from simulation.mavric import FINE


@dataclass(frozen=True, eq=False)
class MavricScene:
    """Spins, `FINE` to a pixel along the readout, which is the last axis.

    Attributes:
        signal: float32 (z, y, x * FINE), none in metal.
        off_resonance_hz: likewise [Hz].
        metal: bool (z, y, x), voxels at least half filled with implant.
        true_hz: off-resonance of the pixels, float32 (z, y, x) [Hz].
    """

    signal: Tensor
    off_resonance_hz: Tensor
    metal: BoolArray
    true_hz: FloatArray


def make_scene(signal: FloatArray, implanted: FloatArray, off_resonance_hz: FloatArray) -> MavricScene:
    """Put an implant into an image.

    Args:
        signal: (z, y, x) without implant, 1 for its brightest tissue.
        implanted: share of each voxel that the implant fills, (z, y, x).
        off_resonance_hz: (z, y, x) [Hz].

    Returns:
        The scene; between pixels everything is interpolated, so that no edge is sharper than the pixels are.
    """
    left = _finer(signal, order=1) * (1 - _finer(implanted, order=1)).clip(0, 1)
    return MavricScene(
        torch.from_numpy(left),
        torch.from_numpy(_finer(off_resonance_hz, order=3)),
        implanted >= 0.5,
        off_resonance_hz,
    )


def _finer(values: FloatArray, *, order: int) -> FloatArray:
    """Values at the spins of each pixel, float32 (..., x * FINE); beyond the edge they stay as they are there."""
    places = (np.arange(values.shape[-1] * FINE) - (FINE - 1) / 2) / FINE
    spline = make_interp_spline(np.arange(values.shape[-1]), values, k=order, axis=-1)
    finer: FloatArray = spline(places.clip(0, values.shape[-1] - 1)).astype(np.float32)
    return finer
