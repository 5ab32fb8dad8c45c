"""Slices of prepared patients, scanned with random hip implants: each is made once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from correctors.hipct.coarse import half_resolution
from correctors.hipct.examples import Example, Projectors, make_example
from dicom_node.contracts import FloatArray, Geometry
from simulation.bars import random_bar, random_material
from simulation.fbp import Window
from simulation.hip_sites import HipSite
from simulation.implants import HipImplant, random_implant, rasterise
from simulation.lesions import random_lesions
from simulation.materials import Material
from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition
from training.anatomy import Anatomy

AIR_HU = -1000.0
SCANNER_ANGLES = 560
CORRECTOR_ANGLES = 480
"""Angles over 180 degrees; not the same, for no scanner has the angles of the corrector."""
_MOST_TRIES = 8
_FEWEST_METAL_VOXELS = 20
_SCALES = (0.76, 1.16)
"""Of the whole patient: another one's size, and finer pixels than the prepared ones."""
_ZOOMS = (0.85, 1.15)
"""Of the pixels: another field of view."""
_BODY_MARGIN = 6
_STEM_MM = (-70.0, 18.0)
"""Where slices far from the femoral heads are taken to lie [mm above them]: an implant must reach into the slice."""
_ONE_SIDE_SHARE = 0.6
_FAN_SHARE = 0.5
_BAR_SHARE, _ONE_MATERIAL_SHARE = 0.3, 0.3
_LESIONS, _TWIN_LESIONS = 1.5, 6.0
"""Mean number of low-contrast lesions in a slice; more where what becomes of them is learnt."""


def projectors(side: int, device: torch.device) -> Projectors:
    """For square slices of pixels of 1 mm."""
    scanner, fine = (
        ParallelProjector(ParallelGeometry(side, 1.0, angles), str(device))
        for angles in (SCANNER_ANGLES, CORRECTOR_ANGLES)
    )
    return Projectors(scanner, fine, half_resolution(fine))


@dataclass(frozen=True, eq=False)
class TwinScenes:
    """One scan of one slice, noise and all, with lesions in it and without."""

    with_lesions: Example
    without: Example


@dataclass(frozen=True, eq=False)
class _Placed:
    """A slice with implants, with lesions and without: (y, x) [HU], shares by material, and pixel size [mm]."""

    tissue_hu: FloatArray
    without_hu: FloatArray
    shares: dict[Material, FloatArray]
    pixel_mm: float


class ImplantedScenes:
    """Scene number n of a patient is the same wherever it is made."""

    def __init__(self, side: int, pixel_mm: float, seed: int, device: torch.device, *, twins: bool = False) -> None:
        """Nothing is made yet.

        Args:
            side: pixels along each side of the prepared slices.
            pixel_mm: their pixel size [mm].
            seed: of everything drawn.
            device: where scans are simulated.
            twins: whether `twin_scenes` will be asked for: there are more lesions then.
        """
        self._side, self._pixel_mm, self._seed = side, pixel_mm, seed
        self._twins, self._lesions = twins, _TWIN_LESIONS if twins else _LESIONS
        self._projectors = projectors(side, device)
        self._made: dict[tuple[str, int], TwinScenes] = {}

    def twin_scenes(self, anatomy: Anatomy, number: int) -> TwinScenes:
        """A scene of a patient and its twin, kept from the first time on; the same one twice where no twins are made.

        Raises:
            ValueError: no implant can be placed in the patient's slices.
        """
        key = anatomy.digest, number
        if key not in self._made:
            self._made[key] = self._make(anatomy, np.random.default_rng([self._seed, int(key[0][:12], 16), number]))
        return self._made[key]

    def _make(self, anatomy: Anatomy, rng: np.random.Generator) -> TwinScenes:
        for _ in range(_MOST_TRIES):
            placed = self._placed(anatomy, rng)
            acquisition, window = random_acquisition(rng), random_window(rng)
            fan, seed = bool(rng.random() < _FAN_SHARE), int(rng.integers(2**31))
            if placed is None:
                continue
            scan = partial(
                make_example,
                implants=placed.shares,
                projectors=self._projectors.resized(placed.pixel_mm),
                acquisition=acquisition,
                window=window,
                fan=fan,
                seed=seed,
            )
            made = scan(placed.tissue_hu)
            twin = scan(placed.without_hu) if self._twins and made is not None else made
            if made is not None and twin is not None:
                return TwinScenes(made, twin)
        raise ValueError(f"series {anatomy.series}: no implant could be placed in its slices")

    def _placed(self, anatomy: Anatomy, rng: np.random.Generator) -> _Placed | None:
        arrays = anatomy.arrays
        frame = int(rng.integers(anatomy.frames))
        mirrored = bool(rng.random() < 0.5)
        hu = arrays["frames"][frame].astype(np.float32)
        hu = hu[:, ::-1] if mirrored else hu
        zoom = min(float(rng.uniform(*_ZOOMS)), _largest_zoom(hu))
        pixel_mm = self._pixel_mm * float(rng.uniform(*_SCALES)) / zoom
        height = float(arrays["frames_offset_mm"][frame]) + float(rng.normal(0, 6))
        if not _STEM_MM[0] < height < _STEM_MM[1]:
            height = float(rng.uniform(*_STEM_MM))
        tissue = _zoomed(hu, zoom)
        geometry = _geometry(self._side, pixel_mm, height)
        grown = zoom * pixel_mm / self._pixel_mm
        sites = [_site(place * grown, mirrored=mirrored, rng=rng) for place in arrays["sites_mm"]]
        count = 1 if rng.random() < _ONE_SIDE_SHARE else 2
        chosen = [sites[i] for i in rng.permutation(len(sites))[:count]]
        shares = rasterise(tuple(_implant(site, rng) for site in chosen), geometry)
        filled = np.sum([share[0] for share in shares.values()], axis=0)
        if int((filled > 0.5).sum()) < _FEWEST_METAL_VOXELS:
            return None
        lesions = random_lesions(tissue, filled > 0, pixel_mm, rng, mean_count=self._lesions).hu
        return _Placed(lesions, tissue, {material: share[0] for material, share in shares.items()}, pixel_mm)


