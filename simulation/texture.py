"""Random fields with the grain of tissue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from dicom_node.contracts import FloatArray, Geometry

_SIDE = 64
_SAMPLES_PER_WAVE = 5.0
_SAMPLES_PER_SLICE_WAVE = 10.0


class SliceTexture:
    """Smooth random field of unit variance on the grid of a volume that also varies slowly from slice to slice.

    Args:
        rng: source of the values.
        geometry: grid of the volume.
        scale_mm: distance between independent values [mm].
    """

    def __init__(self, rng: np.random.Generator, geometry: Geometry, scale_mm: float) -> None:
        spacing = geometry.slice_spacing_mm or 1.0
        steps = (spacing / scale_mm, *(s / scale_mm for s in geometry.pixel_spacing_mm))
        self._counts = tuple(int(n * s) + 4 for n, s in zip(geometry.shape, steps, strict=True))
        self._steps = steps
        self._grid: NDArray[np.float32] = ndimage.gaussian_filter(rng.standard_normal(self._counts, np.float32), 0.7)
        self._grid /= self._grid.std()
        self._shape = geometry.shape[1:]

    def at(self, index: int) -> FloatArray:
        """Field on slice `index`, (y, x)."""
        height = 1 + index * self._steps[0]
        below = int(height)
        plane = self._grid[below] * (1 - (height - below)) + self._grid[below + 1] * (height - below)
        matrix = [self._steps[1], self._steps[2]]
        field = ndimage.affine_transform(plane, matrix, offset=1.0, output_shape=self._shape, order=1)
        return np.asarray(field, np.float32)


class RandomField:
    """Random field of unit variance and zero mean in space, dominated by one wavelength.

    It belongs to the tissue, not to a grid: planes of any direction cut the same field. It repeats after about
    thirteen wavelengths along axes that are turned at random.

    Args:
        rng: source of the values.
        wavelength_mm: of the strongest waves [mm].
        octaves: width of the band; 0.25 gives waves of nearly one length (folds), 1 gives grain.
    """

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, octaves: float = 1.0) -> None:
        white = rng.standard_normal((_SIDE, _SIDE, _SIDE), np.float32)
        along, half = fft.fftfreq(_SIDE).astype(np.float32), fft.rfftfreq(_SIDE).astype(np.float32)
        wave = np.sqrt(along[:, None, None] ** 2 + along[None, :, None] ** 2 + half[None, None, :] ** 2)
        away = np.log2(np.maximum(wave, 1e-6) * _SAMPLES_PER_WAVE) / octaves
        grid = fft.irfftn(fft.rfftn(white) * np.exp(-0.5 * away**2), s=white.shape).astype(np.float32)
        # Taken as B-spline coefficients: smooth in between, and no prefilter is needed.
        self._grid = grid
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        self._wavelength_mm = wavelength_mm
        self._turn = (turn * (_SAMPLES_PER_WAVE / wavelength_mm)).astype(np.float32)
        self._start = rng.uniform(0, _SIDE, 3).astype(np.float32)
        probes = rng.uniform(0, _SIDE, (3, 4096)).astype(np.float32)
        self._grid /= ndimage.map_coordinates(grid, probes, order=3, mode="grid-wrap", prefilter=False).std()

    def at(self, points: NDArray[Any]) -> FloatArray:
        """Field at points (..., 3) [mm], (...)."""
        places = np.moveaxis(np.asarray(points, np.float32) @ self._turn + self._start, -1, 0)
        field = ndimage.map_coordinates(self._grid, places, order=3, mode="grid-wrap", prefilter=False)
        return np.asarray(field, np.float32)

    def over(self, points: NDArray[Any]) -> FloatArray:
        """Field on a slice (y, x, 3) [mm], (y, x): asked ten times in a wavelength and linear in between.

        Much cheaper than `at` where pixels are far smaller than waves; the error is a few per cent of the deviation.
        """
        pixel = float(np.linalg.norm(points[-1, -1] - points[0, 0])) / max(float(np.hypot(*points.shape[:2])), 1.0)
        step = int(self._wavelength_mm / _SAMPLES_PER_SLICE_WAVE / max(pixel, 1e-6))
        if step < 2:
            return self.at(points)
        rows, columns = (np.unique(np.append(np.arange(0, n, step), n - 1)) for n in points.shape[:2])
        known = self.at(points[rows[:, None], columns])
        return _refined(_refined(known, rows).T, columns).T


def sheets(field: FloatArray, wavelength_mm: float, half_mm: float, voxel_mm: float) -> FloatArray:
    """Share of voxels (0 to 1) taken by thin sheets along the zero set of a `RandomField`, as septa run.

    Args:
        field: values of the field.
        wavelength_mm: of the field [mm].
        half_mm: half the thickness of the sheets [mm].
        voxel_mm: pixel size [mm]; sheets thinner than it fade and do not break up into dots.
    """
    slope = 2 * np.pi / wavelength_mm
    width = float(np.hypot(half_mm, 0.5 * voxel_mm))
    share: FloatArray = np.float32(half_mm / width) * np.exp(-((field / np.float32(slope * width)) ** 2))
    return share


def _refined(values: FloatArray, knots: NDArray[np.int64]) -> FloatArray:
    """Rows 0, 1, ... by linear interpolation between rows at increasing indices `knots` that start at 0."""
    at = np.arange(knots[-1] + 1)
    before = np.searchsorted(knots, at[:-1], side="right") - 1
    before = np.append(before, max(len(knots) - 2, 0))
    after = np.minimum(before + 1, len(knots) - 1)
    share = ((at - knots[before]) / np.maximum(knots[after] - knots[before], 1)).astype(np.float32)[:, None]
    refined: FloatArray = values[before] * (1 - share) + values[after] * share
    return refined
