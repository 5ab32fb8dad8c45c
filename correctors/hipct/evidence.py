"""What the image network of method `best` is shown: the slice, a trace-free estimate, the metal, and its streaks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from correctors.common.attenuation import AIR_HU, attenuation_to_hu_change, hu_to_attenuation
from correctors.hipct.nmar import (
    BONE_FROM_HU,
    CLEAN_BONE_FROM_HU,
    divided_interpolation,
    normalised_interpolation,
    segmented_prior,
)
from correctors.hipct.scene import Scene
from correctors.hipct.trace import interpolate, trace_of
from simulation.projector import ParallelProjector

CHANNELS = 6
"""Slice, estimate, previous result, metal, shadow, streak pattern."""
SHOWN_HU = (-1024.0, 2000.0)
"""Range of the images that the network sees [HU]."""
SCALE_HU = 1000.0
METAL_FROM = 0.5
"""Likelihood from which a voxel counts as metal."""
THICK_MM = 20.0
"""Path in metal at which hardening is given as `HARDENED` [mm]."""
HARDENED = 0.5
"""Line integral that the streak pattern stands for at a path of `THICK_MM`; only its shape matters."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Images that a correction is made from; all (batch, y, x) on the scene's grid.

    Attributes:
        slices: as they came [HU].
        estimate: with the metal's rays replaced by those of a prior, no metal in it [HU].
        previous: the best result so far, no metal in it; the estimate itself before there is one [HU].
        likely: how likely a voxel is metal, 0 to 1; zero where none was segmented.
        shadow: bool, metal with its blurred rim.
        streaks: where hardening of this metal leaves streaks, by shape and sign [HU].
    """

    slices: Tensor
    estimate: Tensor
    previous: Tensor
    likely: Tensor
    shadow: Tensor
    streaks: Tensor

    @property
    def metal(self) -> Tensor:
        """Voxels that are rather metal than not, bool."""
        return self.likely > METAL_FROM

    @property
    def base(self) -> Tensor:
        """What the network's output is added to: the previous result with the metal put back [HU]."""
        return torch.where(self.metal, self.slices, self.previous)

    def channels(self) -> Tensor:
        """The network's input, float32 (batch, channel, y, x)."""
        low, high = SHOWN_HU
        parts = (
            self.slices.clamp(low, high) / SCALE_HU,
            torch.where(self.metal, self.slices, self.estimate).clamp(low, high) / SCALE_HU,
            self.base.clamp(low, high) / SCALE_HU,
            self.likely,
            self.shadow.to(torch.float32),
            self.streaks.clamp(-high, high) / SCALE_HU,
        )
        return torch.stack(parts, dim=1)


def gather(scene: Scene, coarse: ParallelProjector) -> Evidence:
    """Look at a scene.

    Prior and streak pattern are made at half the resolution: both are smooth where it counts. The trace itself is
    replaced at full resolution, as in normalised interpolation (Meyer 2010) with that prior.

    Args:
        scene: slices with metal.
        coarse: `coarse.half_resolution` of the scene's projector.
    """
    prior = functional.interpolate(_coarse_prior(scene, coarse)[:, None], scale_factor=2, mode="bilinear")[:, 0]
    estimate = _replaced(scene, prior)
    likely = scene.metal.to(torch.float32)
    return Evidence(scene.images, estimate, estimate, likely, scene.shadow, _streak_pattern(scene, coarse))


def look_again(scene: Scene, before: Evidence, result: Tensor, likely: Tensor) -> Evidence:
    """The scene with a result at hand, which is the better prior for the rays through metal.

    Args:
        scene: slices with metal.
        before: what the result was made from.
        result: (batch, y, x), metal not put back [HU].
        likely: (batch, y, x), how likely a voxel is metal.
    """
    estimate = _replaced(scene, prior_of(result, likely > METAL_FROM))
    return Evidence(scene.images, estimate, result, likely, scene.shadow, before.streaks)


def prior_of(result: Tensor, metal: Tensor) -> Tensor:
    """A result (batch, y, x) as prior of the rays through metal, which counts as water there [HU]."""
    return torch.where(metal, 0.0, result.clamp(AIR_HU, SHOWN_HU[1]))


def _replaced(scene: Scene, prior: Tensor) -> Tensor:
    """Images whose rays through metal are interpolated after division by a prior's (Meyer 2010) [HU]."""
    replaced = normalised_interpolation(scene, prior)
    return scene.images + attenuation_to_hu_change(scene.projector.fbp(replaced - scene.sinogram))


def _coarse_prior(scene: Scene, coarse: ParallelProjector) -> Tensor:
    """Prior image after two rounds of normalised interpolation, (batch, y / 2, x / 2) [HU]."""
    images = _halved(scene.images)
    shadow = functional.max_pool2d(scene.shadow[:, None].to(torch.float32), 2)[:, 0] > 0
    sinogram = coarse.forward(hu_to_attenuation(images))
    trace = trace_of(coarse.forward(shadow.to(torch.float32)))
    filled = interpolate(sinogram, trace)
    for bone_from_hu in (BONE_FROM_HU, CLEAN_BONE_FROM_HU):
        first = attenuation_to_hu_change(coarse.fbp(filled)) + AIR_HU
        expected = coarse.forward(hu_to_attenuation(segmented_prior(first, shadow, bone_from_hu)))
        filled = divided_interpolation(sinogram, trace, expected)
    found = attenuation_to_hu_change(coarse.fbp(filled)) + AIR_HU
    return segmented_prior(found, shadow, CLEAN_BONE_FROM_HU)


def _streak_pattern(scene: Scene, coarse: ParallelProjector) -> Tensor:
    """Reconstruction of the squared path in metal: hardening grows with it (De Man et al., IEEE TNS 1999)."""
    paths = coarse.forward(_halved(scene.metal.to(torch.float32)))
    pattern = attenuation_to_hu_change(coarse.fbp(HARDENED * (paths / THICK_MM).square()))
    return functional.interpolate(pattern[:, None], scale_factor=2, mode="bilinear")[:, 0]


def _halved(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images[:, None], 2)[:, 0]
