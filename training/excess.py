"""What is left of an artefact beyond noise, and whether noise and bone edges survived its correction.

All figures compare with the *floor*: the same acquisition, noise and all, without metal. Values are clipped to the
judged window first, so that a few voxels beside metal do not stand for a whole slice.

| figure | what | voxels | perfect |
|---|---|---|---|
| `excess` | root of mean square error minus that of the floor, 0 where that is negative | measured | 0 |
| `streak` | mean of the largest 5 % of the error minus mean of the smallest 5 % | measured, in the body | the floor's |
| `noise_ratio` | noise that is left, over the input's; see `training.noise_kept` | soft tissue, 30 mm from metal | 1 |
| `bone_edges` | slope along the truth's at edges of bone, over the floor's | measured, up to 60 mm from metal | 1 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from correctors.hipct.body import body_mask
from dicom_node.contracts import BoolArray, FloatArray
from training import noise_kept
from training.noise_kept import KnownNoise, known_noise

Image = NDArray[np.float64]
Stack = NDArray[np.float64]
TAIL = 0.05
SOFT_HU = (-150.0, 150.0)
"""Fat and muscle, after smoothing [HU]."""
SOFT_SIGMA = 1.5
SOFT_MARGIN = 4
"""Voxels that soft tissue keeps away from skin, gas and bone: their edges are no noise."""
FAR_MM = 30.0
EDGE_HU_PER_MM = 150.0
"""Slope of the truth from which an edge of bone is one of its cortex [HU/mm]."""
BONE_HU = 250.0
EDGE_MARGIN = 3
"""Voxels that edges keep away from what is not measured: metal's own edges are no bone's."""
NEAR_MM = 60.0
FEWEST_EDGES = 100


@dataclass(frozen=True, eq=False)
class JudgedCase:
    """The judged slices of a case, the same for every method. All arrays (slice, y, x), values clipped to the window.

    Attributes:
        truth: [HU].
        floor: the same acquisition without metal [HU].
        artefact: what the methods get [HU].
        measured: bool, voxels that are judged.
        body: bool, those of the patient.
        edges: bool, where bone edges are measured.
        noise: of each slice.
        window: lowest and highest value [HU].
    """

    truth: Stack
    floor: Stack
    artefact: Stack
    measured: BoolArray
    body: BoolArray
    edges: BoolArray
    noise: tuple[KnownNoise, ...]
    window: tuple[float, float]


@dataclass(frozen=True)
class ExcessFigures:
    """What one method scores in one case; see the module.

    Attributes:
        excess: error beyond noise [HU].
        streak: streak amplitude [HU]; None without a patient.
        noise_ratio: None where there is no noise or no place to measure it.
        bone_edges: None where there are too few.
    """

    excess: float
    streak: float | None
    noise_ratio: float | None
    bone_edges: float | None


def judged_case(
    truth: FloatArray,
    floor: FloatArray,
    artefact: FloatArray,
    *,
    measured: BoolArray,
    window: tuple[float, float],
    pixel_mm: float,
) -> JudgedCase:
    """Prepare the judged slices of a case.

    Args:
        truth: (slice, y, x) [HU]; voxels above the window that are not measured are the metal.
        floor: (slice, y, x) [HU].
        artefact: (slice, y, x) [HU].
        measured: bool (slice, y, x), voxels that are judged.
        window: lowest and highest value [HU].
        pixel_mm: pixel size [mm].

    Raises:
        ValueError: shapes differ, or nothing is measured.
    """
    if not truth.shape == floor.shape == artefact.shape == measured.shape or truth.ndim != 3:
        raise ValueError(f"shapes differ: {truth.shape}, {floor.shape}, {artefact.shape}, {measured.shape}")
    if not measured.any():
        raise ValueError("no voxel is measured")
    metal = ~measured & (truth > window[1])
    distance = np.stack([_distance_mm(one, pixel_mm) for one in metal])
    body = np.stack([body_mask(one) for one in truth]) & measured
    clean, without, given = (clipped(one, window) for one in (truth, floor, artefact))
    soft = np.stack([_soft(one, where) for one, where in zip(clean, body, strict=True)])
    edges = np.stack([_bone_edges(one, where, pixel_mm) for one, where in zip(clean, measured, strict=True)])
    noise = known_noise(
        without - clean, given - without, metal=metal, far=soft & (distance >= FAR_MM), pixel_mm=pixel_mm
    )
    return JudgedCase(clean, without, given, measured, body, edges & (distance <= NEAR_MM), tuple(noise), window)


def excess_figures(images: FloatArray, case: JudgedCase) -> ExcessFigures:
    """All figures of a method.

    Args:
        images: (slice, y, x), what it made of the artefact [HU].
        case: prepared.
    """
    made = clipped(images, case.window)
    errors = made - case.truth
    return ExcessFigures(
        excess=excess(errors, case.floor - case.truth, case.measured),
        streak=streak_amplitude(errors, case.body),
        noise_ratio=noise_kept.noise_ratio(list(errors), list(case.artefact - case.truth), case.noise),
        bone_edges=bone_edges(made, case),
    )


def floor_figures(case: JudgedCase) -> tuple[float, float | None]:
    """Root mean square error and streak amplitude of the floor [HU]."""
    noise = case.floor - case.truth
    return float(np.sqrt(np.mean(_mean_squares(noise, case.measured)))), streak_amplitude(noise, case.body)


def excess(errors: Stack, noise: Stack, measured: BoolArray) -> float:
    """Error beyond noise: sqrt(max(0, MSE - MSE of the floor)), each the mean over slices.

    Args:
        errors: (slice, y, x), image minus truth [HU].
        noise: (slice, y, x), floor minus truth [HU].
        measured: bool (slice, y, x).
    """
    beyond = float(np.mean(_mean_squares(errors, measured)) - np.mean(_mean_squares(noise, measured)))
    return float(np.sqrt(max(0.0, beyond)))


def streak_amplitude(errors: Stack, body: BoolArray) -> float | None:
    """Mean of the largest 5 % of a slice's error minus mean of the smallest 5 % [HU], mean over slices."""
    amplitudes = []
    for error, where in zip(errors, body, strict=True):
        ordered = np.sort(error[where])
        if len(ordered):
            tail = max(1, round(TAIL * len(ordered)))
            amplitudes.append(float(ordered[-tail:].mean() - ordered[:tail].mean()))
    return float(np.mean(amplitudes)) if amplitudes else None


