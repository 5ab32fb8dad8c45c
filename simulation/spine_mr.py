"""Procedural lumbar spine as MR: vertebrae, discs, dural sac and the trunk around them, without sacrum and ribs."""

from __future__ import annotations

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import solids
from simulation.mr_contrast import PulseSequence, SpinEcho
from simulation.mr_phantom import MrPhantom, render_mr
from simulation.spine_anatomy import CANAL_Y_MM, SpineAnatomy, draw_spine
from simulation.stacks import Plane, random_turn, stack
from simulation.texture import RandomField, sheets
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

T1_WEIGHTED = SpinEcho(tr_ms=550, te_ms=12)
_SKIN_MM, _WALL_MM, _CORTEX_MM, _ARCH_CORTEX_MM = 2.0, 14.0, 1.0, 1.6
_SAC_MM = (9.0, 7.5)
_STRANDS_MM, _BUNDLES_MM = 22.0, 9.0
_CORD_ENDS_MM = 45.0
_TURN_DEG = 2.0


def make_spine_mr(
    *,
    seed: int,
    plane: Plane = Plane.SAGITTAL,
    slices: int = 20,
    n_pixels: int = 256,
    pixel_mm: float = 1.2,
    spacing_mm: float = 4.0,
    sequence: PulseSequence = T1_WEIGHTED,
    field_t: float = 1.5,
    noise: float = 0.0,
) -> MrPhantom:
    """Make an MR of a lumbar spine; each seed is another patient.

    Args:
        seed: of anatomy, relaxation times, texture and noise; another sequence with the same seed is the same patient.
        plane: direction of the slices.
        slices: number of slices.
        n_pixels: side of a slice; n_pixels * pixel_mm should be 380 mm where the whole trunk is to be seen.
        pixel_mm: pixel size [mm].
        spacing_mm: distance between slices [mm].
        sequence: how to image (`mr_contrast.protocol` has the usual ones).
        field_t: field strength, 0.5 to 3.1 [T].
        noise: standard deviation of the noise in each channel [a.u., water is 1000].

    Returns:
        The phantom in LPS; the pedicles of the middle vertebra, between which screws belong, are about the origin.

    Raises:
        ValueError: a size or the field strength is outside its range.
    """
    rng = np.random.default_rng(seed)
    scene = _Spine(draw_spine(rng), rng)
    geometry = stack(
        plane, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, centre=(0.0, 0.0, 0.0)
    )
    return render_mr(scene, geometry, seed=seed, sequence=sequence, field_t=field_t, noise=noise)


