"""Low-contrast lesions near an implant: what a correction must not wash out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray

CONTRAST_HU = (20.0, 60.0)
DIAMETER_MM = (5.0, 15.0)
DISTANCE_MM = (5.0, 40.0)
"""From the metal to the middle of the lesion, beyond its own radius."""
SOFT_HU = (-60.0, 130.0)
"""Soft tissue: where a lesion can be told apart."""
_EDGE_PIXELS = 0.7


@dataclass(frozen=True)
class Lesion:
    """A disc in a slice.

    Attributes:
        centre: (y, x) [pixels].
        radius_mm: radius [mm].
        contrast_hu: added to the tissue in it [HU].
    """

    centre: tuple[int, int]
    radius_mm: float
    contrast_hu: float

    def profile(self, shape: tuple[int, int], pixel_mm: float) -> FloatArray:
        """Share of the contrast in each pixel, 0 to 1, float32 (y, x)."""
        y, x = np.ogrid[: shape[0], : shape[1]]
        distance = np.hypot(y - self.centre[0], x - self.centre[1]) - self.radius_mm / pixel_mm
        share: FloatArray = (1 / (1 + np.exp(np.clip(distance / (0.5 * _EDGE_PIXELS), -50, 50)))).astype(np.float32)
        return share


@dataclass(frozen=True, eq=False)
class WithLesions:
    """A slice (y, x) [HU] and what was put into it."""

    hu: FloatArray
    lesions: tuple[Lesion, ...]


def random_lesions(
    slice_hu: FloatArray, metal: BoolArray, pixel_mm: float, rng: np.random.Generator, *, mean_count: float
) -> WithLesions:
    """Put discs of 20 to 60 HU and 5 to 15 mm, brighter or darker, into soft tissue near metal.

    Args:
        slice_hu: (y, x) without metal [HU].
        metal: bool (y, x), where metal will be.
        pixel_mm: pixel size [mm].
        rng: source of randomness.
        mean_count: of lesions (Poisson).

    Returns:
        The slice, a new array, with as many lesions as there was room for.
    """
    hu = slice_hu.copy()
    lesions: list[Lesion] = []
    if not metal.any():
        return WithLesions(hu, ())
    smooth = ndimage.gaussian_filter(slice_hu, 2.0)
    soft = (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1])
    depth_mm = ndimage.distance_transform_edt(soft) * pixel_mm
    away_mm = ndimage.distance_transform_edt(~metal) * pixel_mm
    for _ in range(int(rng.poisson(mean_count))):
        radius = float(rng.uniform(*DIAMETER_MM)) / 2
        contrast = float(rng.uniform(*CONTRAST_HU)) * (1 if rng.random() < 0.5 else -1)
        near = (away_mm > DISTANCE_MM[0] + radius) & (away_mm < DISTANCE_MM[1] + radius)
        places = np.flatnonzero(near & (depth_mm > radius))
        if len(places) == 0:
            continue
        y, x = np.unravel_index(int(rng.choice(places)), slice_hu.shape)
        lesion = Lesion((int(y), int(x)), radius, contrast)
        hu += np.float32(contrast) * lesion.profile(slice_hu.shape, pixel_mm)
        # The next one goes beside it.
        depth_mm = np.minimum(
            depth_mm, np.hypot(*np.indices(slice_hu.shape) - np.array([y, x])[:, None, None]) * pixel_mm - radius
        )
        lesions.append(lesion)
    return WithLesions(hu, tuple(lesions))