def bone_edges(images: Stack, case: JudgedCase) -> float | None:
    """Slope of images at the truth's bone edges, along the truth's own slope, over the same of the floor.

    The component along the truth's gradient is linear in the image: noise does not add to it, as it does to a
    gradient's magnitude.

    Args:
        images: (slice, y, x), clipped to the window [HU].
        case: prepared.
    """
    if int(case.edges.sum()) < FEWEST_EDGES:
        return None
    along, reference = (_slope(one, case) for one in (images, case.floor))
    return along / reference if reference > 0 else None


def clipped(images: FloatArray | Stack, window: tuple[float, float]) -> Stack:
    """To the window, in float64."""
    return np.clip(np.asarray(images, dtype=np.float64), *window)


def _mean_squares(errors: Stack, measured: BoolArray) -> Sequence[float]:
    return [float(np.mean(one[where] ** 2)) for one, where in zip(errors, measured, strict=True) if where.any()]


def _slope(images: Stack, case: JudgedCase) -> float:
    ours, directions = (np.gradient(one, axis=(1, 2)) for one in (images, case.truth))
    return sum(float(np.sum((a * b)[case.edges])) for a, b in zip(ours, directions, strict=True))


def _distance_mm(metal: BoolArray, pixel_mm: float) -> Image:
    """From the next metal of the slice [mm]; infinite where there is none."""
    if not metal.any():
        return np.full(metal.shape, np.inf)
    distance: Image = ndimage.distance_transform_edt(~metal) * pixel_mm
    return distance


def _soft(truth: Image, body: BoolArray) -> BoolArray:
    smooth = ndimage.gaussian_filter(truth, SOFT_SIGMA)
    tissue = body & (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1])
    inner: BoolArray = ndimage.binary_erosion(tissue, np.ones((3, 3), dtype=bool), iterations=SOFT_MARGIN)
    return inner


def _bone_edges(truth: Image, measured: BoolArray, pixel_mm: float) -> BoolArray:
    steep = np.hypot(*np.gradient(truth, pixel_mm)) > EDGE_HU_PER_MM
    bone = ndimage.maximum_filter(ndimage.gaussian_filter(truth, 1.0), 3) > BONE_HU
    inner: BoolArray = ndimage.binary_erosion(
        measured, np.ones((3, 3), dtype=bool), iterations=EDGE_MARGIN, border_value=1
    )
    edges: BoolArray = steep & bone & inner
    return edges
