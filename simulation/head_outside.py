"""Skull, scalp and face around the braincase."""

from __future__ import annotations

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.brain_anatomy import HeadAnatomy, smooth_union
from simulation.shapes import Shape
from simulation.texture import RandomField, sheets
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

_MUSCLES_MM = 20.0


class FaceTexture:
    """Where muscles and air cells lie within the face; drawn at random.

    Args:
        rng: source of the values.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.muscles = RandomField(rng, _MUSCLES_MM, 0.5)
        self.cells = RandomField(rng, 9.0, 0.4)


def paint_outside(
    canvas: Canvas, anatomy: HeadAnatomy, dome: FloatArray, whole: FloatArray, wobble: FloatArray, inside: FaceTexture
) -> None:
    """Paint everything outside the braincase; the caller fills the braincase afterwards.

    Args:
        canvas: empty.
        anatomy: the patient.
        dome: `brain_anatomy.vault` of the points.
        whole: distance to the braincase.
        wobble: unit-variance field.
        inside: of the face.
    """
    points = canvas.points
    z = points[..., 2]
    lower = shapes.union(
        (
            shapes.ellipsoid((0, -38, -62), (64, 58, 62)),
            shapes.ellipsoid((0, -92, -58), (13, 17, 20)),  # nose
            shapes.round_cone((0, 30, -70), (0, 45, -190), 62, 58),
        )
    ).distance(points)
    vault_outside = np.maximum(dome, -45 - z) - anatomy.skull_mm - anatomy.scalp_mm
    outline = smooth_union(vault_outside, lower, 18)
    ears = np.minimum.reduce(
        [shapes.ellipsoid((side * 78, 16, -32), (7, 14, 27)).distance(points) for side in (-1.0, 1.0)]
    )
    outline = smooth_union(outline, ears.astype(np.float32), 5)
    canvas.fill(Tissue.SKIN, outline)
    canvas.fill(Tissue.FAT, outline + 1.8 + 0.2 * wobble)
    deep = outline + anatomy.scalp_mm + 2 + 2.5 * np.clip(-(z + 10) / 40, 0, 1)
    field = inside.muscles.over(points)
    face = np.maximum(deep, z + 8)
    canvas.fill(Tissue.MUSCLE, face, edge_mm=0.5)
    canvas.replace(Tissue.MUSCLE, Tissue.FAT, sheets(field, _MUSCLES_MM, 1.3, canvas.voxel_mm))
    for side in (-1.0, 1.0):
        canvas.draw(Tissue.MUSCLE, shapes.ellipsoid((side * 64, -28, -12), (9, 30, 34)), 0.5, outline + 4)
        canvas.draw(Tissue.MUCOSA, shapes.ellipsoid((side * 52, 10, -78), (14, 18, 24)), 1.0, outline + 5)
    shell = whole - anatomy.skull_mm * (1 + 0.03 * wobble)
    shell = np.maximum(shell, outline + 2.5)
    canvas.fill(Tissue.CORTICAL_BONE, shell)
    canvas.fill(Tissue.RED_MARROW, np.maximum(shell + 1.8, 1.9 - whole), edge_mm=0.4)
    _paint_base(canvas, outline, inside.cells)


def _paint_base(canvas: Canvas, outline: FloatArray, cells: RandomField) -> None:
    bones: list[Shape] = [shapes.ellipsoid((0, 2, -46), (15, 12, 16)), shapes.ellipsoid((0, -82, -46), (9, 8, 12))]
    for side in (-1.0, 1.0):
        bones += [
            shapes.round_cone((side * 20, 16, -40), (side * 58, 24, -40), 8, 12),
            shapes.round_cone((side * 46, -62, -48), (side * 62, -30, -52), 6, 4),
        ]
    for bone in bones:
        canvas.draw_bone(bone, 2.5, Tissue.RED_MARROW)
    air: list[tuple[Shape, float]] = [
        (shapes.ellipsoid((0, -22, -42), (13, 12, 9)), 0.6),  # sphenoid sinus
        (shapes.ellipsoid((0, -56, -38), (12, 22, 12)), 0.0),  # ethmoid cells
        (shapes.ellipsoid((0, -58, -64), (15, 30, 18)), -0.2),  # nasal cavity
        (shapes.ellipsoid((0, -85, -14), (18, 4, 10)), 0.8),  # frontal sinus
    ]
    for side in (-1.0, 1.0):
        air += [
            (shapes.ellipsoid((side * 31, -56, -66), (14, 16, 16)), 3.0),  # maxillary sinus
            (shapes.ellipsoid((side * 56, 30, -44), (8, 12, 14)), -0.1),  # mastoid cells
        ]
    for space, open_share in air:
        found = shapes.distance_on_slice(space, canvas.points, 3.0)
        if found is not None:
            window, distance = found
            inside = np.maximum(distance, outline[window] + 4)
            canvas.fill(Tissue.MUCOSA, inside - 1.5, window)
            walls = -4 * (cells.at(canvas.points[window]) + open_share)
            canvas.fill(Tissue.AIR, np.maximum(inside, walls), window)
    for side in (-1.0, 1.0):
        _paint_orbit(canvas, side)


def _paint_orbit(canvas: Canvas, side: float) -> None:
    canvas.draw(Tissue.CORTICAL_BONE, shapes.round_cone((side * 33, -66, -31), (side * 15, -28, -30), 21, 6))
    canvas.draw(Tissue.FAT, shapes.round_cone((side * 33, -70, -31), (side * 15, -28, -30), 19, 4))
    for x, y, z in ((-13, 0, 0), (13, 0, 0), (0, 0, 11), (0, 0, -11)):  # straight muscles of the eye
        start = (side * 33 + x, -64 + y, -31 + z)
        canvas.draw(Tissue.MUSCLE, shapes.round_cone(start, (side * 17, -30, -30), 2.0, 1.6), 0.5)
    canvas.draw(Tissue.WHITE_MATTER, shapes.round_cone((side * 32, -64, -31), (side * 12, -20, -28), 1.9, 2.0), 0.5)
    canvas.draw(Tissue.TENDON, shapes.sphere((side * 33, -75, -31), 12.5), 0.3)
    canvas.draw(Tissue.FLUID, shapes.sphere((side * 33, -75, -31), 11.3), 0.3)
    canvas.draw(Tissue.CARTILAGE, shapes.ellipsoid((side * 33, -84, -31), (4.5, 2.0, 4.5)), 0.3)
