"""`Volume`, the sole currency between the DICOM side and the science side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts.geometry import Geometry

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
TagValue = str | int | float | tuple[str | int | float, ...]
"""A header value without DICOM types: text, number, or several of them."""


class Units(StrEnum):
    """Physical units of voxel values."""

    HU = "HU"
    """Hounsfield units [HU]."""
    MR_SIGNAL = "MR signal"
    """MR magnitude in the source's own arbitrary units, after rescale [a.u.]."""
    HERTZ = "Hz"
    PIXEL = "pixel"
    """Displacement in pixels of the volume's own grid."""
    FRACTION = "fraction"
    """Dimensionless, 0 to 1."""
    NONE = "1"
    """Dimensionless."""


AXES = ("zyx", "tzyx", "bzyx")
"""Allowed axis orders: z slice, y row, x column, t time, b spectral bin."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels in physical units on a patient-space grid, with no identity.

    Attributes:
        pixels: float32, one axis for each letter of `axes`, C order. Read-only for the receiver: make a copy to change.
        units: physical units of `pixels`, after rescale.
        geometry: where slices (z, y, x) lie in the patient.
        axes: one of `AXES`.
        tags: the tags that the corrector's `Accepts` asked for, where constant over the series.
        frame_tags: the asked tags that vary, one value for each 2-D frame in axis order (leading axes flattened).
        padding: bool, same shape as `pixels`, True where the source holds no measured value
            (Pixel Padding Value, or outside the reconstructed circle); None when there is no such voxel.
    """

    pixels: FloatArray
    units: Units
    geometry: Geometry
    axes: str = "zyx"
    tags: Mapping[str, TagValue] = field(default_factory=lambda: MappingProxyType({}))
    frame_tags: Mapping[str, tuple[TagValue | None, ...]] = field(default_factory=lambda: MappingProxyType({}))
    padding: BoolArray | None = None

    def __post_init__(self) -> None:
        """Refuse what no reader would make.

        Raises:
            ValueError: dtype, axes and shapes do not fit together.
        """
        if self.axes not in AXES:
            raise ValueError(f"axes must be one of {AXES}, got {self.axes!r}")
        if self.pixels.dtype != np.float32 or self.pixels.ndim != len(self.axes):
            raise ValueError(
                f"pixels must be float32 with axes {self.axes}, got {self.pixels.dtype} {self.pixels.shape}"
            )
        if self.pixels.shape[-3:] != self.geometry.shape:
            raise ValueError(f"pixels have shape {self.pixels.shape}, geometry says {self.geometry.shape}")
        if self.padding is not None and self.padding.shape != self.pixels.shape:
            raise ValueError(f"padding has shape {self.padding.shape}, pixels {self.pixels.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `pixels`."""
        return self.pixels.shape

    def combines(self, bins: Volume) -> bool:
        """Whether this has the axes of an image that `bins`, a volume of spectral bins, were combined into."""
        return bins.axes == "bzyx" and self.axes == "zyx"

    def with_pixels(self, pixels: NDArray[Any]) -> Volume:
        """Return the same volume with other voxel values of the same shape, cast to float32."""
        return replace(self, pixels=np.ascontiguousarray(pixels, dtype=np.float32))
