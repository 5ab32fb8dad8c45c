"""The training side of `mavric`: implants in clean MR, acquired with both readout polarities, and what is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from scipy import ndimage

from correctors.mavric.beyond import enclosed
from correctors.mavric.evidence import Acquired as AcquiredBins
from correctors.mavric.evidence import Combining, combined_by, straightened
from correctors.mavric.matched_filter import root_sum_of_squares
from dicom_node.contracts import BoolArray, FloatArray, Geometry, TagValue, Units, Volume
from dicom_node.errors import UnusableSeries
from simulation.limbs import LegRegion, make_leg
from simulation.mavric import FINE, Bins
from simulation.pelvis_mr import make_pelvis_mr
from simulation.spine_mr import make_spine_mr
from simulation.stacks import Plane
from training.lesions import Labels, LesionTwin
from training.subject import Scale, SimulatedCase, scenario_of
from training.subjects.mavric_cases import UNIT, Acquired, Plan, metal_of, planned, volumes

NEAR_MM = 25.0
MOST_SLICES, MOST_PIXELS = 5, 192
"""Of a stack, in the middle: exact physics of 48 bins takes seconds a slice."""
LESIONS, LESION_CONTRAST = 5, 0.2
LESION_RADIUS_MM, LESION_DISTANCE_MM = (3.0, 6.0), (10.0, 25.0)
PHANTOM_SLICES, PHANTOM_PIXELS = 6, 192
_SPIN_ECHO = Bins(1, 1000.0, 1e9)
_PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "implants": Plan(),
        "mismatch": Plan(mismatch=True),
        "matched": Plan(mismatch=False),
        "lesions": Plan(),
        "knee": Plan(implanted="knee"),
        "spine": Plan(implanted="spine"),
        "no-metal": Plan(implanted=None),
        "spin-echo": Plan(bins=_SPIN_ECHO),
    }
)


class MavricSubject:
    """See `training.subject.Subject`."""

    corrector: str = "mavric"
    scenarios: Mapping[str, str] = MappingProxyType(
        {
            "implants": "random implants of cobalt-chromium, titanium and steel at 0.55, 1.5 and 3 T, 24 bins of both "
            "polarities by the exact operator, any bandwidth and noise, half of them with mismatched polarities",
            "mismatch": "the same, all with gain and eddy-current mismatch between the polarities",
            "matched": "the same, none with mismatch",
            "knee": "the same with a total knee arthroplasty",
            "spine": "the same with pedicle screws and rods",
            "lesions": "`implants` with discs of 20 % contrast and 6 to 12 mm, 10 to 25 mm from metal",
            "no-metal": "no implant, only what shimming leaves",
            "spin-echo": "an ordinary dual-polarity spin echo: one 'bin' that excites every frequency",
        }
    )
    scales: Mapping[str, Scale] = MappingProxyType(
        {"plus": Scale(Units.MR_SIGNAL, judged=(0.0, 1500.0), shown=(0.0, 1300.0), difference=400.0)}
    )
    routing_tags: Mapping[str, TagValue] = MappingProxyType(
        {"ImageType": ("ORIGINAL", "PRIMARY", "M"), "ScanningSequence": "SE", "BodyPartExamined": "HIP"}
    )
    role_tags: Mapping[str, Mapping[str, TagValue]] = MappingProxyType(
        {
            "plus": MappingProxyType({"SeriesDescription": "MAVRIC RO+", "SeriesNumber": 1}),
            "minus": MappingProxyType({"SeriesDescription": "MAVRIC RO-", "SeriesNumber": 2}),
        }
    )
    baseline: str | None = "mean"

    @property
    def default_recipe(self) -> Path:
        """Recipe of `train`."""
        return Path(__file__).parents[1] / "recipes" / "mavric" / "best.yaml"

    def procedural(self, seed: int) -> Mapping[str, Volume]:
        """A synthetic pelvis, axial; a knee, coronal; or a lumbar spine, sagittal."""
        match seed % 3:
            case 0:
                made = make_pelvis_mr(
                    seed=seed, slices=PHANTOM_SLICES, n_pixels=PHANTOM_PIXELS, pixel_mm=2.1, spacing_mm=5.0
                )
            case 1:
                made = make_leg(
                    seed=seed,
                    region=LegRegion.KNEE,
                    plane=Plane.CORONAL,
                    slices=PHANTOM_SLICES,
                    n_pixels=PHANTOM_PIXELS,
                    pixel_mm=1.0,
                )
            case _:
                made = make_spine_mr(seed=seed, slices=PHANTOM_SLICES, n_pixels=PHANTOM_PIXELS, pixel_mm=1.5)
        return {"plus": Volume(made.signal, Units.MR_SIGNAL, made.geometry)}

    def clean(self, image: Volume) -> Mapping[str, Volume]:
        """An MR stack.

        Raises:
            UnusableSeries: no MR stack, smaller than 64 pixels, or nothing in it.
        """
        if image.units is not Units.MR_SIGNAL or image.axes != "zyx":
            raise UnusableSeries(f"it must be an MR stack with axes zyx, got {image.units.value}, {image.axes}")
        if min(image.shape[1:]) < 64:
            raise UnusableSeries("its slices have fewer than 64 pixels a side")
        if float(np.percentile(image.pixels, 99.5)) <= 0:
            raise UnusableSeries("there is nothing in it")
        return {"plus": image}

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        """Put an implant into the middle of a stack and acquire it.

        Args:
            clean: from `clean` or `procedural`.
            scenario: one of `scenarios`.
            seed: of everything that is drawn.

        Raises:
            RequestError: no such scenario.
            UnusableSeries: no place for an implant.
        """
        scenario_of(self, scenario)
        rng = np.random.default_rng(seed)
        stack = _middle(clean["plus"])
        signal = np.clip(stack.pixels / np.float32(np.percentile(stack.pixels, 99.5)), 0.0, 1.5).astype(np.float32)
        case = planned(stack, signal, _PLANS[scenario], rng)
        metal = metal_of(case)
        twin = None
        if scenario == "lesions":
            bins, truth = volumes(case, stack)
            spins, labels = _with_lesions(case, metal, stack.geometry, rng)
            twin = LesionTwin(bins, {"plus": truth}, {"plus": labels})
            case = replace(case, scene=replace(case.scene, signal=spins))
        bins, truth = volumes(case, stack)
        true_hz = np.swapaxes(case.scene.true_hz, 1, 2) if case.columns else case.scene.true_hz
        excluded = ndimage.binary_dilation(metal, np.ones((1, 3, 3), bool))
        excluded |= np.abs(true_hz) > case.acquisition.bins.reach_hz
        away = _distance_mm(metal, stack.geometry)
        slices = tuple(int(z) for z in range(len(metal)) if not excluded[z].all())
        return SimulatedCase(
            artefact=bins,
            truth={"plus": truth},
            excluded={"plus": excluded},
            slices=slices,
            description=case.description,
            twin=twin,
            references={} if twin is not None else {n: {"plus": v} for n, v in _oracles(case, bins, truth).items()},
            regions={"near": {"plus": away <= NEAR_MM}, "far": {"plus": away > NEAR_MM}} if metal.any() else {},
        )

    def shown(self, artefact: Mapping[str, Volume]) -> Mapping[str, Volume]:
        """MAVRIC(+): the root sum of squares that a scanner shows."""
        bins = artefact["plus"]
        combined = np.sqrt(np.square(bins.pixels.astype(np.float64)).sum(axis=0)).astype(np.float32)
        return {"plus": Volume(combined, bins.units, bins.geometry, tags=bins.tags)}

    def judge(self, artefact: Mapping[str, Volume], truth: Mapping[str, Volume]) -> SimulatedCase:
        """Metal is what the truth does not show inside the body: voids that do not reach the edge.

        Raises:
            UnusableSeries: the truth is empty.
        """
        pixels = truth["plus"].pixels
        bright = float(np.percentile(pixels, 99.5))
        if bright <= 0:
            raise UnusableSeries("the truth holds nothing")
        metal = np.stack([enclosed(one < 0.02 * bright) for one in pixels])
        away = _distance_mm(metal, truth["plus"].geometry)
        excluded = ndimage.binary_dilation(metal, np.ones((1, 3, 3), bool))
        regions = {"near": {"plus": away <= NEAR_MM}, "far": {"plus": away > NEAR_MM}} if metal.any() else {}
        slices = tuple(range(len(pixels)))
        return SimulatedCase(artefact, truth, {"plus": excluded}, slices, "given pair", regions=regions)


SUBJECT = MavricSubject()


def _middle(volume: Volume) -> Volume:
    """The middle slices, and of these the middle: a stack of its own."""
    geometry = volume.geometry
    depth, rows, columns = geometry.shape
    z0 = max(0, (depth - MOST_SLICES) // 2)
    y0, x0 = (max(0, (n - MOST_PIXELS) // 2) for n in (rows, columns))
    here = (slice(z0, z0 + MOST_SLICES), slice(y0, y0 + MOST_PIXELS), slice(x0, x0 + MOST_PIXELS))
    pixels = np.ascontiguousarray(volume.pixels[here])
    aside = np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1] * x0
    aside = aside + np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0] * y0
    origins = [np.asarray(one) + aside for one in geometry.slice_origins_mm[here[0]]]
    cut = replace(
        geometry,
        slice_origins_mm=tuple((float(a), float(b), float(c)) for a, b, c in origins),
        rows=pixels.shape[1],
        columns=pixels.shape[2],
    )
    return Volume(pixels, volume.units, cut)


def _with_lesions(
    case: Acquired, metal: BoolArray, geometry: Geometry, rng: np.random.Generator
) -> tuple[torch.Tensor, Labels]:
    """Spins with discs of 20 % contrast near the metal, and where these are on the grid of the volumes."""
    spacing = geometry.pixel_spacing_mm
    labels = np.zeros(metal.shape, np.int32)
    factor = np.ones(metal.shape, np.float32)
    away = _distance_mm(metal, geometry)
    signal = case.scene.signal[..., ::FINE].numpy()
    signal = np.swapaxes(signal, 1, 2) if case.columns else signal
    free = (away > LESION_DISTANCE_MM[0]) & (away < LESION_DISTANCE_MM[1]) & (signal > 0.25)
    for number in range(1, LESIONS + 1):
        places = np.argwhere(free)
        if not len(places):
            break
        z, y, x = places[int(rng.integers(len(places)))]
        radius = float(rng.uniform(*LESION_RADIUS_MM))
        dy = (np.arange(metal.shape[1]) - y)[:, None] * spacing[0]
        dx = (np.arange(metal.shape[2]) - x)[None] * spacing[1]
        distance = np.hypot(dy, dx)
        share = 1 / (1 + np.exp(np.clip((distance - radius) / (0.35 * min(spacing)), -40, 40)))
        factor[z] *= (1 + LESION_CONTRAST * float(rng.choice([-1, 1])) * share).astype(np.float32)
        labels[z][distance < radius] = number
        free[z] &= distance > 3 * LESION_RADIUS_MM[1]
    turned = np.ascontiguousarray(np.swapaxes(factor, 1, 2)) if case.columns else factor
    fine = torch.nn.functional.interpolate(torch.from_numpy(turned), scale_factor=float(FINE), mode="linear")
    return case.scene.signal * fine, labels


def _oracles(case: Acquired, bins: Mapping[str, Volume], truth: Volume) -> dict[str, Volume]:
    """What the true field makes of the bins as they are, with the node's own way of moving and combining."""
    turned = [np.swapaxes(bins[role].pixels, -1, -2) if case.columns else bins[role].pixels for role in bins]
    plus, minus = (torch.from_numpy(np.ascontiguousarray(one)) for one in turned)
    acquired = AcquiredBins(plus, minus, case.acquisition.bandwidth_hz_px, case.acquisition.bins)
    field = torch.from_numpy(np.ascontiguousarray(case.scene.true_hz))
    straight = straightened(acquired, field, plus.new_tensor(UNIT))
    images = {
        "oracle": combined_by(Combining.MATCHED, straight, acquired.bins),
        "oracle-rsos": root_sum_of_squares(straight.unwarped.images),
    }
    return {
        name: truth.with_pixels(np.swapaxes(one.numpy(), -1, -2) if case.columns else one.numpy())
        for name, one in images.items()
    }


def _distance_mm(metal: BoolArray, geometry: Geometry) -> FloatArray:
    """Of each voxel to the nearest metal [mm]; infinite where there is none."""
    if not metal.any():
        return np.full(metal.shape, np.inf, np.float32)
    step = geometry.slice_spacing_mm or geometry.slice_thickness_mm or 1.0
    away: FloatArray = ndimage.distance_transform_edt(~metal, sampling=(step, *geometry.pixel_spacing_mm))
    return away
