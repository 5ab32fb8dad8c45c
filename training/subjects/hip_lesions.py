"""Low-contrast lesions in the soft tissue around an implant, for the evaluation of `hipct`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import BoolArray, FloatArray, Volume
from simulation.lesions import random_lesions
from training.lesions import Labels

MEAN_COUNT = 4.0
"""Lesions of a slice, where there is room."""


@dataclass(frozen=True, eq=False)
class Lesions:
    """What was put into a volume.

    Attributes:
        volume: with lesions.
        labels: int32 (z, y, x), number of the lesion from 1, 0 where there is none.
        count: of lesions.
    """

    volume: Volume
    labels: Labels
    count: int


def with_lesions(
    volume: Volume, truth: FloatArray, metal: BoolArray, slices: Sequence[int], rng: np.random.Generator
) -> Lesions:
    """Put discs of 20 to 60 HU and 5 to 15 mm beside the metal of some slices.

    Args:
        volume: CT (z, y, x) without metal [HU].
        truth: (z, y, x) with the implants in place: their plastic is no tissue [HU].
        metal: bool (z, y, x).
        slices: which ones.
        rng: source of randomness.
    """
    pixels, labels, count = volume.pixels.copy(), np.zeros(volume.shape, dtype=np.int32), 0
    pixel_mm = float(np.mean(volume.geometry.pixel_spacing_mm))
    for z in slices:
        made = random_lesions(truth[z], metal[z], pixel_mm, rng, mean_count=MEAN_COUNT)
        pixels[z] += made.hu - truth[z]
        for lesion in made.lesions:
            count += 1
            labels[z][lesion.profile(truth[z].shape, pixel_mm) > 0.5] = count
    return Lesions(volume.with_pixels(pixels), labels, count)
