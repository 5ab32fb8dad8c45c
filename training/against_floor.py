"""The figures of a case that need more than its truth: a noise floor, or the same case without lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from dicom_node.contracts import FloatArray, Units
from training import excess
from training.lesions import LesionTwin, both_or_neither, lesion_figures
from training.methods import UNCORRECTED
from training.subject import Scale, SimulatedCase

Frames = Sequence[tuple[int, int]]
"""Judged slices: index among all (y, x) planes of the volume, and z."""


def floored(
    case: SimulatedCase, role: str, scale: Scale, frames: Frames, images: Mapping[str, FloatArray]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures against the floor.

    Args:
        case: with a floor for the role, or without: then there is nothing.
        role: which is judged.
        scale: of the role; only CT numbers have floors that can be judged.
        frames: judged slices.
        images: all planes (plane, y, x) by method, `uncorrected` among them.

    Returns:
        RMSE and streak amplitude of the floor, and by method the figures that could be measured.
    """
    if role not in case.floor or scale.units is not Units.HU:
        return {}, {name: {} for name in images}
    planes, places = [frame for frame, _ in frames], [z for _, z in frames]
    truth = case.truth[role]
    judged = excess.judged_case(
        _planes(truth.pixels)[planes],
        _planes(case.floor[role].pixels)[planes],
        images[UNCORRECTED][planes],
        measured=~case.excluded[role][places],
        window=scale.judged,
        pixel_mm=float(np.mean(truth.geometry.pixel_spacing_mm)),
    )
    rmse, streak = excess.floor_figures(judged)
    own = {"rmse": rmse} if streak is None else {"rmse": rmse, "streak": streak}
    found = {}
    for name, pixels in images.items():
        made = excess.excess_figures(pixels[planes], judged)
        found[name] = {figure: value for figure, value in asdict(made).items() if value is not None}
    return own, found


def lesions(
    case: SimulatedCase,
    twin: LesionTwin,
    role: str,
    frames: Frames,
    images: Mapping[str, FloatArray],
    without: Mapping[str, FloatArray],
) -> dict[str, dict[str, float]]:
    """What each method leaves of the lesions.

    Args:
        case: with lesions.
        twin: without.
        role: which is judged.
        frames: judged slices.
        images: all planes (plane, y, x) by method, `uncorrected` among them.
        without: the same of the twin; what was not made of the twin is not judged.

    Returns:
        By method, the figures that could be measured.
    """
    given, given_without = images[UNCORRECTED], without[UNCORRECTED]
    true, true_without = (_planes(one.truth[role].pixels) for one in (case, twin))
    found: dict[str, dict[str, float]] = {}
    for name in without:
        kept = both_or_neither(
            [(images[name][f], without[name][f]) for f, _ in frames], [(given[f], given_without[f]) for f, _ in frames]
        )
        here = [frame for frame, one in zip(frames, kept, strict=True) if one]
        planes, places = [frame for frame, _ in here], [z for _, z in here]
        made = lesion_figures(
            images[name][planes] - without[name][planes],
            true[planes] - true_without[planes],
            twin.labels[role][places],
            ~case.excluded[role][places],
        )
        found[name] = {} if made is None else {"lesion_contrast": made.contrast, "lesion_worst": made.worst}
    return found


def _planes(pixels: FloatArray) -> FloatArray:
    return pixels.reshape(-1, *pixels.shape[-2:])