class _Spine:
    """One trunk in some pose."""

    def __init__(self, anatomy: SpineAnatomy, rng: np.random.Generator) -> None:
        self._anatomy = anatomy
        self._turn = random_turn(rng, _TURN_DEG).astype(np.float32)
        self._bends = RandomField(rng, 90.0, 0.6)
        self._strands = RandomField(rng, _STRANDS_MM, 0.5)
        self._bundles = RandomField(rng, _BUNDLES_MM, 0.5)

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        own: FloatArray = np.asarray(points @ self._turn, np.float32)
        return own

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        straight = self._anatomy.straightened(canvas.points)
        wavy = straight.copy()
        wavy[..., 0] += np.float32(2.5) * self._bends.over(straight)
        self._paint_trunk(canvas)
        self._paint_muscles(canvas, wavy)
        self._paint_column(canvas, straight)
        self._paint_canal(canvas, straight)

    def _paint_trunk(self, canvas: Canvas) -> None:
        skin = self._anatomy.skin_distance(canvas.points)
        canvas.fill(Tissue.SKIN, skin)
        canvas.fill(Tissue.FAT, skin + _SKIN_MM)
        wall = skin + _SKIN_MM + self._anatomy.fat_mm
        canvas.fill(Tissue.MUSCLE, wall)
        canvas.fill(Tissue.FAT, wall + _WALL_MM)
        for loop in self._anatomy.bowel:
            canvas.draw(Tissue.BOWEL, loop, 2.0, within=wall + _WALL_MM + 4)
        strands = self._strands.over(canvas.points)
        canvas.replace(Tissue.FAT, Tissue.TENDON, 0.5 * sheets(strands, _STRANDS_MM, 0.3, canvas.voxel_mm))

    def _paint_muscles(self, canvas: Canvas, points: FloatArray) -> None:
        within = self._anatomy.skin_distance(canvas.points) + _SKIN_MM + 4
        anatomy = self._anatomy
        bundles = self._bundles.at(points)
        share = anatomy.infiltration * (0.5 + sheets(bundles, _BUNDLES_MM, 1.0, canvas.voxel_mm))
        for muscle in anatomy.muscles:
            belly = np.maximum(muscle.distance(points), within)
            if float(belly.min()) > canvas.voxel_mm:
                continue
            canvas.fill(Tissue.TENDON, belly - 0.6)
            canvas.fill(Tissue.MUSCLE, belly)
            canvas.replace(Tissue.MUSCLE, Tissue.FAT, np.where(belly < 0, share, 0))
        for tissue, vessel in zip((Tissue.ARTERY, Tissue.VEIN), anatomy.vessels, strict=True):
            wall = vessel.distance(points)
            canvas.fill(Tissue.TENDON, wall - 1.2)
            canvas.fill(tissue, wall)

    def _paint_column(self, canvas: Canvas, straight: FloatArray) -> None:
        """Discs, then bodies and arches over them; ligaments in front of, behind and between the vertebrae."""
        local, which = self._anatomy.of_vertebra(straight)
        vertebra = self._anatomy.vertebra
        between = solids.box((0.0, 40.0, 0.0), (1.2, 9.0, 1e4))
        canvas.fill(Tissue.TENDON, between.distance(local))
        disc = vertebra.disc.distance(local)
        canvas.fill(Tissue.TENDON, disc - 1.0)
        core = vertebra.nucleus.distance(local)
        canvas.fill(Tissue.CARTILAGE, core, edge_mm=2.0)
        above = np.clip(which - (local[..., 2] < 0), 0, None)  # below the middle lies the disc of the vertebra beneath
        canvas.replace(Tissue.CARTILAGE, Tissue.MUCOSA, np.where(core < 2, self._anatomy.moist[above], 0))
        for shape, cortex in ((vertebra.body, _CORTEX_MM), (vertebra.arch, _ARCH_CORTEX_MM)):
            bone = shape.distance(local)
            canvas.fill(Tissue.CORTICAL_BONE, bone)
            # Where pedicles run into bodies no cortex parts their marrow.
            canvas.fill(Tissue.RED_MARROW, bone + cortex)

    def _paint_canal(self, canvas: Canvas, straight: FloatArray) -> None:
        """Fat, the dural sac, in it the conus with the roots below."""
        x, y, z = straight[..., 0], straight[..., 1] - CANAL_Y_MM, straight[..., 2]
        middle = (0.0, CANAL_Y_MM, 0.0)
        canvas.fill(Tissue.FAT, solids.column(middle, (_SAC_MM[0] + 1.5, _SAC_MM[1] + 1.0), 1e4).distance(straight))
        sac = solids.column(middle, _SAC_MM, 1e4).distance(straight)
        canvas.fill(Tissue.TENDON, sac - 0.4)
        canvas.fill(Tissue.CSF, sac)
        roots = np.full(x.shape, 1e3, np.float32)
        for across, back in self._anatomy.roots_mm:
            # Roots leave the conus and spread out below it.
            spread = np.clip((_CORD_ENDS_MM + 20 - z) / 60, 0.3, 1.2)
            roots = np.minimum(roots, np.hypot(x - across * spread, y - back * spread))
        inside = np.maximum(
            np.minimum(roots - 0.9, np.hypot(x, y - 1) - np.clip((z - _CORD_ENDS_MM) / 8, -3, 4.5)), sac
        )
        canvas.fill(Tissue.WHITE_MATTER, inside)
