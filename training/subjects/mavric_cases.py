"""One MAVRIC acquisition of a clean stack with an implant in it: exact physics, as the scanner would send it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray, TagValue, Units, Volume
from dicom_node.errors import UnusableSeries
from simulation.bars import random_bar
from simulation.hip_sites import HipSite
from simulation.implant_scene import Region, random_site_implant
from simulation.implants import Implant, rasterise
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V
from simulation.mavric import Bins, MavricAcquisition, Mismatch, acquire, undistorted
from simulation.mavric_scene import MavricScene, make_scene
from simulation.shapes import Point, as_point
from simulation.susceptibility import implant_field_hz
from training.tasks.mavric_scenes import random_mismatch

UNIT = 1000.0
"""Signal of the brightest tissue in what is written [a.u.]."""
FIELDS_T = (0.55, 1.5, 3.0)
METALS = (COCRMO, TI6AL4V, STEEL_316L)
BANDWIDTHS_HZ_PX = (250.0, 1000.0)
NOISE = (0.005, 0.04)
BAR_SHARE, MISMATCH_SHARE, COLUMNS_SHARE = 0.3, 0.5, 0.5
TRIES = 8
FEWEST_METAL_VOXELS = 12
_HEAD_MM = 23.0


@dataclass(frozen=True)
class Plan:
    """What a scenario fixes; None leaves it to chance.

    Attributes:
        implanted: where the implant belongs; None for none.
        mismatch: whether the polarities differ in gain and by eddy currents.
        bins: which bins.
    """

    implanted: Region | None = "hip"
    mismatch: bool | None = None
    bins: Bins = field(default_factory=Bins)


@dataclass(frozen=True, eq=False)
class Acquired:
    """A case before it becomes volumes; the readout is the last axis.

    Attributes:
        scene: spins and field, with lesions where there are any.
        acquisition: how it was read out.
        mismatch: of the minus polarity.
        columns: whether the readout runs along the columns of the volumes.
        seed: of the noise.
        description: in a few words.
    """

    scene: MavricScene
    acquisition: MavricAcquisition
    mismatch: Mismatch | None
    columns: bool
    seed: int
    description: str


def planned(clean: Volume, signal: FloatArray, plan: Plan, rng: np.random.Generator) -> Acquired:
    """Draw implant, scanner and noise, and compute the field.

    Args:
        clean: gives the grid.
        signal: (z, y, x), 1 for the brightest tissue.
        plan: of the scenario.
        rng: source of randomness.

    Raises:
        UnusableSeries: no place for an implant was found.
    """
    field_t = float(rng.choice(FIELDS_T))
    columns = bool(rng.random() < COLUMNS_SHARE)
    if plan.implanted is not None:
        implant, filled, name = _placed(clean, signal, plan.implanted, rng)
        off_hz = implant_field_hz((implant,), clean.geometry, field_t, b0=b0_of(clean))
    else:
        filled = np.zeros(signal.shape, np.float32)
        off_hz, name = smooth_field_hz(signal.shape, field_t, rng), "no implant"
    mismatched = plan.mismatch if plan.mismatch is not None else bool(rng.random() < MISMATCH_SHARE)
    acquisition = MavricAcquisition(
        bandwidth_hz_px=round(float(np.exp(rng.uniform(*np.log(BANDWIDTHS_HZ_PX))))),
        bins=plan.bins,
        noise=float(np.exp(rng.uniform(*np.log(NOISE)))),
    )
    turned = [np.ascontiguousarray(np.swapaxes(one, 1, 2)) if columns else one for one in (signal, filled, off_hz)]
    scene = make_scene(*turned)
    mismatch = random_mismatch(turned[0].shape, rng) if mismatched else None
    said = f"{name}, {field_t:g} T, {acquisition.bandwidth_hz_px:g} Hz/px, noise {100 * acquisition.noise:.1f} %"
    said += ", mismatch" if mismatched else ""
    return Acquired(scene, acquisition, mismatch, columns, int(rng.integers(2**31)), said)


def volumes(case: Acquired, clean: Volume) -> tuple[Mapping[str, Volume], Volume]:
    """Bins of both polarities, and the undistorted root sum of squares without noise.

    Args:
        case: the case.
        clean: gives grid and tags.
    """
    generator = torch.Generator().manual_seed(case.seed)
    made = acquire(case.scene.signal, case.scene.off_resonance_hz, case.acquisition, generator, case.mismatch)
    tags: dict[str, TagValue] = {
        "PixelBandwidth": case.acquisition.bandwidth_hz_px,
        "InPlanePhaseEncodingDirection": "ROW" if case.columns else "COL",
    }
    geometry = clean.geometry

    def written(pixels: torch.Tensor, axes: str) -> Volume:
        values = np.swapaxes(pixels.numpy(), -1, -2) if case.columns else pixels.numpy()
        scaled = np.ascontiguousarray(values * np.float32(UNIT), dtype=np.float32)
        return Volume(scaled, Units.MR_SIGNAL, geometry, axes=axes, tags=tags)

    truth = undistorted(case.scene.signal, case.scene.off_resonance_hz, case.acquisition.bins)
    # Scanners store whole numbers; the truth was never stored.
    bins = {
        role: written((one * UNIT).round() / UNIT, "bzyx") for role, one in (("plus", made.plus), ("minus", made.minus))
    }
    return bins, replace(written(truth.clamp(min=0), "zyx"), tags={})


def b0_of(clean: Volume) -> tuple[float, float, float]:
    """Direction of B0, the patient's long axis, along (z, y, x) of the grid."""
    geometry = clean.geometry
    return geometry.normal[2], geometry.column_direction[2], geometry.row_direction[2]


