"""CT slices on a common working grid: same pixel size for every patient, centred on the body, as whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from correctors.hipct.body import body_mask
from dicom_node.contracts import FloatArray, Volume
from dicom_node.errors import UnusableSeries
from simulation.hip_sites import find_hips

AIR_HU = -1000.0
STEEPEST_DEGREES = 1.0
METAL_HU = 2800.0
"""A slice with more than a few voxels of this is not free of metal [HU]."""
_METAL_VOXELS = 12
_FAR_MM = 120.0
"""Slices farther from the femoral heads than this look unlike a hip."""


class NearHipSlices:
    """What tasks on slices near the hips have in common: how real CT is prepared; see `training.task.Task`."""

    modality = "CT"
    tags = ()

    def __init__(self, side: int, pixel_mm: float) -> None:
        """Choose the working grid.

        Args:
            side: pixels along each side.
            pixel_mm: their size [mm].
        """
        self._side, self._pixel_mm = side, pixel_mm

    @property
    def preparation(self) -> str:
        """Changes with the working grid."""
        return f"near-hip-slices-3:{self._side}x{self._pixel_mm}"

    def prepare(self, image: Volume) -> Mapping[str, NDArray[Any]]:
        """Slices near the hips on the working grid; see `near_hip_slices`."""
        return near_hip_slices(image, self._side, self._pixel_mm)


def near_hip_slices(image: Volume, side: int, pixel_mm: float) -> dict[str, NDArray[np.generic]]:
    """Slices near the hips on the working grid.

    Args:
        image: axial CT (z, y, x) [HU].
        side: pixels along each side of the working grid.
        pixel_mm: its pixel size [mm].

    Returns:
        `frames`: int16 (slice, y, x) [HU]; `frames_offset_mm`: float32 (slice,), how far each lies above the femoral
        heads; `sites_mm`: float32 (site, 2), where these lie (y, x) from the middle of the working grid [mm].

    Raises:
        UnusableSeries: not axial, no hip in it, or metal in all of it.
    """
    geometry = image.geometry
    if image.axes != "zyx" or abs(geometry.normal[2]) < np.cos(np.deg2rad(STEEPEST_DEGREES)):
        raise UnusableSeries("slices are not axial")
    pixels = np.maximum(image.pixels, np.float32(AIR_HU))
    if image.padding is not None:
        pixels = np.where(image.padding, np.float32(AIR_HU), pixels)
    sites = find_hips(pixels, geometry)
    if not sites:
        raise UnusableSeries("no femoral head was found in it")
    heights = np.asarray(geometry.slice_origins_mm) @ np.asarray(geometry.normal)
    head = float(np.mean([np.asarray(site.centre_mm) @ np.asarray(geometry.normal) for site in sites]))
    frames, offsets, centres = [], [], []
    for z in range(pixels.shape[0]):
        if abs(heights[z] - head) > _FAR_MM or int((pixels[z] >= METAL_HU).sum()) > _METAL_VOXELS:
            continue
        centre = _body_centre(pixels[z])
        if centre is None:
            continue
        frames.append(_on_grid(pixels[z], centre, geometry.pixel_spacing_mm, side, pixel_mm))
        offsets.append(heights[z] - head)
        centres.append(centre)
    if not frames:
        raise UnusableSeries("every slice near the hips holds metal, or no patient")
    nearest = centres[int(np.abs(offsets).argmin())]
    origin = np.asarray(geometry.slice_origins_mm[0])
    places = []
    for site in sites:
        away = np.asarray(site.centre_mm) - origin
        down = away @ np.asarray(geometry.column_direction) - nearest[0] * geometry.pixel_spacing_mm[0]
        right = away @ np.asarray(geometry.row_direction) - nearest[1] * geometry.pixel_spacing_mm[1]
        places.append((down, right))
    return {
        "frames": np.stack(frames),
        "frames_offset_mm": np.asarray(offsets, np.float32),
        "sites_mm": np.asarray(places, np.float32),
    }


def _body_centre(slice_hu: FloatArray) -> tuple[float, float] | None:
    """Middle of the patient's bounding box (row, column) [pixels]."""
    rows, columns = np.nonzero(body_mask(slice_hu))
    if len(rows) == 0:
        return None
    return float(rows.min() + rows.max()) / 2, float(columns.min() + columns.max()) / 2


def _on_grid(
    slice_hu: FloatArray, centre: tuple[float, float], spacing_mm: tuple[float, float], side: int, pixel_mm: float
) -> NDArray[np.int16]:
    """Sample around a centre, smoothed first where the working grid is the coarser."""
    steps = [pixel_mm / s for s in spacing_mm]
    smooth = ndimage.gaussian_filter(slice_hu, [0.35 * s if s > 1 else 0.0 for s in steps])
    offset = np.arange(side) - (side - 1) / 2
    at = np.meshgrid(centre[0] + offset * steps[0], centre[1] + offset * steps[1], indexing="ij")
    sampled: FloatArray = ndimage.map_coordinates(smooth, at, order=1, cval=AIR_HU)
    return np.rint(np.clip(sampled, AIR_HU, 4000)).astype(np.int16)
