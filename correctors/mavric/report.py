"""What was found and done, in figures and sentences for the physicist and radiologist."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dicom_node.contracts import BoolArray, FloatArray, Geometry

SHOWN_SHARE = 0.1
"""Of the brightest value of a slice: what is fainter shows no tissue whose correction could be trusted or not."""


def quality_of(
    confidence: FloatArray, image: FloatArray, beyond: BoolArray, off_resonance_hz: FloatArray
) -> Mapping[str, tuple[float, ...]]:
    """Figures for each slice.

    Args:
        confidence: (z, y, x), 0 to 1.
        image: combined image.
        beyond: bool, beyond the bins' reach.
        off_resonance_hz: [Hz].
    """
    shown = [one > SHOWN_SHARE * max(float(one.max()), 1e-12) for one in image]
    return {
        "mean_confidence": tuple(
            float(own[mask].mean()) if mask.any() else 0.0 for own, mask in zip(confidence, shown, strict=True)
        ),
        "beyond_voxels": tuple(float(one.sum()) for one in beyond),
        "largest_off_resonance_hz": tuple(
            float(np.abs(own[mask]).max()) if mask.any() else 0.0
            for own, mask in zip(off_resonance_hz, shown, strict=True)
        ),
    }


def warnings_of(beyond: BoolArray, geometry: Geometry) -> tuple[str, ...]:
    """Sentences to keep with the derived series; empty when there is nothing to mind."""
    if not beyond.any():
        return ()
    thickness = geometry.slice_spacing_mm or geometry.slice_thickness_mm or 0.0
    row_mm, column_mm = geometry.pixel_spacing_mm
    millilitres = float(beyond.sum()) * thickness * row_mm * column_mm / 1000
    slices = int(beyond.any(axis=(1, 2)).sum())
    return (
        f"{millilitres:.1f} ml in {slices} slice(s) lie beyond the reach of the spectral bins, metal included: nothing "
        "was measured there, and nothing was filled in",
    )
