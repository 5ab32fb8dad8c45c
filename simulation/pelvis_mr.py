"""The procedural pelvis as MR, and as a registered pair of CT and MR of one patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.mr_contrast import PulseSequence, SpinEcho
from simulation.mr_phantom import MrPhantom, render_mr
from simulation.pelvis_anatomy import Anatomy, Organ, draw_anatomy
from simulation.phantoms import SKIN_MM, PelvisPhantom, make_pelvis, pelvis_geometry, septa
from simulation.texture import RandomField, SliceTexture, sheets
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

T1_WEIGHTED = SpinEcho(tr_ms=550, te_ms=12)
_COARSE_MM = 14.0
_STRANDS_MM, _BUNDLES_MM = 22.0, 8.0
_CARTILAGE_MM = 2.2
_WALL_MM = 3.0


@dataclass(frozen=True, eq=False)
class PelvisPair:
    """CT and MR of one synthetic patient on one grid, without any shift between them.

    Attributes:
        ct: the CT.
        mr: the MR.
        hips: true places of the femoral heads, right first.
    """

    ct: PelvisPhantom
    mr: MrPhantom
    hips: tuple[HipSite, ...]


def make_pelvis_mr(
    *,
    seed: int,
    slices: int = 24,
    n_pixels: int = 256,
    pixel_mm: float = 1.7,
    spacing_mm: float = 5.0,
    sequence: PulseSequence = T1_WEIGHTED,
    field_t: float = 1.5,
    noise: float = 0.0,
) -> MrPhantom:
    """Make an MR pelvis: the anatomy that `make_pelvis` makes from the same seed, and the same septa on the same grid.

    Args:
        seed: of anatomy, relaxation times, texture and noise; another sequence with the same seed is the same patient.
        slices: number of slices; the femoral heads lie at 60 % of the stack's height.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm]; n_pixels * pixel_mm should be 400 mm or more.
        spacing_mm: distance between slices [mm].
        sequence: how to image (`mr_contrast.protocol` has the usual ones).
        field_t: field strength, 0.5 to 3.1 [T].
        noise: standard deviation of the noise in each channel [a.u., water is 1000].

    Returns:
        The phantom, axial, head first supine, from feet to head.

    Raises:
        ValueError: the field strength is outside the range.
    """
    geometry = pelvis_geometry(slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm)
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng)
    scene = _PelvisScene(anatomy, SliceTexture(rng, geometry, _COARSE_MM), seed)
    return render_mr(scene, geometry, seed=seed, sequence=sequence, field_t=field_t, noise=noise)


def make_pelvis_pair(
    *,
    seed: int,
    slices: int = 24,
    n_pixels: int = 256,
    pixel_mm: float = 1.7,
    spacing_mm: float = 5.0,
    sequence: PulseSequence = T1_WEIGHTED,
    field_t: float = 1.5,
    noise_hu: float = 0.0,
    noise: float = 0.0,
) -> PelvisPair:
    """Make CT and MR of one patient on one grid; arguments as `make_pelvis` and `make_pelvis_mr`."""
    ct = make_pelvis(
        seed=seed, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, noise_hu=noise_hu
    )
    mr = make_pelvis_mr(
        seed=seed,
        slices=slices,
        n_pixels=n_pixels,
        pixel_mm=pixel_mm,
        spacing_mm=spacing_mm,
        sequence=sequence,
        field_t=field_t,
        noise=noise,
    )
    return PelvisPair(ct, mr, ct.hips)


class _PelvisScene:
    """The order and the outlines of `phantoms._slice`, with what only MR shows added inside them."""

    def __init__(self, anatomy: Anatomy, coarse: SliceTexture, seed: int) -> None:
        self._anatomy = anatomy
        self._coarse = coarse
        rng = np.random.default_rng([seed, 4])
        self._strands = RandomField(rng, _STRANDS_MM, 0.5)
        self._bundles = RandomField(rng, _BUNDLES_MM, 0.5)

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        return points

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        coarse = self._coarse.at(canvas.index)
        outside = self._anatomy.body_distance(canvas.points)
        canvas.fill(Tissue.SKIN, outside)
        canvas.fill(Tissue.FAT, outside + SKIN_MM)
        strands = self._strands.over(canvas.points)
        canvas.replace(Tissue.FAT, Tissue.TENDON, 0.7 * sheets(strands, _STRANDS_MM, 0.3, canvas.voxel_mm))
        within = outside + self._anatomy.fat_mm + 3 * coarse
        canvas.fill(Tissue.MUSCLE, within)
        canvas.replace(Tissue.MUSCLE, Tissue.FAT, septa(coarse))
        bundles = self._bundles.at(canvas.points)
        canvas.replace(Tissue.MUSCLE, Tissue.FAT, 0.4 * sheets(bundles, _BUNDLES_MM, 0.25, canvas.voxel_mm))
        for organ in self._anatomy.organs:
            _draw_organ(canvas, organ)
        for hip in self._anatomy.hips:
            canvas.draw(Tissue.CARTILAGE, shapes.sphere(hip.centre_mm, hip.radius_mm + _CARTILAGE_MM))
        for bone in self._anatomy.bones:
            canvas.draw_bone(bone.shape, bone.cortex_mm, bone.marrow)


def _draw_organ(canvas: Canvas, organ: Organ) -> None:
    found = shapes.distance_on_slice(organ.shape, canvas.points, 2 * canvas.voxel_mm)
    if found is None:
        return
    window, distance = found
    if organ.tissue in (Tissue.FLUID, Tissue.BOWEL):
        # The wall lies inside the outline that CT shows.
        canvas.fill(Tissue.MUSCLE, distance, window, organ.edge_mm)
        canvas.fill(organ.tissue, distance + _WALL_MM, window, organ.edge_mm / 2)
    else:
        canvas.fill(organ.tissue, distance, window, organ.edge_mm)
