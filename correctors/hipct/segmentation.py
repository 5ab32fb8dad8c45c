"""Finds metal implants in CT: dense voxels, joined over slices, sorted by whether they can be an implant.

Scanners that store 12 bits clip metal at 3071 HU, so a threshold also takes in the blurred rim. Two masks come out:
`metal`, tight, whose voxels keep their values, and `shadow`, with the dense rim, whose rays count as disturbed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from correctors.hipct.body import body_mask
from correctors.hipct.kmeans import metal_threshold
from dicom_node.contracts import BoolArray, FloatArray, Volume

EIGHT = np.ones((3, 3), dtype=bool)
LOWEST_PEAK_HU = 2900.0
"""Metal reaches the 12-bit ceiling (3071 HU) in its middle; contrast medium and cortical bone stay below [HU]."""
RIM_HU = 1800.0
"""Blurred rim of metal from here on [HU]; only next to metal, so dense bone elsewhere is not taken in."""
SHADOW_HU = 2500.0
"""Rim whose rays count as disturbed [HU]; taking in more costs anatomy that interpolation must then guess."""
LONGEST_RIM_MM = 2.5
MIDLINE_MM = 40.0
"""Metal whose middle is nearer to the patient's midline than this is in no hip [mm]."""
NARROWEST_PELVIS_MM = 200.0
"""A patient narrower than this is shown at head, neck or limb [mm]."""
FULL_METAL_HU = 3000.0
"""A voxel next to tissue that is at least so dense is mostly metal, also under a 12-bit ceiling [HU]."""


class Verdict(StrEnum):
    """Why an object counts as an implant or not."""

    IMPLANT = "implant"
    SPECK = "too small for an implant"
    NOT_METAL = "not dense enough in its middle: calcification or contrast medium"
    OUTSIDE = "outside the patient: table, wire or marker"
    ELSEWHERE = "metal, but not in a hip: near the midline (spine, sacrum, symphysis) or not in a pelvis"


