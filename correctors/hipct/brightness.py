"""One brightness factor for each patient (near-hip paper, section II-B); near 1 where CT is calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray

SHARES = tuple(round(0.05 * n, 2) for n in range(1, 20))
"""Where distributions are compared: 5 % to 95 % of the patient's voxels."""
LOWEST_HU = -500.0
HIGHEST_HU = 1500.0
"""Voxels outside this range are air or metal, and tell nothing about brightness."""
_EACH = 4
_FACTORS = (0.5, 2.0)


def brightness_of(slices_hu: Iterable[FloatArray]) -> tuple[float, ...]:
    """Distribution of a patient's voxels as quantiles of CT number + 1000, which is 0 in air [HU].

    Args:
        slices_hu: (y, x) slices of one patient [HU].

    Returns:
        The quantiles at `SHARES`; empty where no voxel is tissue.
    """
    kept: list[NDArray[np.float32]] = []
    for one in slices_hu:
        thinned = one[::_EACH, ::_EACH]
        kept.append(thinned[(thinned > LOWEST_HU) & (thinned < HIGHEST_HU)])
    values = np.concatenate(kept) if kept else np.empty(0, np.float32)
    return tuple(float(q) for q in np.quantile(values, SHARES) + 1000.0) if len(values) else ()


def brightness_factor(patient: Sequence[float], standard: Sequence[float]) -> float:
    """Factor a for which the distribution of a times the patient's values is nearest to the standard's.

    Args:
        patient: `brightness_of` the patient.
        standard: that of the standard.

    Returns:
        Least-squares factor, within 0.5 to 2; 1 where one of them is empty.
    """
    if not patient or not standard:
        return 1.0
    own, wanted = np.asarray(patient), np.asarray(standard)
    return float(np.clip(own @ wanted / (own @ own), *_FACTORS))
