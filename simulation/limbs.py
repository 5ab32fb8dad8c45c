"""Procedural legs: anatomy-like MR and CT of thigh, knee and lower leg without any patient's data."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.leg_anatomy import LegAnatomy, draw_leg, tube_distance
from simulation.mr_contrast import PulseSequence, SpinEcho
from simulation.mr_phantom import MrPhantom, Scene, render_ct, render_mr
from simulation.stacks import Plane, random_turn, stack
from simulation.texture import RandomField, sheets
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

T1_WEIGHTED = SpinEcho(tr_ms=550, te_ms=12)
_APART_MM = 96.0
"""Distance of a leg from the midline [mm]."""
_SKIN_MM = 1.6
_STRANDS_MM, _LOBULES_MM = 10.0, 13.0
_GAP_MM = 7.0
"""How far muscle bellies spread beyond their radius where no neighbour stops them [mm]."""


class LegRegion(StrEnum):
    """Part of a leg."""

    THIGH = "thigh"
    KNEE = "knee"
    LOWER_LEG = "lower leg"


_HEIGHT_MM = {LegRegion.THIGH: 190.0, LegRegion.KNEE: 5.0, LegRegion.LOWER_LEG: -170.0}


def make_leg(
    *,
    seed: int,
    region: LegRegion = LegRegion.THIGH,
    both: bool = False,
    plane: Plane = Plane.AXIAL,
    slices: int = 20,
    n_pixels: int = 256,
    pixel_mm: float = 0.8,
    spacing_mm: float = 5.0,
    sequence: PulseSequence = T1_WEIGHTED,
    field_t: float = 1.5,
    noise: float = 0.0,
) -> MrPhantom:
    """Make an MR of one leg or both; each seed is another patient.

    Args:
        seed: of side, size, fat, muscles, pose, relaxation times, texture and noise; another region or sequence with
            the same seed is the same patient.
        region: middle of the stack.
        both: both legs, in axial or coronal slices; n_pixels * pixel_mm should then be 400 mm, else 200 mm for a thigh
            and 150 mm below.
        plane: direction of the slices.
        slices: number of slices.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm].
        spacing_mm: distance between slices [mm].
        sequence: how to image (`mr_contrast.protocol` has the usual ones).
        field_t: field strength, 0.5 to 3.1 [T].
        noise: standard deviation of the noise in each channel [a.u., water is 1000].

    Returns:
        The phantom in LPS with the knee at z = 0; the right leg is at negative x.

    Raises:
        ValueError: a size or the field strength is outside its range.
    """
    scene, centre_x = _scene(seed, both)
    geometry = _geometry(region, centre_x, plane, slices, n_pixels, pixel_mm, spacing_mm)
    return render_mr(scene, geometry, seed=seed, sequence=sequence, field_t=field_t, noise=noise)


def make_leg_ct(
    *,
    seed: int,
    region: LegRegion = LegRegion.THIGH,
    both: bool = False,
    plane: Plane = Plane.AXIAL,
    slices: int = 20,
    n_pixels: int = 256,
    pixel_mm: float = 0.8,
    spacing_mm: float = 5.0,
    noise_hu: float = 0.0,
) -> tuple[FloatArray, Geometry]:
    """Make a CT of the same patient on the same grid; arguments as `make_leg`.

    Returns:
        float32 (z, y, x) [HU], and its geometry.

    Raises:
        ValueError: a size is outside its range.
    """
    scene, centre_x = _scene(seed, both)
    geometry = _geometry(region, centre_x, plane, slices, n_pixels, pixel_mm, spacing_mm)
    return render_ct(scene, geometry, seed=seed, noise_hu=noise_hu), geometry


def _scene(seed: int, both: bool) -> tuple[Scene, float]:
    """The legs, and LPS x of the middle of what is imaged [mm]."""
    rng = np.random.default_rng(seed)
    side = float(rng.choice((-1.0, 1.0)))
    leg = draw_leg(rng)
    first = _Leg(leg, side, rng)
    if not both:
        return first, side * _APART_MM
    return _Legs((first, _Leg(leg, -side, rng))), 0.0


def _geometry(
    region: LegRegion, centre_x: float, plane: Plane, slices: int, n_pixels: int, pixel_mm: float, spacing_mm: float
) -> Geometry:
    centre = (centre_x, 5.0, _HEIGHT_MM[region])
    return stack(plane, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, centre=centre)


class _Leg:
    """One leg in some pose."""

    def __init__(self, anatomy: LegAnatomy, side: float, rng: np.random.Generator) -> None:
        self._anatomy = anatomy
        self.side = side
        turn = np.deg2rad(rng.normal(0, 10))  # the foot falls outwards or inwards
        spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        self._to_own = (random_turn(rng, 2.0) @ spin @ np.diag([side, 1, 1])).astype(np.float32)
        self._bends = [RandomField(rng, 70.0, 0.6) for _ in range(2)]
        self._ripples = [RandomField(rng, 24.0, 0.6) for _ in range(2)]
        self._strands = RandomField(rng, _STRANDS_MM, 0.5)
        self._lobules = RandomField(rng, _LOBULES_MM, 0.5)

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        middle = np.array([self.side * _APART_MM, 0, 0], np.float32)
        own: FloatArray = (points - middle) @ self._to_own
        own[..., :2] += np.float32(2.0) * np.stack([field.over(own) for field in self._bends], axis=-1)
        return own

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        anatomy, points = self._anatomy, canvas.points
        skin = anatomy.skin_distance(points)
        canvas.fill(Tissue.SKIN, skin)
        canvas.fill(Tissue.FAT, skin + _SKIN_MM)
        lobules = self._lobules.over(points)
        canvas.replace(Tissue.FAT, Tissue.TENDON, 0.7 * sheets(lobules, _LOBULES_MM, 0.2, canvas.voxel_mm))
        fascia = skin + anatomy.fat_here(points) + np.float32(0.6) * lobules
        fascia = np.maximum(fascia, skin + _SKIN_MM + 1.5)
        canvas.fill(Tissue.TENDON, fascia)
        canvas.fill(Tissue.FAT, fascia + 0.8)
        self._paint_muscles(canvas, fascia + 1.0)
        for tendon in anatomy.tendons:
            canvas.fill(Tissue.TENDON, tube_distance(tendon, points), edge_mm=0.4)
        for bone in anatomy.bones:
            self._paint_cartilage(canvas, bone.shape, bone.cartilage_mm)
        self._paint_menisci(canvas)
        for bone in anatomy.bones:
            canvas.draw_bone(bone.shape, bone.cortex_mm, Tissue.SPONGY_BONE if bone.spongy else Tissue.YELLOW_MARROW)
        for tissue, vessels in ((Tissue.VEIN, anatomy.veins), (Tissue.ARTERY, anatomy.arteries)):
            for vessel in vessels:
                distance = tube_distance(vessel, points)
                canvas.fill(Tissue.FAT, distance - 1.5, edge_mm=1.5)
                canvas.fill(Tissue.TENDON, distance - 0.5)
                canvas.fill(tissue, distance)
        saphenous = np.hypot(points[..., 1] - 16, skin + 5.0) - 1.8  # under the skin, on the inside
        canvas.fill(Tissue.VEIN, np.maximum(saphenous, points[..., 0]))

    def _paint_muscles(self, canvas: Canvas, within: FloatArray) -> None:
        points = canvas.points.copy()
        points[..., :2] += np.float32(2.2) * np.stack([field.over(points) for field in self._ripples], axis=-1)
        anatomy = self._anatomy
        nearest = np.full(within.shape, 1e3, np.float32)
        second = nearest.copy()
        infiltrated = np.zeros_like(nearest)
        low, high = float(points[..., 2].min()), float(points[..., 2].max())
        for muscle, fat in zip(anatomy.muscles, anatomy.infiltration, strict=True):
            if muscle[0][0] > high or muscle[-1][0] < low:
                continue
            distance = tube_distance(muscle, points, anatomy.muscle_bulk)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            infiltrated = np.where(closer, np.float32(fat), infiltrated)
        belly = np.maximum.reduce([nearest - _GAP_MM, anatomy.septum_mm - (second - nearest) / 2, within])
        canvas.fill(Tissue.MUSCLE, belly, edge_mm=0.3)
        strands = self._strands.at(canvas.points)
        inside = np.clip(-belly / 3, 0, 1)
        share = infiltrated + (0.1 + 4 * infiltrated) * sheets(strands, _STRANDS_MM, 0.25, canvas.voxel_mm) * inside
        canvas.replace(Tissue.MUSCLE, Tissue.FAT, np.minimum(share, 0.8))

    def _paint_cartilage(self, canvas: Canvas, bone: shapes.Shape, cartilage_mm: float) -> None:
        """Cartilage with a film of fluid, where the bone faces the joint."""
        if cartilage_mm == 0:
            return
        found = shapes.distance_on_slice(bone, canvas.points, 6.0)
        if found is None:
            return
        window, distance = found
        here = canvas.points[window]
        joint = shapes.union(
            (shapes.ellipsoid((0, 8, -2), (37, 36, 24)), shapes.ellipsoid((0, -28, 22), (24, 11, 24)))
        ).distance(here)
        canvas.fill(Tissue.SYNOVIAL_FLUID, np.maximum(distance - cartilage_mm - 0.7, joint - 1), window)
        canvas.fill(Tissue.CARTILAGE, np.maximum(distance - cartilage_mm, joint), window)

    def _paint_menisci(self, canvas: Canvas) -> None:
        """Two half-moons between femur and tibia, thin towards the middle."""
        x, y, z = canvas.points[..., 0], canvas.points[..., 1], canvas.points[..., 2]
        if float(np.abs(z + 7).min()) > 12:
            return
        for side in (-1.0, 1.0):
            radius = np.hypot(x - side * 19, (y - 5) / 1.15)
            wedge = np.maximum(np.abs(z + 7) - 0.42 * (radius - 9), radius - 20)
            open_end = -side * (x - side * 12)
            canvas.fill(Tissue.TENDON, np.maximum(wedge, open_end), edge_mm=0.5)


class _Legs:
    """Both legs, each on its own side of the midline."""

    def __init__(self, legs: tuple[_Leg, _Leg]) -> None:
        self._legs = legs

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        return points

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        for leg in self._legs:
            columns = np.flatnonzero((canvas.points[..., 0] * leg.side > 0).any(axis=0))
            if columns.size == 0:
                continue
            window = (slice(None), slice(int(columns[0]), int(columns[-1]) + 1))
            part = Canvas(leg.own_points(canvas.points[window]), canvas.voxel_mm, canvas.index)
            leg.paint(part)
            canvas.take_over(part, window)
