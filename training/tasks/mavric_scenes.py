"""MAVRIC acquisitions of real and procedural MR slices with random implants in them, for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dicom_node.contracts import FloatArray, Volume
from dicom_node.errors import UnusableSeries
from simulation.mavric import FINE, Bins, MavricAcquisition, Mismatch, acquire, undistorted
from simulation.mavric_scene import MavricScene, make_scene
from simulation.off_resonance import Splat
from simulation.pelvis_mr import make_pelvis_mr
from training.anatomy import Anatomy
from training.tasks.implant_fields import ImplantSlice, implant_slices

FIELDS_T = (0.55, 1.5, 3.0)
SUSCEPTIBILITY_FACTOR = (0.5, 1.5)
"""Materials of one name differ, steel most."""
BANDWIDTHS_HZ_PX = (180.0, 1000.0)
NOISE = (0.003, 0.05)
MISMATCH_SHARE, OTHER_BINS_SHARE, LESION_SHARE, SMOOTH_SHARE = 0.5, 0.25, 0.5, 0.1
LESION_CONTRAST = (0.1, 0.5)
BRIGHTEST = 1.5
"""What 255 stands for in prepared slices; 1 is their 99.5th percentile."""
_LARGEST, _MOST_FRAMES = 320, 24
_LEAST_SIGNAL = 0.1
_LEAST_ENERGY = 1e-3
"""Of the brightest bin's; below it a bin holds noise only."""
_PROCEDURAL_SLICES = 6


@dataclass(frozen=True, eq=False)
class TrainingScene:
    """One slice, acquired.

    Attributes:
        plus, minus: magnitude images of both polarities, (bin, 1, y, x).
        wanted: root sum of squares of undistorted bins without noise, (1, y, x).
        off_resonance_hz: true, (1, y, x) [Hz].
        filled: share of each voxel that metal fills, (1, y, x).
        bins: which bins.
        bandwidth_hz_px: Pixel Bandwidth.
    """

    plus: Tensor
    minus: Tensor
    wanted: Tensor
    off_resonance_hz: Tensor
    filled: Tensor
    bins: Bins
    bandwidth_hz_px: float


