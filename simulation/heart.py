"""A procedural beating heart: anatomy-like short-axis cine MR without any patient's data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray, Geometry
from simulation import shapes
from simulation.heart_anatomy import HeartAnatomy, draw_chest, draw_heart
from simulation.heart_motion import draw_beat, pulled_back
from simulation.heart_scene import HeartScene
from simulation.mr_contrast import BalancedSteadyState, PulseSequence
from simulation.mr_phantom import Grain, patient_signals, with_noise
from simulation.stacks import oblique_stack, random_turn
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

SSFP = BalancedSteadyState(tr_ms=3.2, flip_deg=60)
_TO_APEX = (0.62, -0.58, -0.53)
"""Direction of the long axis of the left ventricle in LPS, roughly."""
_HALF_BOX_MM = 84.0
_ALONG_MM = 2.0
_RIM_MM = 12.0


@dataclass(frozen=True, eq=False)
class CinePhantom:
    """A synthetic short-axis cine.

    Attributes:
        signal: float32 (t, z, y, x), magnitude, not negative; 1000 is fully relaxed water [a.u.].
        geometry: short-axis slices, from the apex to the base.
        trigger_times_ms: of the phases, from the R wave [ms].
        rr_ms: time between heart beats [ms].
        lv_cavity: bool (t, z, y, x): the left ventricle's cavity, papillary muscles included.
        lv_volume_ml: its true volume at each phase [ml], also where no slice lies.
        labels: uint8 (z, y, x): index into `tuple(Tissue)` of what fills most of a voxel at the first phase.
        sequence: how it was imaged.
        field_t: field strength [T].
    """

    signal: FloatArray
    geometry: Geometry
    trigger_times_ms: tuple[float, ...]
    rr_ms: float
    lv_cavity: BoolArray
    lv_volume_ml: tuple[float, ...]
    labels: NDArray[np.uint8]
    sequence: PulseSequence
    field_t: float

    def mask(self, tissue: Tissue) -> BoolArray:
        """Voxels that are mostly of one tissue at the first phase, (z, y, x)."""
        mask: BoolArray = self.labels == tuple(Tissue).index(tissue)
        return mask


def make_heart(
    *,
    seed: int,
    phases: int = 20,
    slices: int = 10,
    n_pixels: int = 256,
    pixel_mm: float = 1.4,
    spacing_mm: float = 9.0,
    sequence: PulseSequence = SSFP,
    field_t: float = 1.5,
    noise: float = 0.0,
) -> CinePhantom:
    """Make a cine of one heart beat in breath-hold; each seed is another patient.

    The patient is painted at end diastole; in every other phase each voxel of the heart and its surroundings is taken
    from where its tissue was then, so that texture moves with it.

    Args:
        seed: of anatomy, beat, pose, relaxation times, texture and noise.
        phases: number of phases, evenly spread over the beat; the first is end diastole.
        slices: number of slices; the middle one lies in the middle of the left ventricle, which is about 85 mm long.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm]; the trunk is about 350 mm wide.
        spacing_mm: distance between slices [mm].
        sequence: how to image.
        field_t: field strength, 0.5 to 3.1 [T].
        noise: standard deviation of the noise in each channel [a.u., water is 1000].

    Raises:
        ValueError: a size or the field strength is outside its range.
    """
    if phases < 1:
        raise ValueError(f"a cine has at least one phase, got {phases}")
    rng = np.random.default_rng(seed)
    heart, chest, beat = draw_heart(rng), draw_chest(rng), draw_beat(rng)
    axes = _short_axes(rng)
    row, column = shapes.as_point(axes[0]), shapes.as_point(axes[1])
    centre = shapes.as_point(rng.normal(0, 4, 2) @ axes[:2])
    geometry = oblique_stack(
        row, column, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, centre=centre
    )
    patient = _Patient(HeartScene(heart, chest, axes, rng), seed, sequence, field_t)
    times = tuple(beat.rr_ms * phase / phases for phase in range(phases))
    signal = np.empty((phases, *geometry.shape), np.float32)
    cavity = np.zeros((phases, *geometry.shape), np.bool_)
    labels = np.empty(geometry.shape, np.uint8)
    own = [patient.scene.own_points(shapes.slice_points(geometry, z)) for z in range(slices)]
    box = _Box(patient, pixel_mm, float(min(p[..., 2].min() for p in own)), float(max(p[..., 2].max() for p in own)))
    for z in range(slices):
        still, labels[z] = patient.image(own[z], pixel_mm)
        window, inside = _near_heart(own[z])
        for phase, time in enumerate(times):
            contraction = beat.contraction(time)
            then = pulled_back(heart, beat, own[z][window], contraction)
            moved = still.copy()
            moved[window] += inside * (box.at(then) - still[window])
            signal[phase, z] = np.abs(moved)
            cavity[phase, z][window] = _in_cavity(heart, then)
    volumes = tuple(heart.volume_ml() * beat.volume_share(time) for time in times)
    return CinePhantom(
        with_noise(signal, noise, seed), geometry, times, beat.rr_ms, cavity, volumes, labels, sequence, field_t
    )


class _Patient:
    """The end-diastolic chest as signed signal."""

    def __init__(self, scene: HeartScene, seed: int, sequence: PulseSequence, field_t: float) -> None:
        self.scene = scene
        self._values = patient_signals(seed, sequence, field_t)
        self._grain = Grain(np.random.default_rng([seed, 2]))

    def image(self, points: FloatArray, voxel_mm: float) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Signed signal and labels at (y, x, 3) in the heart's own frame [mm]."""
        canvas = Canvas(points, voxel_mm)
        self.scene.paint(canvas)
        return canvas.rendered(self._values, self._grain.at(points)), canvas.labels()


