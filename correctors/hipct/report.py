"""What was found and done, in sentences for the radiologist. Numbers only, no header values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from correctors.hipct.segmentation import Segmentation, Verdict

LARGE_MM2 = 1200.0
"""From this cross-section on, anatomy near the metal is mostly interpolated [mm2]."""


def no_metal_reason(found: Segmentation) -> str:
    """Why nothing was changed: one sentence that says what dense objects there were."""
    if not found.objects:
        return f"no metal implant: no voxel reaches {found.threshold_hu:.0f} HU in an object that could be one"
    counts = Counter(one.verdict for one in found.objects)
    parts = ", ".join(f"{count} {verdict.value}" for verdict, count in sorted(counts.items()))
    return f"no metal implant: dense objects found were {parts}"


@dataclass(frozen=True)
class Kept:
    """Slices with metal that need a word; indices from 0.

    Attributes:
        harmful: kept unchanged because the correction made them worse, or would have gained nothing for certain.
        cut: kept unchanged because the field of view cuts the patient there.
        starved: corrected, but the dark bands of starved rays hold no measured anatomy.
    """

    harmful: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    starved: tuple[int, ...] = ()


def warnings_of(found: Segmentation, kept: Kept) -> tuple[str, ...]:
    """Sentences to keep with the derived series.

    Args:
        found: the segmentation.
        kept: slices that need a word.

    Returns:
        Warnings; empty when there is nothing to mind.
    """
    sentences = []
    implants = [one for one in found.objects if one.verdict is Verdict.IMPLANT]
    large = [one for one in implants if one.largest_area_mm2 >= LARGE_MM2]
    if large:
        sentences.append(
            f"{len(large)} metal object(s) have a cross-section over {LARGE_MM2:.0f} mm2: anatomy within about "
            "a centimetre of them is mostly interpolated"
        )
    if kept.harmful:
        sentences.append(
            f"slice(s) {_numbers(kept.harmful)} hold metal but were kept unchanged: the correction would have added "
            "streaks, or hardly anything was to be gained"
        )
    if kept.cut:
        sentences.append(
            f"slice(s) {_numbers(kept.cut)} hold metal but were kept unchanged: the field of view cuts the patient "
            "there, so that projections are incomplete"
        )
    if kept.starved:
        sentences.append(
            f"slice(s) {_numbers(kept.starved)}: hardly a photon passed the metal; what stands in place of the dark "
            "bands is estimated, not measured"
        )
    elsewhere = [one for one in found.objects if one.verdict is Verdict.ELSEWHERE]
    if elsewhere:
        places = "; ".join(
            f"slices {one.slices[0] + 1} to {one.slices[1] + 1}, {one.largest_area_mm2:.0f} mm2"
            for one in elsewhere[:5]
        )
        sentences.append(
            f"{len(elsewhere)} metal object(s) that are in no hip were left alone, with their artefacts ({places})"
        )
    contrast = sum(one.verdict is Verdict.NOT_METAL for one in found.objects)
    if contrast:
        sentences.append(f"{contrast} dense object(s) were taken for calcification or contrast medium and left alone")
    return tuple(sentences)


def _numbers(slices: Sequence[int]) -> str:
    """Slice numbers from 1, runs joined."""
    runs: list[list[int]] = []
    for z in sorted(slices):
        if runs and z == runs[-1][1] + 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in runs)