class MavricSlices:
    """What tasks on MAVRIC have in common: how MR is prepared, and how a scene is drawn; see `training.task.Task`."""

    modality = "MR"
    tags = ()

    def __init__(self, side: int, implants: int) -> None:
        """Choose sizes.

        Args:
            side: pixels along each side of a scene.
            implants: random implants whose fields are made.
        """
        self._side, self._implants = side, implants
        self._fields: tuple[ImplantSlice, ...] = ()
        self._device = torch.device("cpu")

    @property
    def preparation(self) -> str:
        """Changes with what is kept of an image."""
        return f"mr-slices-1:{self._side}"

    def prepare(self, image: Volume) -> Mapping[str, NDArray[Any]]:
        """Slices with something in them, 8 bits.

        Raises:
            UnusableSeries: other axes, or too small.
        """
        if image.axes != "zyx" or min(image.shape[1:]) < self._side // 2:
            raise UnusableSeries(f"slices must have {self._side // 2} pixels a side or more, and axes zyx")
        return {"frames": mr_slices(image.pixels, self._side)}

    def procedural(self, seed: int) -> Mapping[str, NDArray[Any]]:
        """A synthetic pelvis."""
        made = make_pelvis_mr(seed=seed, slices=_PROCEDURAL_SLICES, spacing_mm=12.0, pixel_mm=1.5, n_pixels=288)
        return {"frames": mr_slices(made.signal, self._side)}

    def begin(self, training: Sequence[Anatomy], device: torch.device, seed: int) -> None:
        """Make the implants' fields."""
        self._device = device
        self._fields = implant_slices(self._implants, self._side, seed)

    def scene(
        self, frames: NDArray[np.uint8], rng: np.random.Generator, *, most_bins: int | None = None
    ) -> TrainingScene:
        """Draw and acquire a scene.

        Args:
            frames: prepared slices of a patient.
            rng: source of randomness.
            most_bins: so many bins, drawn among those that hold signal, are imaged; None for all.
        """
        signal = _window(frames[int(rng.integers(len(frames)))], self._side, rng)
        if rng.random() < SMOOTH_SHARE:
            signal = _grid(signal, rng)
        implant = self._fields[int(rng.integers(len(self._fields)))]
        strength = float(rng.choice(FIELDS_T)) * float(rng.uniform(*SUSCEPTIBILITY_FACTOR))
        field, filled = _turned(implant, rng)
        if rng.random() < LESION_SHARE:
            signal = _with_lesions(signal, filled, rng)
        scene = make_scene(signal[None], filled[None], field[None] * np.float32(strength))
        bins = _bins(rng)
        acquisition = MavricAcquisition(
            bandwidth_hz_px=float(np.exp(rng.uniform(*np.log(BANDWIDTHS_HZ_PX)))),
            bins=bins,
            noise=float(np.exp(rng.uniform(*np.log(NOISE)))),
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        mismatch = random_mismatch(signal.shape, rng) if rng.random() < MISMATCH_SHARE else None
        only = None if most_bins is None else _lit(scene, bins, most_bins, rng)
        images = acquire(scene.signal, scene.off_resonance_hz, acquisition, generator, mismatch, Splat.SINC, only)
        return TrainingScene(
            images.plus,
            images.minus,
            undistorted(scene.signal, scene.off_resonance_hz, bins),
            torch.from_numpy(np.ascontiguousarray(scene.true_hz)),
            torch.from_numpy(filled[None].copy()),
            bins,
            acquisition.bandwidth_hz_px,
        )


def mr_slices(pixels: FloatArray, side: int) -> NDArray[np.uint8]:
    """Slices that show something, at most 24 of them, no side longer than 320 pixels.

    Raises:
        UnusableSeries: none does.
    """
    brightest = float(np.percentile(pixels, 99.5))
    if brightest <= 0:
        raise UnusableSeries("there is nothing in it")
    scaled = np.clip(pixels / brightest, 0.0, BRIGHTEST)
    shown = [z for z in range(len(scaled)) if float(np.mean(scaled[z] > _LEAST_SIGNAL)) > _LEAST_SIGNAL]
    if not shown:
        raise UnusableSeries("no slice shows enough tissue")
    places = np.linspace(0, len(shown) - 1, min(len(shown), _MOST_FRAMES))
    chosen = [shown[int(n)] for n in np.unique(places.round())]
    shrink = min(1.0, _LARGEST / max(scaled.shape[1:]))
    frames = []
    for z in chosen:
        one = scaled[z]
        if shrink < 1:
            one = ndimage.zoom(ndimage.gaussian_filter(one, 0.35 / shrink), shrink, order=1)
        short = [max(0, side - n) for n in one.shape]
        one = np.pad(one, [(n // 2, n - n // 2) for n in short])
        frames.append(np.rint(one * (255 / BRIGHTEST)).astype(np.uint8))
    return np.stack(frames)


def random_mismatch(shape: Sequence[int], rng: np.random.Generator) -> Mismatch:
    """Gain and shift of the minus polarity, a few per cent and a fraction of a pixel, smooth over the slice.

    Args:
        shape: of a slice, (..., y, x) in pixels.
        rng: source of randomness.
    """
    y, x = np.meshgrid(
        np.linspace(-1, 1, shape[-2], dtype=np.float32),
        np.linspace(-1, 1, shape[-1] * FINE, dtype=np.float32),
        indexing="ij",
    )
    a = rng.normal(0, 1, 7).astype(np.float32)
    gain = 1 + 0.06 * a[0] + 0.03 * (a[1] * x + a[2] * y)
    shift = 0.1 * a[3] + 0.2 * (a[4] * x + a[5] * y)
    return Mismatch(torch.from_numpy(gain.astype(np.float32)), torch.from_numpy(shift.astype(np.float32)))


def _bins(rng: np.random.Generator) -> Bins:
    if rng.random() >= OTHER_BINS_SHARE:
        return Bins()
    spacing = float(rng.uniform(800, 1250))
    return Bins(int(rng.integers(12, 31)), spacing, spacing * float(rng.uniform(1.8, 2.6)))


def _lit(scene: MavricScene, bins: Bins, count: int, rng: np.random.Generator) -> list[int]:
    """Bins that hold signal, some twice where there are too few."""
    energy = (bins.profiles(scene.off_resonance_hz) * scene.signal).square().sum(dim=(1, 2, 3))
    lit = np.flatnonzero((energy > _LEAST_ENERGY * energy.max()).numpy())
    return [int(n) for n in rng.choice(lit, count, replace=len(lit) < count)]


def _window(frame: NDArray[np.uint8], side: int, rng: np.random.Generator) -> FloatArray:
    """A square of a slice, turned, mirrored and zoomed at random; 1 for its brightest tissue."""
    zoom = float(rng.uniform(0.8, 1.25))
    own = min(round(side / zoom), *frame.shape)
    top, left = (int(rng.integers(n - own + 1)) for n in frame.shape)
    cut = frame[top : top + own, left : left + own].astype(np.float32) * np.float32(BRIGHTEST / 255)
    grown = ndimage.zoom(cut, side / own, order=1, grid_mode=True, mode="nearest")
    turned = np.rot90(grown, int(rng.integers(4)))
    signal: FloatArray = np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned, dtype=np.float32)
    bright = float(np.percentile(signal, 99))
    return signal / np.float32(bright) if bright > _LEAST_SIGNAL else signal


def _turned(implant: ImplantSlice, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Field and filling, turned and mirrored together."""
    turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)
    both = [np.rot90(one, turns) for one in (implant.field_hz, implant.filled)]
    field, filled = (np.ascontiguousarray(one[:, ::-1] if mirrored else one) for one in both)
    return field, filled


def _grid(signal: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A phantom: an even bath, or one with a grid of bars, as the paper's."""
    y, x = np.indices(signal.shape, dtype=np.float32)
    period, bar = float(rng.uniform(8, 24)), float(rng.uniform(1.5, 4))
    level = float(rng.uniform(0.4, 1.0))
    bars = np.minimum(np.abs((y % period) - bar / 2), np.abs((x % period) - bar / 2)) - bar / 2
    share = np.clip(bars + 0.5, 0, 1) if rng.random() < 0.7 else np.ones_like(bars)
    grid: FloatArray = (level * share).astype(np.float32)
    return grid


def _with_lesions(signal: FloatArray, filled: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Discs, brighter or darker, about the implant or anywhere."""
    made = signal.copy()
    y, x = np.indices(signal.shape, dtype=np.float32)
    metal = np.argwhere(filled > 0.5)
    for _ in range(int(rng.integers(1, 7))):
        if len(metal) and rng.random() < 0.7:
            middle = metal[int(rng.integers(len(metal)))] + rng.normal(0, 14, 2)
        else:
            middle = rng.uniform(0, signal.shape[0], 2)
        radius = float(rng.uniform(1.5, 7))
        away = np.hypot(y - middle[0], x - middle[1]) - radius
        share = 1 / (1 + np.exp(np.clip(away / 0.35, -40, 40)))
        contrast = float(rng.uniform(*LESION_CONTRAST)) * float(rng.choice([-1, 1]))
        made *= (1 + contrast * share).astype(np.float32)
    return made
