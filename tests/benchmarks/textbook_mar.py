"""Metal artefact reduction as textbooks have it, with scikit-image; shares nothing with the product."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.transform import iradon, radon

ANGLES = 480
METAL_HU = 2500.0


def textbook(hu: np.ndarray, *, prior: bool, full: bool) -> np.ndarray:
    """Plain LI (Kalender 1987) or NMAR (Meyer 2010) of one slice (y, x) [HU], threshold mask grown by one pixel.

    Args:
        hu: the slice.
        prior: whether the sinogram is divided by that of a prior image first (NMAR).
        full: whether the image becomes the reconstruction, or gets the reconstructed difference.
    """
    angles = np.linspace(0, 180, ANGLES, endpoint=False)
    metal = hu >= METAL_HU
    attenuation = hu + 1000.0

    def project(image: np.ndarray) -> np.ndarray:
        return radon(image, angles, circle=False)

    def back(sinogram: np.ndarray) -> np.ndarray:
        return iradon(sinogram, angles, output_size=hu.shape[0], circle=False)

    sinogram = project(attenuation)
    trace = project(ndimage.binary_dilation(metal).astype(float)) > 0.05

    def interpolated(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        rays = np.arange(len(values))
        for angle in range(ANGLES):
            hole = trace[:, angle]
            if hole.any():
                out[hole, angle] = np.interp(rays[hole], rays[~hole], values[~hole, angle])
        return out

    fixed = interpolated(sinogram)
    if prior:
        smooth = ndimage.gaussian_filter(np.where(metal, 0, back(fixed) - 1000), 1)
        image = np.where(smooth < -500, -1000, np.where(smooth < 300, 0, smooth))
        expected = np.maximum(project(image + 1000.0), 0)
        expected = np.maximum(expected, 0.01 * expected.max())
        fixed = np.where(trace, interpolated(sinogram / expected) * expected, sinogram)
    image = back(fixed) - 1000 if full else hu + back(fixed - sinogram)
    return np.where(metal, hu, image)
