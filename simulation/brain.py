"""A procedural head: anatomy-like MR of the brain without any patient's data."""

from __future__ import annotations

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.brain_anatomy import HeadAnatomy, cavity, draw_head, vault
from simulation.brain_cortex import Cortex
from simulation.head_outside import FaceTexture, paint_outside
from simulation.mr_contrast import PulseSequence, SpinEcho
from simulation.mr_phantom import MrPhantom, render_mr
from simulation.stacks import Plane, random_turn, stack
from simulation.texture import RandomField
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

T1_WEIGHTED = SpinEcho(tr_ms=550, te_ms=12)


def make_brain(
    *,
    seed: int,
    plane: Plane = Plane.AXIAL,
    slices: int = 24,
    n_pixels: int = 256,
    pixel_mm: float = 0.94,
    spacing_mm: float = 5.0,
    sequence: PulseSequence = T1_WEIGHTED,
    field_t: float = 1.5,
    lesions: int = 0,
    noise: float = 0.0,
) -> MrPhantom:
    """Make a head; each seed is another patient.

    Args:
        seed: of size, folding, age, pose, relaxation times, texture and noise; another sequence with the same seed is
            the same patient.
        plane: direction of the slices.
        slices: number of slices; an axial stack of 120 mm reaches from the cerebellum to the crown.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm]; n_pixels * pixel_mm should be 220 mm or more.
        spacing_mm: distance between slices [mm].
        sequence: how to image (`mr_contrast.protocol` has the usual ones).
        field_t: field strength, 0.5 to 3.1 [T].
        lesions: number of white matter lesions.
        noise: standard deviation of the noise in each channel [a.u., water is 1000].

    Returns:
        The phantom; the middle of the brain is near LPS (0, 0, 0), the stack reaches from below it to the crown.

    Raises:
        ValueError: a size or the field strength is outside its range.
    """
    centre = (0.0, 0.0, 14.0) if plane is Plane.AXIAL else (0.0, 0.0, -5.0)
    geometry = stack(plane, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, centre=centre)
    scene = _HeadScene(np.random.default_rng(seed), lesions)
    return render_mr(scene, geometry, seed=seed, sequence=sequence, field_t=field_t, noise=noise)


class _HeadScene:
    """One patient's head in some pose."""

    def __init__(self, rng: np.random.Generator, lesions: int) -> None:
        size = rng.normal(1.0, 0.03) * (1 + rng.normal(0, 0.02, 3))
        self._to_own = (random_turn(rng, 5.0) / size).astype(np.float32)
        self._shift = rng.normal(0, 3.0, 3).astype(np.float32)
        self._bends = [RandomField(rng, 75.0, 0.6) for _ in range(3)]
        self._cortex = Cortex(rng)
        self._face = FaceTexture(rng)
        self._wobble = RandomField(rng, 14.0, 0.6)
        self._anatomy: HeadAnatomy = draw_head(rng, lesions)

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        straight = (points - self._shift) @ self._to_own
        bend = np.stack([field.over(straight) for field in self._bends], axis=-1)
        bent: FloatArray = straight + np.float32(1.4) * bend
        return bent

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        anatomy, points = self._anatomy, canvas.points
        dome = vault(points)
        whole, cerebrum, below = cavity(points, dome)
        wobble = self._wobble.over(points)
        paint_outside(canvas, anatomy, dome, whole, wobble, self._face)
        canvas.fill(Tissue.CSF, whole)
        self._cortex.paint_cerebrum(canvas, anatomy, dome, cerebrum)
        self._cortex.paint_cerebellum(canvas, anatomy, below)
        _paint_stem(canvas)
        _paint_inside(canvas, anatomy, wobble)


def _paint_stem(canvas: Canvas) -> None:
    stem = shapes.union(
        (
            shapes.ellipsoid((-8, 9, -15), (8, 11, 9)),
            shapes.ellipsoid((8, 9, -15), (8, 11, 9)),
            shapes.ellipsoid((0, 16, -14), (12, 8, 9)),
            shapes.ellipsoid((0, 10, -33), (17, 13, 14)),
            shapes.round_cone((0, 16, -44), (0, 36, -140), 9, 6),
        )
    )
    canvas.draw(Tissue.WHITE_MATTER, stem, 0.5)
    canvas.draw(Tissue.DEEP_GREY, shapes.ellipsoid((0, 16, -24), (8, 4, 22)), 5.0, stem.distance(canvas.points) + 1.5)
    for side in (-1.0, 1.0):  # middle cerebellar peduncles
        canvas.draw(Tissue.WHITE_MATTER, shapes.round_cone((side * 12, 14, -34), (side * 24, 34, -36), 7, 8), 1.5)


def _paint_inside(canvas: Canvas, anatomy: HeadAnatomy, wobble: FloatArray) -> None:
    for nucleus in anatomy.deep_grey:
        canvas.draw(Tissue.DEEP_GREY, nucleus, 0.8)
    for nucleus in anatomy.pallidum:
        found = shapes.distance_on_slice(nucleus, canvas.points, 4.0)
        if found is not None:
            canvas.cover(Tissue.DEEP_GREY, 0.55 * shapes.fill_share(found[1], canvas.voxel_mm + 1), found[0])
    for lesion in anatomy.lesions:
        found = shapes.distance_on_slice(lesion, canvas.points, 4.0)
        if found is not None:
            window, distance = found
            share = shapes.fill_share(distance + wobble[window], canvas.voxel_mm + 1.5)
            canvas.replace(Tissue.WHITE_MATTER, Tissue.LESION, share, window)
    found = shapes.distance_on_slice(anatomy.ventricles, canvas.points, 4.0)
    if found is not None:
        window, distance = found
        canvas.fill(Tissue.CSF, distance + np.float32(0.35) * wobble[window], window, 0.3)
    for side in (-1.0, 1.0):
        plexus = shapes.round_cone((side * 22, 33, 13), (side * 13, 12, 17), 2.2, 1.0)
        canvas.replace_in(Tissue.CSF, Tissue.MUCOSA, plexus, 0.7)