@dataclass(frozen=True)
class DenseObject:
    """One connected dense object.

    Attributes:
        slices: first and last slice index.
        largest_area_mm2: largest cross-section [mm2].
        peak_hu: 90th percentile of its values [HU].
        verdict: what it was taken for.
    """

    slices: tuple[int, int]
    largest_area_mm2: float
    peak_hu: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found.

    Attributes:
        metal: bool (z, y, x), implants, tight.
        objects: every dense object, implants or not.
        threshold_hu: value from which voxels counted as dense [HU].
        dense: bool (z,), slices that hold anything dense, implant or not.
    """

    metal: BoolArray
    objects: tuple[DenseObject, ...]
    threshold_hu: float
    dense: BoolArray

    @property
    def slices(self) -> tuple[int, ...]:
        """Indices of the slices with metal."""
        return tuple(int(z) for z in np.flatnonzero(self.metal.any(axis=(1, 2))))

    def without(self, slices: Sequence[int]) -> Segmentation:
        """The same with no metal in some slices."""
        metal = self.metal.copy()
        metal[list(slices)] = False
        return replace(self, metal=metal)


def segment(volume: Volume, *, method: str, threshold_hu: float, smallest_mm2: float) -> Segmentation:
    """Find the implants of a series.

    Args:
        volume: CT (z, y, x) [HU].
        method: `threshold` or `kmeans`.
        threshold_hu: lowest value of metal [HU]; for kmeans the lowest centre of a metal cluster.
        smallest_mm2: smallest largest-cross-section of an implant [mm2].

    Returns:
        Mask and list of dense objects; an empty mask when there is no metal.
    """
    pixels = volume.pixels
    metal = np.zeros(pixels.shape, dtype=bool)
    threshold = threshold_hu
    if method == "kmeans":
        found = metal_threshold(pixels, threshold_hu)
        if found is None:
            return Segmentation(metal, (), threshold_hu, np.zeros(len(pixels), dtype=bool))
        # Streaks and dense bone can pull the boundary down; below this it would take in bone.
        threshold = max(found, RIM_HU)
    row_mm, column_mm = volume.geometry.pixel_spacing_mm
    # Where the patient's left and right lie in the image: along its rows unless it is turned.
    across = 1 if abs(volume.geometry.row_direction[0]) >= abs(volume.geometry.column_direction[0]) else 0
    objects: list[DenseObject] = []
    bodies: dict[int, BoolArray] = {}
    for parts in _connected(pixels, threshold):
        dense = _judge(pixels, parts, bodies, row_mm * column_mm, smallest_mm2)
        if dense.verdict is Verdict.IMPLANT and not _in_hip(parts, bodies, across, (row_mm, column_mm)[across]):
            dense = replace(dense, verdict=Verdict.ELSEWHERE)
        objects.append(dense)
        if dense.verdict is Verdict.IMPLANT:
            for z, rows, columns in parts:
                metal[z, rows, columns] = True
    for slice_index in np.flatnonzero(metal.any(axis=(1, 2))):
        z = int(slice_index)
        metal[z] = tighten(pixels[z], metal[z])
    dense_slices = np.array([bool((one >= threshold).any()) for one in pixels])
    return Segmentation(metal, tuple(objects), threshold, dense_slices)


def tighten(slice_hu: FloatArray, metal: BoolArray) -> BoolArray:
    """Metal voxels that are mostly metal: each object is cut at half its own height where that is known.

    Under a 12-bit ceiling the height is unknown and the cut lies just below the ceiling.

    Args:
        slice_hu: (y, x) [HU].
        metal: bool (y, x), voxels at or above the threshold.

    Returns:
        bool (y, x), a subset of `metal` with enclosed voxels filled.
    """
    labels, count = ndimage.label(metal, EIGHT)
    kept = np.zeros_like(metal)
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        inside = labels[box] == number
        values = slice_hu[box]
        half = 0.5 * float(np.percentile(values[inside], 75))
        kept[box] |= inside & (values >= max(FULL_METAL_HU, half))
        # Photon starvation leaves dark voxels in the middle of cobalt: small enclosed holes are metal.
        kept[box] |= _small_holes(kept[box])
    return kept if kept.any() else metal


def shadow(slice_hu: FloatArray, metal: BoolArray, pixel_mm: float) -> BoolArray:
    """Everything whose rays metal disturbs: the metal and its dense blurred rim.

    Args:
        slice_hu: (y, x) [HU].
        metal: bool (y, x) tight metal mask.
        pixel_mm: pixel size [mm].

    Returns:
        bool (y, x).
    """
    reach = max(1, round(LONGEST_RIM_MM / pixel_mm))
    near = ndimage.binary_dilation(metal, EIGHT, iterations=reach)
    rim: BoolArray = ndimage.binary_propagation(metal, EIGHT, mask=metal | (near & (slice_hu >= SHADOW_HU)))
    return rim


Part = tuple[int, NDArray[np.intp], NDArray[np.intp]]


def _connected(pixels: FloatArray, threshold: float) -> list[list[Part]]:
    """Objects of voxels >= threshold, 26-connected, slice by slice so that no volume of labels is held."""
    parts: list[Part] = []
    parent: list[int] = []
    before: NDArray[np.int32] = np.full(pixels.shape[1:], -1, dtype=np.int32)
    for z, one in enumerate(pixels):
        dense = one >= threshold
        numbers = np.full(pixels.shape[1:], -1, dtype=np.int32)
        if dense.any():
            labels, count = ndimage.label(dense, EIGHT)
            grown = ndimage.grey_dilation(before, footprint=EIGHT)
            for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
                here = labels[box] == number
                rows, columns = np.nonzero(here)
                own = len(parts)
                parts.append((z, rows + box[0].start, columns + box[1].start))
                parent.append(own)
                numbers[box][here] = own
                touched = before[box][here], grown[box][here]
                for other in np.unique(np.concatenate(touched)):
                    if other >= 0:
                        parent[_root(parent, own)] = _root(parent, int(other))
        before = numbers
    groups: dict[int, list[Part]] = {}
    for own, part in enumerate(parts):
        groups.setdefault(_root(parent, own), []).append(part)
    return list(groups.values())


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _judge(
    pixels: FloatArray, parts: list[Part], bodies: dict[int, BoolArray], pixel_mm2: float, smallest_mm2: float
) -> DenseObject:
    areas: dict[int, int] = {}
    for z, rows, _ in parts:
        areas[z] = areas.get(z, 0) + len(rows)
    largest = max(areas.values()) * pixel_mm2
    peak = float(np.percentile(np.concatenate([pixels[part] for part in parts]), 90))
    slices = (min(areas), max(areas))
    if largest < smallest_mm2:
        verdict = Verdict.SPECK
    elif peak < LOWEST_PEAK_HU:
        verdict = Verdict.NOT_METAL
    elif not _in_body(pixels, parts, bodies):
        verdict = Verdict.OUTSIDE
    else:
        verdict = Verdict.IMPLANT
    return DenseObject(slices, largest, peak, verdict)


def _in_body(pixels: FloatArray, parts: list[Part], bodies: dict[int, BoolArray]) -> bool:
    inside = total = 0
    for z, rows, columns in parts:
        if z not in bodies:
            bodies[z] = body_mask(pixels[z])
        inside += int(bodies[z][rows, columns].sum())
        total += len(rows)
    return bool(2 * inside >= total)


def _in_hip(parts: list[Part], bodies: dict[int, BoolArray], across: int, pixel_mm: float) -> bool:
    """Whether an object lies beside the midline of something as wide as a pelvis; the median over its slices."""
    offsets, widths = [], []
    for z, rows, columns in parts:
        extent = np.flatnonzero(bodies[z].any(axis=1 - across))
        if len(extent) == 0:
            continue
        middle = (extent[0] + extent[-1]) / 2
        offsets.append(abs(float(np.mean((rows, columns)[across])) - middle) * pixel_mm)
        widths.append((extent[-1] - extent[0] + 1) * pixel_mm)
    return bool(offsets) and np.median(offsets) >= MIDLINE_MM and np.median(widths) >= NARROWEST_PELVIS_MM


def _small_holes(mask: BoolArray) -> BoolArray:
    holes: BoolArray = ndimage.binary_fill_holes(mask) & ~mask
    labels, count = ndimage.label(holes)
    if count == 0:
        return holes
    sizes = np.bincount(labels.ravel())
    # A liner between cup and head is a large hole and no metal.
    small = sizes <= max(4, mask.sum() // 20)
    small[0] = False
    found: BoolArray = np.asarray(small, dtype=np.bool_)[labels]
    return found
