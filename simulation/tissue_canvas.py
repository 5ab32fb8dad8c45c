"""Slices painted in tissues: one anatomy, rendered as CT or in any MR contrast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.shapes import Shape
from simulation.tissues import Tissue, properties

Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))


class Canvas:
    """Share of each tissue in the voxels of one slice; what is painted later covers what was there.

    Args:
        points: (y, x, 3) voxel centres in the anatomy's own frame [mm].
        voxel_mm: pixel size, over which edges are mixed [mm].
        index: of the slice in its volume.
    """

    def __init__(self, points: FloatArray, voxel_mm: float, index: int = 0) -> None:
        self.points = points
        self.index = index
        self.voxel_mm = voxel_mm
        self.shares: dict[Tissue, FloatArray] = {Tissue.AIR: np.ones(points.shape[:-1], np.float32)}

    def cover(self, tissue: Tissue, share: NDArray[Any], window: Window = WHOLE) -> None:
        """Let a tissue take a share (0 to 1) of the voxels in a window from what is there."""
        keep = np.asarray(1 - share, np.float32)
        for there in self.shares.values():
            there[window] *= keep
        if tissue not in self.shares:
            self.shares[tissue] = np.zeros(self.points.shape[:-1], np.float32)
        self.shares[tissue][window] += share

    def replace(self, old: Tissue, new: Tissue, share: NDArray[Any], window: Window = WHOLE) -> None:
        """Turn a share (0 to 1) of one tissue into another."""
        if old not in self.shares:
            return
        taken = self.shares[old][window] * share
        self.shares[old][window] -= taken
        if new not in self.shares:
            self.shares[new] = np.zeros(self.points.shape[:-1], np.float32)
        self.shares[new][window] += taken

    def fill(self, tissue: Tissue, distance: NDArray[Any], window: Window = WHOLE, edge_mm: float = 0.0) -> None:
        """Fill where a signed distance [mm] is negative; the edge is a voxel and `edge_mm` wide."""
        share = shapes.fill_share(np.asarray(distance, np.float32), self.voxel_mm + edge_mm)
        self.cover(tissue, share, window)

    def draw(self, tissue: Tissue, shape: Shape, edge_mm: float = 0.0, within: FloatArray | None = None) -> None:
        """Fill a shape, where another signed distance (y, x) is negative if one is given."""
        found = shapes.distance_on_slice(shape, self.points, 2 * self.voxel_mm + edge_mm)
        if found is not None:
            window, distance = found
            if within is not None:
                distance = np.maximum(distance, within[window])
            self.fill(tissue, distance, window, edge_mm)

    def replace_in(self, old: Tissue, new: Tissue, shape: Shape, share: float) -> None:
        """Turn a share of one tissue into another within a shape."""
        found = shapes.distance_on_slice(shape, self.points, 2 * self.voxel_mm)
        if found is not None:
            self.replace(old, new, np.float32(share) * shapes.fill_share(found[1], self.voxel_mm), found[0])

    def draw_bone(self, shape: Shape, cortex_mm: float, marrow: Tissue) -> None:
        """Fill a shape with marrow in a shell of cortical bone."""
        found = shapes.distance_on_slice(shape, self.points, 2 * self.voxel_mm)
        if found is not None:
            window, distance = found
            self.fill(Tissue.CORTICAL_BONE, distance, window)
            self.fill(marrow, distance + cortex_mm, window)

    def take_over(self, part: Canvas, window: Window) -> None:
        """Put the shares of a canvas of the same slice in place of what is in a window."""
        for there in self.shares.values():
            there[window] = 0
        for tissue, share in part.shares.items():
            if tissue not in self.shares:
                self.shares[tissue] = np.zeros(self.points.shape[:-1], np.float32)
            self.shares[tissue][window] = share

    def rendered(
        self, values: Mapping[Tissue, float], texture: tuple[FloatArray, FloatArray], strength: float = 1.0
    ) -> FloatArray:
        """Mix the values of the tissues, each with its own grain.

        Args:
            values: signed value of each tissue.
            texture: coarse and fine field of unit variance, (y, x) each.
            strength: factor on the grain of all tissues.

        Returns:
            (y, x) signed values; the caller takes the magnitude.
        """
        coarse, fine = texture
        mixed = np.zeros(coarse.shape, np.float32)
        for tissue, share in self.shares.items():
            value = np.float32(values[tissue])
            if value != 0:
                rough, smooth = (np.float32(strength * grain) for grain in properties(tissue).grain)
                mixed += (share * value) * (1 + rough * coarse + smooth * fine)
        return mixed

    def labels(self) -> NDArray[np.uint8]:
        """Index into `tuple(Tissue)` of the tissue with the largest share, uint8 (y, x)."""
        order = {tissue: index for index, tissue in enumerate(Tissue)}
        names = list(self.shares)
        largest = np.stack([self.shares[name] for name in names]).argmax(axis=0)
        labels: NDArray[np.uint8] = np.array([order[name] for name in names], np.uint8)[largest]
        return labels
