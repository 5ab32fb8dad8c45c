"""A procedural pelvis: anatomy-like CT of the hips without any patient's data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.pelvis_anatomy import Anatomy, Bone, draw_anatomy
from simulation.texture import SliceTexture

AIR_HU = -1000.0
SKIN_MM = 2.0


@dataclass(frozen=True, eq=False)
class PelvisPhantom:
    """A synthetic CT of the hips.

    Attributes:
        hu: float32 (z, y, x) [HU].
        geometry: axial, head first supine, slices from feet to head.
        hips: true places of the femoral heads, right first.
    """

    hu: FloatArray
    geometry: Geometry
    hips: tuple[HipSite, ...]


def make_pelvis(
    *,
    seed: int,
    slices: int = 40,
    n_pixels: int = 512,
    pixel_mm: float = 0.85,
    spacing_mm: float = 3.0,
    noise_hu: float = 8.0,
) -> PelvisPhantom:
    """Make a pelvis; each seed is another patient.

    Args:
        seed: of size, fat, posture, density, texture and noise.
        slices: number of slices; the femoral heads lie at 60 % of the stack's height.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm]; n_pixels * pixel_mm should be 400 mm or more.
        spacing_mm: distance between slices [mm].
        noise_hu: standard deviation of the image noise [HU].

    Returns:
        The phantom.
    """
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng)
    geometry = pelvis_geometry(slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm)
    coarse, fine = SliceTexture(rng, geometry, 14.0), SliceTexture(rng, geometry, 2.5)
    hu = np.empty(geometry.shape, np.float32)
    for z in range(slices):
        hu[z] = _slice(anatomy, shapes.slice_points(geometry, z), pixel_mm, coarse.at(z), fine.at(z))
        if noise_hu > 0:
            grain = ndimage.gaussian_filter(rng.standard_normal(hu[z].shape, np.float32), 0.6)
            hu[z] += grain * np.float32(noise_hu / float(grain.std()))
    return PelvisPhantom(np.clip(hu, -1024, 3071), geometry, anatomy.hips)


def pelvis_geometry(*, slices: int, n_pixels: int, pixel_mm: float, spacing_mm: float) -> Geometry:
    """Grid of `make_pelvis`."""
    start = -(n_pixels - 1) / 2 * pixel_mm
    lowest = -0.6 * (slices - 1) * spacing_mm
    return Geometry(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        pixel_spacing_mm=(pixel_mm, pixel_mm),
        slice_origins_mm=tuple((start, start, lowest + k * spacing_mm) for k in range(slices)),
        rows=n_pixels,
        columns=n_pixels,
        slice_thickness_mm=spacing_mm,
    )


def septa(coarse: FloatArray) -> FloatArray:
    """Share of fat between and within muscles: it follows the level sets of a coarse texture, as septa do."""
    share: FloatArray = np.exp(-((coarse / 0.12) ** 2)) * 0.8
    return share


def _slice(anatomy: Anatomy, points: FloatArray, voxel_mm: float, coarse: FloatArray, fine: FloatArray) -> FloatArray:
    """CT numbers of one slice; `coarse` and `fine` are unit-variance textures."""
    hu = np.full(points.shape[:2], AIR_HU, np.float32)
    outside = anatomy.body_distance(points)
    _blend(hu, shapes.fill_share(outside, voxel_mm), 10.0)
    _blend(hu, shapes.fill_share(outside + SKIN_MM, voxel_mm), anatomy.fat_hu + 8 * fine)
    within = outside + anatomy.fat_mm + 3 * coarse
    muscle = anatomy.muscle_hu + 10 * fine - septa(coarse) * (anatomy.muscle_hu - anatomy.fat_hu)
    _blend(hu, shapes.fill_share(within, voxel_mm), muscle)
    for organ in anatomy.organs:
        found = shapes.distance_on_slice(organ.shape, points, 2 * voxel_mm)
        if found is not None:
            window, distance = found
            value = organ.hu + organ.texture_hu * fine[window]
            _blend(hu[window], shapes.fill_share(distance, organ.edge_mm + voxel_mm), value)
    for bone in anatomy.bones:
        _draw_bone(hu, bone, points, voxel_mm, fine)
    return hu


def _draw_bone(hu: FloatArray, bone: Bone, points: FloatArray, voxel_mm: float, fine: FloatArray) -> None:
    found = shapes.distance_on_slice(bone.shape, points, 2 * voxel_mm)
    if found is None:
        return
    window, distance = found
    spongy = bone.cancellous_hu + 0.25 * abs(bone.cancellous_hu) * fine[window]
    marrow = shapes.fill_share(distance + bone.cortex_mm, voxel_mm)
    inside = bone.cortex_hu * (1 - marrow) + spongy * marrow
    _blend(hu[window], shapes.fill_share(distance, voxel_mm), inside)


def _blend(hu: FloatArray, share: FloatArray, value: FloatArray | float) -> None:
    """Mix `value` into `hu` in place."""
    hu += share * (value - hu)