def _implant(site: HipSite, rng: np.random.Generator) -> HipImplant:
    """A hip implant as it is sold, one of a single material, or a plain bar."""
    kind = rng.random()
    if kind < _BAR_SHARE:
        return random_bar(site, rng)
    implant = random_implant(site, rng)
    return implant.made_of(random_material(rng)) if kind < _BAR_SHARE + _ONE_MATERIAL_SHARE else implant


def random_acquisition(rng: np.random.Generator) -> Acquisition:
    """Voltage, dose and leftover scatter as they vary between scanners and patients."""
    photons = float(10 ** rng.uniform(6.0, 7.5))
    return Acquisition(
        kvp=float(rng.choice([80.0, 100.0, 120.0, 140.0], p=[0.1, 0.2, 0.5, 0.2])),
        photons=photons,
        scatter_counts=photons * float(10 ** rng.uniform(-6.5, -5.3)),
    )


def random_window(rng: np.random.Generator) -> Window:
    """A reconstruction filter, from sharp to soft."""
    windows: tuple[Window, ...] = get_args(Window)
    return windows[int(rng.integers(len(windows)))]


def _largest_zoom(hu: FloatArray) -> float:
    """Until the patient meets the edge of the field."""
    rows, columns = np.nonzero(hu > -300.0)
    if len(rows) == 0:
        return 1.0
    middle = (hu.shape[0] - 1) / 2
    reach = max(abs(rows - middle).max(), abs(columns - middle).max())
    return float((middle - _BODY_MARGIN) / max(reach, 1.0))


def _zoomed(hu: FloatArray, zoom: float) -> FloatArray:
    middle = (hu.shape[0] - 1) / 2
    out: FloatArray = ndimage.affine_transform(hu, np.eye(2) / zoom, middle - middle / zoom, order=1, cval=AIR_HU)
    return np.ascontiguousarray(out, dtype=np.float32)


def _geometry(side: int, pixel_mm: float, height_mm: float) -> Geometry:
    corner = -(side - 1) / 2 * pixel_mm
    return Geometry((1, 0, 0), (0, 1, 0), (pixel_mm, pixel_mm), ((corner, corner, height_mm),), side, side, 3.0)


def _site(place_mm: NDArray[np.float32], *, mirrored: bool, rng: np.random.Generator) -> HipSite:
    """A femoral head at height 0; `place_mm` is (y, x) from the middle of the grid."""
    x = float(place_mm[1]) * (-1 if mirrored else 1)
    side: Literal["right", "left"] = "right" if x < 0 else "left"
    return HipSite(side, (x, float(place_mm[0]), 0.0), float(rng.uniform(20, 27)))
