"""Low-contrast lesions put into a case: how much of their contrast a correction keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray, Volume

Labels = NDArray[np.int32]
RING = (2, 5)
"""Voxels from a lesion where its background begins and ends."""


@dataclass(frozen=True, eq=False)
class LesionTwin:
    """The same case without its lesions, and where they are: noise and all else are alike.

    Attributes:
        artefact: the input set without lesions.
        truth: without lesions, by judged role.
        labels: int32 (z, y, x) by judged role: number of the lesion, 0 where there is none.
    """

    artefact: Mapping[str, Volume]
    truth: Mapping[str, Volume]
    labels: Mapping[str, Labels]


@dataclass(frozen=True)
class LesionFigures:
    """What a method leaves of the lesions of a case.

    Attributes:
        contrast: mean over lesions of measured contrast over true contrast, minus 1.
        worst: its largest magnitude.
        count: lesions that were measured.
    """

    contrast: float
    worst: float
    count: int


def lesion_figures(
    shown: NDArray[Any], true: NDArray[Any], labels: Labels, measured: BoolArray
) -> LesionFigures | None:
    """Contrast of lesions in the difference that they make.

    Contrast is the mean inside a lesion minus that in a ring around it. It is taken of the image with lesions minus the
    image without: anatomy, noise and streaks cancel, and what is left is what the correction does to the lesion.

    Args:
        shown: (slice, y, x), corrected with lesions minus corrected without [HU].
        true: (slice, y, x), the same of the truth [HU].
        labels: int32 (slice, y, x), number of the lesion or 0.
        measured: bool (slice, y, x), voxels that are judged.

    Returns:
        The figures; None where no lesion can be measured.
    """
    errors: list[float] = []
    for image, reference, places, judged in zip(shown, true, labels, measured, strict=True):
        for number in np.unique(places[places > 0]):
            inside = (places == number) & judged
            ring = _grown(places == number, RING[1]) & ~_grown(places == number, RING[0]) & (places == 0) & judged
            if inside.any() and ring.any():
                errors.append(_contrast(image, inside, ring) / _contrast(reference, inside, ring) - 1)
    if not errors:
        return None
    return LesionFigures(float(np.mean(errors)), float(np.max(np.abs(errors))), len(errors))


def both_or_neither(
    pairs: Sequence[tuple[FloatArray, FloatArray]], inputs: Sequence[tuple[FloatArray, FloatArray]]
) -> list[bool]:
    """Slices that were corrected with and without lesions, or with neither.

    A correction may leave a slice as it is. Where it did so in one of the two only, their difference shows the whole
    artefact, and nothing of the lesion.

    Args:
        pairs: each judged slice corrected with and without lesions.
        inputs: the same before the correction.
    """
    return [
        np.array_equal(with_, given_with) == np.array_equal(without, given_without)
        for (with_, without), (given_with, given_without) in zip(pairs, inputs, strict=True)
    ]


def _contrast(image: NDArray[Any], inside: BoolArray, ring: BoolArray) -> float:
    return float(image[inside].mean(dtype=np.float64) - image[ring].mean(dtype=np.float64))


def _grown(place: BoolArray, by: int) -> BoolArray:
    grown: BoolArray = ndimage.binary_dilation(place, iterations=by)
    return grown
