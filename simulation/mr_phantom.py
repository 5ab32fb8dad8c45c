"""Phantoms as MR images: what all body parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import BoolArray, FloatArray, Geometry
from simulation import shapes
from simulation.mr_contrast import PulseSequence
from simulation.texture import RandomField
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue, properties, relaxation

SIGNAL_OF_WATER = 1000.0
"""Signal of fully relaxed water without decay [a.u.]."""


@dataclass(frozen=True, eq=False)
class MrPhantom:
    """A synthetic MR volume.

    Attributes:
        signal: float32 (z, y, x), magnitude, not negative; 1000 is fully relaxed water [a.u.].
        labels: uint8 (z, y, x): index into `tuple(Tissue)` of what fills most of the voxel.
        geometry: where the slices lie.
        sequence: how it was imaged.
        field_t: field strength [T].
    """

    signal: FloatArray
    labels: NDArray[np.uint8]
    geometry: Geometry
    sequence: PulseSequence
    field_t: float

    def mask(self, tissue: Tissue) -> BoolArray:
        """Voxels that are mostly of one tissue, (z, y, x)."""
        mask: BoolArray = self.labels == tuple(Tissue).index(tissue)
        return mask


class Scene(Protocol):
    """One patient's body part that can be cut anywhere."""

    def own_points(self, points: FloatArray) -> FloatArray:
        """Points (y, x, 3) in LPS [mm] in the anatomy's own frame [mm]."""
        ...

    def paint(self, canvas: Canvas) -> None:
        """Paint one slice; `canvas.points` are in the own frame."""
        ...


class Grain:
    """Texture that belongs to the tissue of one patient, at three scales.

    Args:
        rng: source of the values.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._coarse = RandomField(rng, 45.0)
        self._middle = RandomField(rng, 9.0)
        self._fine = RandomField(rng, 3.2, 0.8)

    def at(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Coarse and fine field of unit variance at points (y, x, 3) [mm]."""
        middle = self._middle.over(points)
        coarse = np.float32(0.8) * self._coarse.over(points) + np.float32(0.6) * middle
        return coarse, np.float32(0.7) * middle + np.float32(0.71) * self._fine.at(points)


def patient_signals(seed: int, sequence: PulseSequence, field_t: float) -> dict[Tissue, float]:
    """Signed signal of every tissue of one patient [a.u.]; the same patient at any contrast."""
    rng = np.random.default_rng([seed, 1])
    return {tissue: SIGNAL_OF_WATER * sequence.signal(relaxation(tissue, field_t, rng), field_t) for tissue in Tissue}


def render_mr(
    scene: Scene, geometry: Geometry, *, seed: int, sequence: PulseSequence, field_t: float, noise: float
) -> MrPhantom:
    """Image a patient.

    Args:
        scene: the patient.
        geometry: slices to make.
        seed: of the patient's relaxation times, texture and noise.
        sequence: how to image.
        field_t: field strength [T].
        noise: standard deviation of the noise in each of the two channels [a.u.]; the magnitude is Rician.
    """
    values = patient_signals(seed, sequence, field_t)
    signal = np.empty(geometry.shape, np.float32)
    labels = np.empty(geometry.shape, np.uint8)

    def keep(z: int, canvas: Canvas, texture: tuple[FloatArray, FloatArray]) -> None:
        signal[z] = np.abs(canvas.rendered(values, texture))
        labels[z] = canvas.labels()

    _each_slice(scene, geometry, seed, keep)
    return MrPhantom(with_noise(signal, noise, seed), labels, geometry, sequence, field_t)


def render_ct(scene: Scene, geometry: Geometry, *, seed: int, noise_hu: float) -> FloatArray:
    """CT numbers of a patient, float32 (z, y, x) [HU]; arguments as `render_mr`, noise in HU."""
    values = {tissue: properties(tissue).hu + 1000.0 for tissue in Tissue}
    hu = np.empty(geometry.shape, np.float32)

    def keep(z: int, canvas: Canvas, texture: tuple[FloatArray, FloatArray]) -> None:
        # Densities of soft tissue vary by a few permille where MR signals vary by per cent.
        hu[z] = canvas.rendered(values, texture, 0.12) - 1000
        for marrow in (Tissue.RED_MARROW, Tissue.SPONGY_BONE):
            if marrow in canvas.shares:
                hu[z] += canvas.shares[marrow] * 70 * texture[1]  # trabeculae

    _each_slice(scene, geometry, seed, keep)
    if noise_hu > 0:
        hu += np.float32(noise_hu) * np.random.default_rng([seed, 3]).standard_normal(hu.shape, np.float32)
    return np.clip(hu, -1024, 3071)


def with_noise(signal: FloatArray, noise: float, seed: int) -> FloatArray:
    """Magnitude of a signal after complex noise of standard deviation `noise` in each channel."""
    if noise <= 0:
        return signal
    rng = np.random.default_rng([seed, 3])
    real = signal + np.float32(noise) * rng.standard_normal(signal.shape, np.float32)
    magnitude: FloatArray = np.hypot(real, np.float32(noise) * rng.standard_normal(signal.shape, np.float32))
    return magnitude


def _each_slice(
    scene: Scene,
    geometry: Geometry,
    seed: int,
    keep: Callable[[int, Canvas, tuple[FloatArray, FloatArray]], None],
) -> None:
    grain = Grain(np.random.default_rng([seed, 2]))
    for z in range(geometry.shape[0]):
        points = scene.own_points(shapes.slice_points(geometry, z))
        canvas = Canvas(points, max(geometry.pixel_spacing_mm), z)
        scene.paint(canvas)
        keep(z, canvas, grain.at(points))
