"""What was found and done, in sentences for the radiologist. Numbers only, no header values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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


def warnings_of(found: Segmentation, harmful: Sequence[int]) -> tuple[str, ...]:
    """Sentences to keep with the derived series.

    Args:
        found: the segmentation.
        harmful: slice indices kept unchanged because the correction made them worse.

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
    if harmful:
        numbers = ", ".join(str(z + 1) for z in harmful)
        sentences.append(
            f"slice(s) {numbers} hold metal but were kept unchanged: the correction would have added streaks"
        )
    contrast = sum(one.verdict is Verdict.NOT_METAL for one in found.objects)
    if contrast:
        sentences.append(f"{contrast} dense object(s) were taken for calcification or contrast medium and left alone")
    return tuple(sentences)
