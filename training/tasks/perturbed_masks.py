"""Masks of metal for training: segmented from crude artefacts at hips, then perturbed (near-hip paper, II-A)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from correctors.hipct.kmeans import metal_threshold
from correctors.hipct.moved_masks import moved
from dicom_node.contracts import BoolArray
from simulation.crude_metal import crude_metal
from simulation.projector import ParallelProjector
from training.anatomy import Anatomy

LOWEST_METAL_CENTRE_HU = 2500.0
_TRIES = 4


class PerturbedMasks:
    """A bank of masks; number n is always the same one."""

    def __init__(self, originals: Sequence[BoolArray], count: int, seed: int, pixel_mm: float) -> None:
        """Hold originals.

        Args:
            originals: bool (y, x) masks of metal at hips.
            count: number of masks in the bank (the paper made 1,000).
            seed: of the perturbations.
            pixel_mm: pixel size [mm].
        """
        self._originals = tuple(originals)
        self._count = count
        self._seed = seed
        self._pixel_mm = pixel_mm

    def __len__(self) -> int:
        return self._count

    def mask(self, number: int) -> BoolArray:
        """Mask `number` of the bank, bool (y, x): an original, each object of it with another size and place."""
        rng = np.random.default_rng([self._seed, number])
        original = self._originals[int(rng.integers(len(self._originals)))]
        labels, count = ndimage.label(original)
        mask = np.zeros_like(original)
        for box_number in range(1, count + 1):
            factor = float(np.exp(rng.normal(0, 0.25)))
            shift = rng.normal(0, 10.0, 2) / self._pixel_mm
            mask |= moved(labels == box_number, factor, shift) > 0.5
        return mask if mask.any() else original


def hip_masks(
    anatomies: Sequence[Anatomy],
    projector: ParallelProjector,
    *,
    count: int,
    diameters_mm: tuple[float, float],
    seed: int,
    device: torch.device,
) -> list[BoolArray]:
    """Insert circles at hips, make crude artefacts, segment the metal by K-means, as a scan with metal would be.

    Args:
        anatomies: patients with `frames`, `frames_offset_mm` and `sites_mm`.
        projector: of the working grid.
        count: masks wanted.
        diameters_mm: smallest and largest circle.
        seed: of circles and slices.
        device: where to simulate.

    Returns:
        bool (y, x) masks.
    """
    masks: list[BoolArray] = []
    number = 0
    while len(masks) < count and number < _TRIES * count:
        rng = np.random.default_rng([seed, number])
        number += 1
        anatomy = anatomies[int(rng.integers(len(anatomies)))]
        z = int(np.abs(anatomy.arrays["frames_offset_mm"]).argmin())
        frame = anatomy.arrays["frames"][z].astype(np.float32)
        sites = anatomy.arrays["sites_mm"]
        circles = inserted_circles(sites, frame.shape, projector.geometry.pixel_mm, diameters_mm, rng)
        if not circles.any():
            continue
        artefact = crude_metal(
            torch.from_numpy(frame[None]).to(device), torch.from_numpy(circles[None]).to(device), projector
        )
        values = artefact.cpu().numpy()
        threshold = metal_threshold(values, LOWEST_METAL_CENTRE_HU)
        if threshold is not None:
            masks.append(values[0] >= threshold)
    return masks


def inserted_circles(
    sites_mm: NDArray[np.float32],
    shape: tuple[int, ...],
    pixel_mm: float,
    diameters_mm: tuple[float, float],
    rng: np.random.Generator,
) -> BoolArray:
    """Circles at one or all hip sites, near their centre, bool (y, x)."""
    chosen = sites_mm if rng.random() < 0.5 else sites_mm[[int(rng.integers(len(sites_mm)))]]
    y = (np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None] * pixel_mm
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2)[None] * pixel_mm
    mask = np.zeros(shape, dtype=bool)
    for down, right in chosen:
        radius = rng.uniform(*diameters_mm) / 2
        place = np.array([down, right]) + rng.normal(0, 4.0, 2)
        mask |= (y - place[0]) ** 2 + (x - place[1]) ** 2 <= radius**2
    return mask
