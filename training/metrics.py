"""How close a slice is to its truth: RMSE, PSNR, SSIM and VIF of two-dimensional slices, in float64.

Every figure takes the same `measured` mask, and leaves out the other voxels in the way that suits it:

| figure | values | voxels that are not measured |
|---|---|---|
| `rmse` | as they are, physical units | left out of the mean |
| `psnr` | clipped to the window; its width is the data range | left out of the mean |
| `ssim` | the same, counted from the window's lower end | truth put in both, and left out of the mean |
| `vif` | clipped to the window, mapped to 0..255 | truth put in both |
| `vif_z` | each image minus its mean, over its standard deviation | truth put in both |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from dicom_node.contracts import BoolArray, FloatArray

Image = NDArray[np.float64]
MOST_DB = 100.0
"""PSNR of images that hardly differ (0.03 HU on a range of 2604 HU): identical ones would have an infinite mean."""
SSIM_SIGMA = 1.5
"""Of the Gaussian weights [pixels] (Wang et al., IEEE TIP 2004); skimage cuts them at 3.5 sigma: 11 x 11 pixels."""
SSIM_RADIUS = 5
VIF_SCALES = 4
VIF_NOISE = 2.0
"""Variance of the visual noise, meant for grey levels of 0..255 (Sheikh & Bovik, IEEE TIP 2006)."""
SMALLEST_SIDE = 41
"""Below this VIF's coarsest scale has no pixel."""
_TINY = 1e-10


@dataclass(frozen=True)
class Figures:
    """What one slice, one case or one patient scores.

    Attributes:
        psnr_db: peak signal-to-noise ratio [dB], higher is better.
        ssim: structural similarity, 1 is perfect.
        rmse: root mean square error, in the image's physical units.
        vif: visual information fidelity on 0..255; 1 is perfect, more means added contrast.
        vif_z: the same on z-scored images.
    """

    psnr_db: float
    ssim: float
    rmse: float
    vif: float
    vif_z: float


HIGHER_IS_BETTER = {"psnr_db": True, "ssim": True, "rmse": False, "vif": True, "vif_z": True}
"""Names of the figures in their order, and which way is up."""


def figures(image: FloatArray, truth: FloatArray, *, window: tuple[float, float], measured: BoolArray) -> Figures:
    """All figures of one slice.

    Args:
        image: (y, x), physical units.
        truth: (y, x), same units.
        window: lowest and highest value that is judged; see the module.
        measured: bool (y, x), voxels that are judged.

    Raises:
        ValueError: shapes differ, a side is shorter than 41 pixels, or nothing is measured.
    """
    return Figures(
        psnr_db=psnr(image, truth, window=window, measured=measured),
        ssim=ssim(image, truth, window=window, measured=measured),
        rmse=rmse(image, truth, measured=measured),
        vif=vif(image, truth, window=window, measured=measured),
        vif_z=vif_z(image, truth, measured=measured),
    )


def mean_of(several: list[Figures]) -> Figures:
    """The mean of each figure.

    Raises:
        ValueError: there is none.
    """
    if not several:
        raise ValueError("there is nothing to average")
    return Figures(*(float(np.mean([getattr(one, name) for one in several])) for name in HIGHER_IS_BETTER))


def rmse(image: NDArray[Any], truth: NDArray[Any], *, measured: BoolArray) -> float:
    """Root mean square error of the measured voxels, not clipped, in the image's units."""
    _check(image, truth, measured)
    return float(np.sqrt(np.mean((_exact(image) - _exact(truth))[measured] ** 2)))


def psnr(image: FloatArray, truth: FloatArray, *, window: tuple[float, float], measured: BoolArray) -> float:
    """Peak signal-to-noise ratio [dB] over the width of the window, at most `MOST_DB`."""
    error = rmse(_clipped(image, window), _clipped(truth, window), measured=measured)
    width = window[1] - window[0]
    smallest = float(width * 10 ** (-MOST_DB / 20))
    return float(20 * np.log10(width / max(error, smallest)))


def ssim(image: FloatArray, truth: FloatArray, *, window: tuple[float, float], measured: BoolArray) -> float:
    """Structural similarity (Wang 2004): Gaussian weights of 1.5 pixels, K1 = 0.01, K2 = 0.03.

    The window's lower end is the zero of its luminance term, which must not see negative values such as those of fat.
    The mean is over measured voxels whose 11 x 11 neighbourhood lies inside the image, or over all measured ones
    where there is none such.
    """
    similarity, inside = ssim_map(image, truth, window=window, measured=measured)
    judged = measured & inside
    return float(np.mean(similarity[judged if judged.any() else measured]))


