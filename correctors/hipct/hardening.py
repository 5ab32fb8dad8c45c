"""Beam hardening by metal, fitted in the image and taken off.

A ray's error from hardening, scatter and starvation is a smooth function of its path in metal and of its attenuation by
tissue. So the streaks are, nearly, a sum of a few basis images: reconstructions of such functions. Their weights are
found where the patient is, against a prior image that was made without the metal's rays (after Kyriakou et al., Med.
Phys. 37(10):5179-5190, 2010, whose weights minimise flatness instead). The part that is linear in the path is the metal
itself and stays. As only images are compared, it does not matter that scanners clip metal at 3071 HU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from correctors.common.attenuation import attenuation_to_hu_change
from correctors.common.filters import gaussian
from correctors.hipct.scene import Scene
from simulation.projector import ParallelProjector

KNEES = (0.15, 0.3, 0.5, 0.7)
"""Shares of the longest path in metal at which the slope of the ray's error may change."""
BLUR_PIXELS = 1.0
ROBUST_STEPS = 4
RIDGE = 1e-4
PATIENT_FROM_HU = -300.0


def without_hardening(
    scene: Scene, coarse: ParallelProjector, prior: Tensor, expected: Tensor, paths: Tensor
) -> Tensor:
    """Images with the fitted hardening streaks taken off.

    Args:
        scene: slices with metal.
        coarse: projector of the same square at half the resolution, with half the angles.
        prior: (batch, y, x) images without metal streaks [HU].
        expected: (batch, angle, detector) line integrals of the prior.
        paths: (batch, angle, detector) path lengths in metal [mm].

    Returns:
        (batch, y, x) [HU]; values inside the metal mean nothing.
    """
    fitted = torch.stack(
        [
            _fitted(terms, coarse, residual, region)
            for terms, residual, region in zip(
                _terms(expected, paths),
                functional.avg_pool2d((scene.images - prior)[:, None], 2)[:, 0],
                _region(scene, prior),
                strict=True,
            )
        ]
    )
    return scene.images - attenuation_to_hu_change(scene.projector.fbp(fitted))


def _terms(expected: Tensor, paths: Tensor) -> Tensor:
    """Basis functions of every ray, (batch, term, angle, detector), each about 0 to 1."""
    longest = paths.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
    share = paths / longest
    tissue = expected / expected.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
    knees = [torch.relu(share - knee) for knee in KNEES]
    return torch.stack([share.square(), share * tissue, share.square() * tissue, *knees], dim=1)


def _region(scene: Scene, prior: Tensor) -> Tensor:
    """Where the fit looks: in the patient, away from the metal's rim; bool (batch, y / 2, x / 2)."""
    metal = functional.max_pool2d(scene.shadow[:, None].to(torch.float32), 7, stride=2, padding=3)[:, 0] > 0
    patient = functional.avg_pool2d((gaussian(prior, 2.0) > PATIENT_FROM_HU)[:, None].to(torch.float32), 2)[:, 0] >= 1
    return patient & ~metal


def _fitted(terms: Tensor, coarse: ParallelProjector, residual: Tensor, region: Tensor) -> Tensor:
    """Weighted sum of the basis functions, (angle, detector), that explains the residual of one slice.

    Args:
        terms: (term, angle, detector).
        coarse: half-resolution projector.
        residual: (y / 2, x / 2) streaks and the prior's errors [HU].
        region: bool, same shape.
    """
    if int(region.sum()) < 10 * terms.shape[0]:
        return torch.zeros_like(terms[0])
    basis = gaussian(attenuation_to_hu_change(coarse.fbp(_halved(terms, coarse))), BLUR_PIXELS)
    target = gaussian(residual[None], BLUR_PIXELS)[0][region].double()
    columns = basis[:, region].double().T
    scale = columns.square().mean(dim=0).sqrt().clamp(min=1e-9)
    columns = columns / scale
    weight = torch.ones_like(target)
    identity = torch.eye(columns.shape[1], dtype=columns.dtype, device=columns.device)
    solution = torch.zeros_like(scale)
    for _ in range(ROBUST_STEPS):
        weighted = columns * weight[:, None]
        solution = torch.linalg.solve(weighted.T @ columns + RIDGE * weight.sum() * identity, weighted.T @ target)
        misfit = (target - columns @ solution).abs()
        # Cauchy weights: bone edges that the prior has wrong must not steer the fit.
        weight = 1 / (1 + (misfit / (1.5 * misfit.median()).clamp(min=1e-6)).square())
    amounts = (solution / scale).to(terms.dtype)
    return torch.einsum("t,tad->ad", amounts, terms)


def _halved(sinograms: Tensor, coarse: ParallelProjector) -> Tensor:
    """Every second angle and, by a triangle of three, every second detector; centred."""
    wanted = coarse.geometry.detectors
    rays = sinograms[:, ::2]
    # Both detectors have an odd number of elements, so their middles coincide.
    lacking = max(0, wanted - (rays.shape[-1] // 4 * 2 + 1)) + 1
    middle = (rays.shape[-1] - 1) // 2 + 2 * lacking
    padded = functional.pad(rays, (2 * lacking, 2 * lacking))
    first = middle - (wanted - 1)
    left, own, right = (padded[..., start : start + 2 * wanted - 1 : 2] for start in (first - 1, first, first + 1))
    return 0.25 * left + 0.5 * own + 0.25 * right
