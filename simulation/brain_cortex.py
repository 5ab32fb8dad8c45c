"""The folded cortex of cerebrum and cerebellum."""

from __future__ import annotations

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.brain_anatomy import HeadAnatomy
from simulation.texture import RandomField
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

_RADIAL = 0.72
"""How much sulci follow the direction to the surface: 1 makes them straight spokes, 0 lets them run anywhere."""


class Cortex:
    """Gyri and sulci: zero sets of a narrow-band field, which cut the surface in a labyrinth and reach inwards.

    Args:
        rng: source of the folding.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._folds = RandomField(rng, 22.0, 0.25)
        self._twigs = RandomField(rng, 13.0, 0.4)
        self._shallow = RandomField(rng, 17.0, 0.3)
        self._depth = RandomField(rng, 34.0, 0.5)
        self._side = RandomField(rng, 30.0, 0.5)

    def paint_cerebrum(self, canvas: Canvas, anatomy: HeadAnatomy, dome: FloatArray, cerebrum: FloatArray) -> None:
        """Cover the space of the cerebrum with cortex and white matter; sulci stay as they are.

        Args:
            canvas: filled with CSF there.
            anatomy: the patient.
            dome: `brain_anatomy.vault` of the points.
            cerebrum: distance to the cerebrum's space.
        """
        points = canvas.points
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        inside = -cerebrum
        depth = np.maximum(inside - anatomy.pia_mm, 0)
        # Constant along spokes: the field is asked nearly at the surface, wherever the point lies.
        outwards = 80 / np.maximum(80 + dome, 22)
        there = points * (1 + np.float32(_RADIAL) * (outwards - 1))[..., None]
        folds = self._folds.at(there) + np.float32(0.28) * self._twigs.at(points)
        across = _level_distance(folds, canvas.voxel_mm)
        centre = -3 * shapes.ellipsoid((0, 4, 9), (31, 48, 24)).distance(points)  # nuclei and callosum: no sulci
        reach = self._depth.over(there)
        sulci = _ending(across, np.maximum(depth - np.clip(17 + 6 * reach, 7, 28), centre))
        across = _level_distance(self._shallow.at(there), canvas.voxel_mm)
        shallow = _ending(across, np.maximum(depth - np.clip(6 - 4 * reach, 1, 11), centre))
        side = np.abs(x + 1.2 * self._side.over(points))
        core = shapes.ellipsoid((0, 3, 7), (60, 43, 20)).distance(points)
        fissure = _ending(side, -3.5 * core)
        surface = np.minimum.reduce([depth, sulci, shallow, fissure, _sylvian(x, y, z)])
        edge = surface - anatomy.sulcus_mm
        core_edge = np.maximum(-edge, cerebrum)
        canvas.fill(Tissue.GREY_MATTER, core_edge, edge_mm=0.3)
        ribbon = anatomy.cortex_mm * (1 + 0.12 * self._side.over(there))
        canvas.fill(Tissue.WHITE_MATTER, np.maximum(ribbon - edge, cerebrum), edge_mm=0.9)

    def paint_cerebellum(self, canvas: Canvas, anatomy: HeadAnatomy, below: FloatArray) -> None:
        """Cover the space below the tentorium with a cerebellum of fine leaves."""
        points = canvas.points
        box = shapes.ellipsoid((0, 44, -38), (60, 46, 46))
        found = shapes.distance_on_slice(box, points, 3.0)
        if found is None:
            return
        window, _ = found
        here = points[window]
        notch = np.hypot(here[..., 0], 0.6 * (here[..., 1] - 74)) - 3.5  # between the hemispheres
        outline = np.maximum.reduce(
            [below[window] + 0.3 * anatomy.pia_mm, 19 - here[..., 1], -60 - here[..., 2], -notch]
        )
        away = np.linalg.norm(here - np.array([0, 22, -30], np.float32), axis=-1)
        folds = self._twigs.at(here)
        leaves = np.sin((away + 1.2 * folds) * np.float32(2 * np.pi / 5.4))
        canvas.fill(Tissue.GREY_MATTER, outline, window, 0.3)
        clefts = np.clip(leaves - 0.55, 0, 1) * np.clip(-outline / 2, 0, 1) * np.clip((16 + outline) / 12, 0, 1)
        canvas.replace(Tissue.GREY_MATTER, Tissue.CSF, clefts, window)
        arbor = outline + 9 + 4.5 * leaves + 2.0 * folds
        canvas.fill(Tissue.WHITE_MATTER, arbor, window, 2.0)


def _ending(across: FloatArray, beyond: FloatArray) -> FloatArray:
    """Distance to a sheet that ends where `beyond` (a distance along it) becomes positive."""
    return np.hypot(across, np.maximum(beyond, 0))


def _level_distance(field: FloatArray, voxel_mm: float) -> FloatArray:
    """In-plane distance to the zero set of a field [mm]: its value over its slope."""
    down, right = np.gradient(field, np.float32(voxel_mm))
    slope = np.hypot(down, right)
    usual = float(np.sqrt(np.mean(slope**2)))
    distance: FloatArray = np.abs(field) / np.maximum(slope, 0.35 * usual)
    return distance


def _sylvian(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the lateral sulcus and the cistern over the insula [mm]."""
    out = np.abs(x)
    height = -12 + 0.45 * (y + 22)
    ends = np.maximum(np.maximum(-30 - y, y - 34), 0)
    opening = np.sqrt((0.95 * (z - height)) ** 2 + np.maximum(37 - out, 0) ** 2 + ends**2)
    up = np.maximum(np.maximum(height - z, z - height - 20), 0)
    along = np.maximum(np.maximum(-24 - y, y - 18), 0)
    insula = np.sqrt((out - 38.5 - 0.012 * y**2 * (y < 0)) ** 2 + up**2 + along**2)
    nearest: FloatArray = np.minimum(opening, insula).astype(np.float32)
    return nearest