def smooth_field_hz(shape: tuple[int, ...], field_t: float, rng: np.random.Generator) -> FloatArray:
    """What shimming leaves in a body without metal: a few tens of Hz per tesla, smooth."""
    coarse = rng.normal(0.0, 30.0 * field_t, (1, 4, 4))
    zoom = (shape[0], shape[1] / 4, shape[2] / 4)
    field: FloatArray = ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest").astype(np.float32)
    return field


def _placed(
    clean: Volume, signal: FloatArray, region: Region, rng: np.random.Generator
) -> tuple[Implant, FloatArray, str]:
    for _ in range(TRIES):
        implant, kind = _implant(_site(clean, signal, rng), region, rng)
        filled = np.zeros(signal.shape, np.float32)
        for share in rasterise((implant,), clean.geometry).values():
            filled += share
        if int((filled >= 0.5).sum()) >= FEWEST_METAL_VOXELS:
            metals = sorted({part.material.name for part in implant.parts if part.material in METALS})
            return implant, filled, f"{kind} {' and '.join(metals)}"
    raise UnusableSeries(f"no implant reached into its slices in {TRIES} tries")


def _implant(centre: Point, region: Region, rng: np.random.Generator) -> tuple[Implant, str]:
    metal = METALS[int(rng.integers(len(METALS)))]
    if region == "hip" and rng.random() < BAR_SHARE:
        return random_bar(HipSite("left", centre, _HEAD_MM), rng).made_of(metal), "bar"
    return random_site_implant(rng, region, centre, metal if rng.random() < 0.5 else None), f"{region} implant"


def _site(clean: Volume, signal: FloatArray, rng: np.random.Generator) -> Point:
    """Somewhere in the tissue of the middle half of the stack."""
    tissue = signal > 0.15
    for axis in range(3):
        quarter = tissue.shape[axis] // 4
        edge = [slice(None)] * 3
        for cut in (slice(0, quarter), slice(tissue.shape[axis] - quarter, None)):
            edge[axis] = cut
            if quarter:
                tissue[tuple(edge)] = False
    places = np.argwhere(tissue)
    if not len(places):
        raise UnusableSeries("there is no tissue in the middle of its slices")
    z, y, x = places[int(rng.integers(len(places)))]
    geometry = clean.geometry
    centre = (
        np.asarray(geometry.slice_origins_mm[int(z)])
        + np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1] * float(x)
        + np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0] * float(y)
    )
    return as_point(centre)


def metal_of(case: Acquired) -> BoolArray:
    """Voxels at least half filled with implant, on the grid of the volumes."""
    metal: BoolArray = np.swapaxes(case.scene.metal, 1, 2) if case.columns else case.scene.metal
    return metal
