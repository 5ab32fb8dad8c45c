"""Metal artefacts simulated into CT slices, from physics.

Tissue is split softly into water and bone by its CT number, metal is added as its own material, and all three are
projected, attenuated over the spectrum, counted, water-corrected and reconstructed (after Zhang & Yu, IEEE TMI 2018).

Two ways to make the pair, because re-projecting a reconstructed slice blurs it and rings at its edges:

- `DIFFERENCE` (default) adds the reconstruction of the *change* of the projections to the original slice. Anatomy
  keeps the scanner's own kernel and noise, and artefact and truth differ by metal and simulated noise only.
- `REPROJECTED` passes both through the whole chain, so both have the projector's resolution. Use it to
  imitate a scanner on a phantom, whose slices were never reconstructed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from simulation.fan_beam import FanBeam
from simulation.fbp import Window
from simulation.materials import CORTICAL_BONE, WATER, Material
from simulation.projection import Projector
from simulation.scanner import Scanner

BONE_FROM_HU = 100.0
BONE_FULL_HU = 1500.0
SCALE_HU = (-1024.0, 3071.0)
"""Range of twelve-bit CT images."""
METAL_FROM_HU = 2500.0
"""Implant materials above this count as metal (ceramics too, polyethylene not)."""


class Chain(StrEnum):
    """How the image pair is made; see the module."""

    DIFFERENCE = "difference"
    REPROJECTED = "reprojected"


@dataclass(frozen=True, eq=False)
class MetalSimulation:
    """Slices with and without metal artefact.

    Attributes:
        artefact: float32 (slice, y, x) [HU], as a scanner would show them.
        truth: float32 (slice, y, x) [HU], without noise and metal artefact, metal pasted in, clipped alike.
        metal: bool (slice, y, x), voxels at least half filled with metal.
        floor: float32 (slice, y, x), the same acquisition without the implants: what is left of it against the clean
            slices is noise, and rays beside the implants have the same noise as in `artefact` [HU].
    """

    artefact: Tensor
    truth: Tensor
    metal: Tensor
    floor: Tensor


def simulate_metal(
    slices_hu: Tensor,
    implants: Mapping[Material, Tensor],
    *,
    projector: Projector,
    scanner: Scanner,
    generator: torch.Generator,
    chain: Chain = Chain.DIFFERENCE,
    window: Window = "ram-lak",
    beam: FanBeam | None = None,
) -> MetalSimulation:
    """Simulate slices as scanned with implants inside.

    Args:
        slices_hu: float32 (slice, y, x) without metal [HU], on the projector's square grid.
        implants: share of each voxel (0 to 1) that each implant material fills, float32 (slice, y, x).
        projector: geometry of acquisition and reconstruction, parallel or fan.
        scanner: the scanner's physics.
        generator: source of all randomness; same seed, same result.
        chain: how the pair is made.
        window: reconstruction filter.
        beam: with a parallel projector, a fan on its geometry: the physics then happens along rays taken from the
            parallel ones, and what they measured is rebinned. Needs no second matrix; `FanProjector` is exact. None
            measures along the projector's own rays.

    Returns:
        The pair, on the device of `slices_hu`.

    Raises:
        ValueError: shapes differ, or shares outside 0..1.
    """
    for material, share in implants.items():
        if share.shape != slices_hu.shape:
            raise ValueError(f"{material.name} has shape {tuple(share.shape)}, the slices {tuple(slices_hu.shape)}")
        if float(share.min()) < 0 or float(share.max()) > 1:
            raise ValueError(f"{material.name} must fill between 0 and 1 of a voxel")
    pairs = []
    for index in range(slices_hu.shape[0]):  # one at a time: a dozen energies times a sinogram is memory enough
        here = slice(index, index + 1)
        parts = {m: share[here] for m, share in implants.items() if bool((share[here] > 0).any())}
        pairs.append(_one(slices_hu[here], parts, projector, scanner, generator, chain, window, beam))
    return MetalSimulation(*(torch.cat([getattr(p, field.name) for p in pairs]) for field in fields(MetalSimulation)))


def _one(
    tissue_hu: Tensor,
    implants: Mapping[Material, Tensor],
    projector: Projector,
    scanner: Scanner,
    generator: torch.Generator,
    chain: Chain,
    window: Window,
    beam: FanBeam | None,
) -> MetalSimulation:
    water = scanner.water_per_mm
    tissue = (tissue_hu.clamp(min=-1000.0) / 1000 + 1) * water
    displaced = sum(implants.values(), start=torch.zeros_like(tissue)).clamp(max=1.0)

    without = _tissue_lengths(tissue_hu, tissue, projector, scanner)
    through = scanner.transmission(_along(without, beam))
    behind = scanner.line_integrals(through)
    lengths = _tissue_lengths(tissue_hu, tissue * (1 - displaced), projector, scanner)
    lengths |= {material: projector.forward(share) for material, share in implants.items()}
    noise = scanner.noise(through.shape, generator)
    measured = scanner.line_integrals(scanner.detect(scanner.transmission(_along(lengths, beam)), noise))
    undisturbed = scanner.line_integrals(scanner.detect(through, noise))
    if beam is not None:
        behind, measured, undisturbed = (beam.rebinned(rays) for rays in (behind, measured, undisturbed))

    clean_hu = tissue_hu
    if chain is Chain.REPROJECTED:
        clean_hu = (projector.fbp(behind, window=window) / water - 1) * 1000
    # Filtered back-projection is linear: added to the re-projected slice, the difference gives what was measured.
    artefact_hu, floor_hu = (
        clean_hu + projector.fbp(rays - behind, window=window) * (1000 / water) for rays in (measured, undisturbed)
    )

    truth_hu = clean_hu * (1 - displaced)
    metal = torch.zeros_like(tissue)
    for material, share in implants.items():
        truth_hu = truth_hu + share * reference_hu(material, scanner)
        if reference_hu(material, scanner) > METAL_FROM_HU:
            metal += share
    images = (image.clamp(*SCALE_HU) for image in (artefact_hu, truth_hu, floor_hu))
    artefact, truth, floor = images
    return MetalSimulation(artefact, truth, metal >= 0.5, floor)


def _along(lengths: Mapping[Material, Tensor], beam: FanBeam | None) -> Mapping[Material, Tensor]:
    """Path lengths along the scanner's own rays [mm]."""
    return lengths if beam is None else {material: beam.rays(paths) for material, paths in lengths.items()}


def reference_hu(material: Material, scanner: Scanner) -> float:
    """CT number of a material at the scanner's reference energy [HU], not clipped."""
    return (
        float(material.attenuation(np.array([scanner.acquisition.reference_kev]))[0] / scanner.water_per_mm - 1) * 1000
    )


def bone_share(slices_hu: Tensor) -> Tensor:
    """Share of the attenuation that is bone's: 0 below 100 HU, 1 above 1500 HU, linear between."""
    return ((slices_hu - BONE_FROM_HU) / (BONE_FULL_HU - BONE_FROM_HU)).clamp(0.0, 1.0)


def _tissue_lengths(
    tissue_hu: Tensor, attenuation: Tensor, projector: Projector, scanner: Scanner
) -> dict[Material, Tensor]:
    """Path lengths in water and bone [mm] that have the tissue's attenuation [1/mm] at the reference energy."""
    bone = attenuation * bone_share(tissue_hu)
    both = projector.forward(torch.cat([(attenuation - bone) / scanner.water_per_mm, bone / scanner.bone_per_mm]))
    return {WATER: both[:1], CORTICAL_BONE: both[1:]}