class _Box:
    """The heart and what is near it on a lattice, to be asked at any point."""

    def __init__(self, patient: _Patient, voxel_mm: float, low_mm: float, high_mm: float) -> None:
        self._step = min(voxel_mm, 1.2)
        self._low = low_mm - 2 * _ALONG_MM
        side = np.arange(-_HALF_BOX_MM, _HALF_BOX_MM + self._step, self._step, dtype=np.float32)
        # Tissue comes from the side of the base only: the heart shortens towards its apex.
        heights = np.arange(self._low, high_mm + 22.0, _ALONG_MM, dtype=np.float32)
        y, x = np.meshgrid(side, side, indexing="ij")
        layers = [patient.image(np.stack([x, y, np.full_like(x, z)], axis=-1), voxel_mm)[0] for z in heights]
        self._lattice = ndimage.spline_filter(np.stack(layers), 3, output=np.float32)

    def at(self, points: FloatArray) -> FloatArray:
        """Signed signal at points (..., 3) in the heart's own frame [mm]."""
        z = (points[..., 2] - self._low) / np.float32(_ALONG_MM)
        y, x = ((points[..., axis] + np.float32(_HALF_BOX_MM)) / np.float32(self._step) for axis in (1, 0))
        found = ndimage.map_coordinates(self._lattice, [z, y, x], order=3, mode="nearest", prefilter=False)
        return np.asarray(found, np.float32)


def _near_heart(points: FloatArray) -> tuple[tuple[slice, slice], FloatArray]:
    """Window of a slice that lies in the box, and a weight that falls to 0 at its rim."""
    out = np.abs(points[..., :2]).max(axis=-1)
    weight = np.clip((_HALF_BOX_MM - out) / _RIM_MM, 0, 1)
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if rows.size == 0:
        return (slice(0, 0), slice(0, 0)), weight[:0, :0]
    window = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return window, weight[window].astype(np.float32)


def _in_cavity(heart: HeartAnatomy, points: FloatArray) -> BoolArray:
    z = points[..., 2]
    inside: BoolArray = np.hypot(points[..., 0], points[..., 1]) < heart.endocardium(z)
    return inside & (z > heart.apex_mm) & (z < heart.base_mm)


def _short_axes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Row, column and normal (towards the base) of short-axis slices in LPS, as rows."""
    to_apex = random_turn(rng, 6.0) @ np.asarray(_TO_APEX)
    to_apex /= np.linalg.norm(to_apex)
    row = np.cross((0.0, 0.0, 1.0), to_apex)
    row /= np.linalg.norm(row)
    return np.stack([row, np.cross(row, to_apex), -to_apex])
