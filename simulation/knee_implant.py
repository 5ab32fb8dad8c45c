"""Total knee arthroplasty as solids in patient space.

Own frame [mm]: origin in the middle of the joint line, x to the outside of the leg, y to the back, z to the hip.
Sizes lie within what is sold: 55 to 80 mm wide, femoral component about 9 mm thick, insert 8 to 14 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes, solids
from simulation.implants import Implant, ImplantPart
from simulation.materials import BONE_CEMENT, COCRMO, TI6AL4V, UHMWPE, ZIRCONIA, Material
from simulation.shapes import Distance, Point, Shape
from simulation.stacks import random_turn

REACH_MM = (50.0, 60.0, 210.0)
"""No part is farther from the middle of the joint along LPS x, y and z [mm]; without a stem, 85 mm along z do."""
_ZIRCONIA_SHARE, _COBALT_TRAY_SHARE = 0.12, 0.3
_STEM_SHARE, _PATELLA_SHARE, _CEMENTED_SHARE = 0.2, 0.5, 0.8
_POSE_DEG = 3.0
_DISTAL_MM, _FRONT_MM, _BACK_MM, _CHAMFER_MM = 9.0, 7.0, 9.0, 12.0
"""Where bone is cut away: below, in front, behind, and askew between them."""


@dataclass(frozen=True)
class _Size:
    """Half width and half depth of the femoral component, thickness of the insert, all in mm."""

    half_width: float
    half_depth: float
    insert: float


def random_knee(centre_mm: Point, rng: np.random.Generator, material: Material | None = None) -> Implant:
    """Draw a total knee arthroplasty: femoral component, tibial tray with keel, and insert; some have stems.

    Args:
        centre_mm: middle of the joint line [mm, LPS].
        rng: source of randomness; it also draws the side.
        material: of all its metal and ceramic; None draws one for each component.

    Returns:
        The implant, within `REACH_MM` of the centre.
    """
    side = float(rng.choice((-1.0, 1.0)))
    turn = random_turn(rng, _POSE_DEG) @ np.diag([side, 1.0, 1.0])
    half_width = float(rng.uniform(28, 38))
    size = _Size(half_width, half_width * float(rng.uniform(0.86, 0.96)), float(rng.uniform(8, 14)))
    femur = ZIRCONIA if rng.random() < _ZIRCONIA_SHARE else COCRMO
    tray = COCRMO if rng.random() < _COBALT_TRAY_SHARE else TI6AL4V
    stemmed = bool(rng.random() < _STEM_SHARE)
    pieces = [*_tibia(size, tray, rng, stemmed=stemmed), *_femur(size, femur, rng, stemmed=stemmed)]
    if rng.random() < _PATELLA_SHARE:
        button = shapes.ellipsoid((0.0, -size.half_depth - 5, 24.0), (size.half_width / 2, 5.0, size.half_width / 2))
        pieces.insert(0, ImplantPart(UHMWPE, button))
    parts = tuple(ImplantPart(piece.material, solids.placed(piece.shape, turn, centre_mm)) for piece in pieces)
    drawn = Implant(parts=parts)
    return drawn if material is None else drawn.made_of(material)


def _tibia(size: _Size, material: Material, rng: np.random.Generator, *, stemmed: bool) -> list[ImplantPart]:
    """Cement if any, the insert, whose rim stands above the joint line, then plate, keel and its two fins."""
    outline = size.half_width * 1.02, size.half_width * float(rng.uniform(0.64, 0.72))
    plate = float(rng.uniform(3.0, 5.0))
    under = -size.insert - plate
    keel, radius = under - float(rng.uniform(28, 42)), float(rng.uniform(6.5, 8.0))
    tip = keel - float(rng.uniform(60, 130)) if stemmed else keel
    fins = 0.55 * size.half_width
    pieces = [
        solids.column((0.0, 0.0, under + plate / 2), outline, plate / 2),
        shapes.round_cone((0.0, -4.0, under + plate - radius), (0.0, -4.0, keel + radius), radius, radius),
        *(
            shapes.round_cone((0.0, -4.0, h), (s * fins * f, 2.0, h), 1.8, 1.5)
            for s in (-1.0, 1.0)
            for h, f in _fin(under)
        ),
        *(
            [shapes.round_cone((0.0, -4.0, keel + radius), (0.0, -2.0, tip + radius), radius, radius - 1)]
            if stemmed
            else []
        ),
    ]
    insert = solids.column((0.0, 0.0, 1.5 - size.insert / 2), (outline[0] - 1, outline[1] - 1), size.insert / 2 + 1.5)
    parts = [ImplantPart(UHMWPE, insert), ImplantPart(material, shapes.union(tuple(pieces)))]
    if rng.random() < _CEMENTED_SHARE:
        mantle = solids.column((0.0, 0.0, under - 1), outline, 1.0)
        parts.insert(0, ImplantPart(BONE_CEMENT, mantle))
    return parts


def _fin(under: float) -> tuple[tuple[float, float], ...]:
    """Heights of the rods that make up a fin, and how far each reaches: a wedge below the plate."""
    return tuple((under - down, 1 - down / 24) for down in (0.0, 3.0, 6.0, 9.0, 12.0, 15.0))


def _femur(size: _Size, material: Material, rng: np.random.Generator, *, stemmed: bool) -> list[ImplantPart]:
    """Two condyles and a flange in front, hollowed by the cuts of the bone, with a notch between them behind."""
    apart, wide = 0.52 * size.half_width, 0.46 * size.half_width
    height = 0.8 * size.half_depth
    condyles = [shapes.ellipsoid((s * apart, 0.0, height), (wide, size.half_depth, height)) for s in (-1.0, 1.0)]
    groove = shapes.ellipsoid(
        (0.0, -0.15 * size.half_depth, height), (0.6 * wide, 0.8 * size.half_depth, 0.85 * height)
    )
    bone, top = _resected(size), float(rng.uniform(1.0, 1.25)) * height
    shell = solids.without(shapes.union((*condyles, groove)), bone)
    notch = solids.box((0.0, 0.62 * size.half_depth, 0.0), (0.2 * size.half_width, size.half_depth / 2, 90.0))
    shell = solids.without(solids.without(shell, notch.distance), _above(top))
    flange_top = float(rng.uniform(1.7, 2.0)) * height
    middle = (0.0, -size.half_depth + _FRONT_MM - 2.5, (flange_top + 0.7 * height) / 2)
    flange = solids.box(middle, (0.55 * size.half_width, 2.5, (flange_top - 0.7 * height) / 2))
    pegs = [shapes.round_cone((s * apart, 2.0, 8.0), (s * apart, 2.0, 20.0), 3.5, 2.8) for s in (-1.0, 1.0)]
    stem: list[Shape] = []
    if stemmed:
        tip = float(rng.uniform(110, 170))
        stem = [shapes.round_cone((0.0, 0.0, 12.0), (3.0, -3.0, tip), 8.0, 7.0)]
        stem.append(solids.box((0.0, 2.0, 15.0), (9.0, 9.0, 8.0)))
    return [ImplantPart(material, shapes.union((shell, flange, *pegs, *stem)))]


def _resected(size: _Size) -> Distance:
    """What the saw leaves of the femur: above five planes."""
    front, back = -size.half_depth + _FRONT_MM, size.half_depth - _BACK_MM

    def distance(points: FloatArray) -> FloatArray:
        behind, before, up = points[..., 1] - front, back - points[..., 1], points[..., 2] - _DISTAL_MM
        askew = np.float32(_CHAMFER_MM) - up - np.minimum(behind, before)
        outside: FloatArray = np.maximum.reduce([-behind, -before, -up, askew / np.float32(np.sqrt(2))])
        return outside

    return distance


def _above(height: float) -> Distance:
    def distance(points: FloatArray) -> FloatArray:
        return np.float32(height) - points[..., 2]

    return distance