def ssim_map(
    image: FloatArray, truth: FloatArray, *, window: tuple[float, float], measured: BoolArray
) -> tuple[Image, BoolArray]:
    """Structural similarity at each voxel, see `ssim`, and bool (y, x): whether its neighbourhood lies inside."""
    _check(image, truth, measured)
    reference = _clipped(truth, window) - window[0]
    compared = np.where(measured, _clipped(image, window) - window[0], reference)
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        compared,
        reference,
        data_range=window[1] - window[0],
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    inside = np.zeros_like(measured)
    inside[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS] = True
    return similarity, inside


def vif(image: FloatArray, truth: FloatArray, *, window: tuple[float, float], measured: BoolArray) -> float:
    """Visual information fidelity in the pixel domain, four scales, on grey levels 0..255 of the window."""
    _check(image, truth, measured)
    grey = 255.0 / (window[1] - window[0])
    reference = (_clipped(truth, window) - window[0]) * grey
    compared = (_clipped(image, window) - window[0]) * grey
    return visual_information(np.where(measured, compared, reference), reference)


def vif_z(image: FloatArray, truth: FloatArray, *, measured: BoolArray) -> float:
    """The variant of the multi-task MR paper: VIF of z-scored images, whose noise variance of 2 is meant for 0..255.

    At a variance of 1 the visual noise drowns all detail, and the figure is little more than one of contrast: use it
    for comparison with that paper only.
    """
    _check(image, truth, measured)
    reference = _exact(truth)
    return visual_information(_standard(np.where(measured, _exact(image), reference)), _standard(reference))


def visual_information(image: Image, truth: Image) -> float:
    """Information that the image holds about the truth, over what the truth holds (Sheikh & Bovik 2006, eq. 9).

    The pixel-domain version: at scale s = 1..4 local moments under a Gaussian of 2^(5-s) + 1 pixels, sigma a fifth of
    that; from one scale to the next smoothed with it and halved. No padding: what a window would need outside is
    left out.

    Args:
        image: float64 (y, x).
        truth: float64 (y, x).

    Returns:
        1 where both are equal, 0 where nothing of the truth is left, more than 1 where contrast was added. Of a truth
        without any contrast 1 if the image is equal, else 0.
    """
    kept = held = 0.0
    for scale in range(1, VIF_SCALES + 1):
        size = 2 ** (VIF_SCALES - scale + 1) + 1
        if scale > 1:
            image, truth = (_smooth(one, size)[::2, ::2] for one in (image, truth))
        mean, mean_truth = _smooth(image, size), _smooth(truth, size)
        variance = np.maximum(_smooth(image * image, size) - mean**2, 0.0)
        variance_truth = np.maximum(_smooth(truth * truth, size) - mean_truth**2, 0.0)
        covariance = _smooth(image * truth, size) - mean * mean_truth
        gain = np.where(variance_truth < _TINY, 0.0, covariance / (variance_truth + _TINY))
        rest = variance - gain * covariance
        # A flat image, or one that runs against the truth, tells nothing about it (as in the authors' program).
        against = gain < 0
        rest = np.where(against, variance, rest)
        gain = np.where(against | (variance < _TINY), 0.0, gain)
        rest = np.maximum(np.where(variance < _TINY, 0.0, rest), _TINY)
        kept += float(np.sum(np.log10(1 + gain**2 * variance_truth / (rest + VIF_NOISE))))
        held += float(np.sum(np.log10(1 + variance_truth / VIF_NOISE)))
    if held < _TINY:
        return 1.0 if np.array_equal(image, truth) else 0.0
    return kept / held


def _smooth(image: Image, size: int) -> Image:
    """Gaussian mean under `size` pixels, only where the whole window lies inside."""
    position = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (position / (size / 5.0)) ** 2)
    weights /= weights.sum()
    radius = size // 2
    smooth: Image = correlate1d(correlate1d(image, weights, axis=0), weights, axis=1)
    return smooth[radius:-radius, radius:-radius]


def _standard(image: Image) -> Image:
    spread = float(image.std())
    centred: Image = image - image.mean()
    return centred / spread if spread > 0 else centred


def _clipped(image: NDArray[Any], window: tuple[float, float]) -> Image:
    return np.clip(_exact(image), *window)


def _exact(image: NDArray[Any]) -> Image:
    return np.asarray(image, dtype=np.float64)


def _check(image: NDArray[Any], truth: NDArray[Any], measured: BoolArray) -> None:
    if image.ndim != 2 or image.shape != truth.shape or image.shape != measured.shape:
        raise ValueError(f"shapes differ or are no slices: {image.shape}, {truth.shape}, {measured.shape}")
    if min(image.shape) < SMALLEST_SIDE:
        raise ValueError(f"a slice needs {SMALLEST_SIDE} pixels a side, got {image.shape}")
    if not measured.any():
        raise ValueError("no voxel is measured")
