"""Figures by region of each method over those of a baseline method, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratios:
    """One method against the baseline, over the cases in which every method has the figure; None where none has.

    Attributes:
        near_nrmse: geometric mean over cases of the ratio of NRMSE near.
        near_lower: share of the cases in which NRMSE near is lower than the baseline's.
        far_nrmse: geometric mean over cases of the ratio of NRMSE far.
        near_gap_closed: share of the baseline's gap to SSIM 1 near that is closed: 1 - (1 - SSIM) / (1 - SSIM of the
            baseline), each the mean over cases.
    """

    near_nrmse: float | None
    near_lower: float | None
    far_nrmse: float | None
    near_gap_closed: float | None


Values = Mapping[str, Sequence[float]]
"""Figure to its values, one for each case."""


def ratios(own: Values, baseline: Values) -> Ratios:
    """Compare a method with the baseline.

    Args:
        own: `near_nrmse`, `near_ssim` and `far_nrmse` of the method, each where there are cases.
        baseline: the same figures on the same cases.
    """
    pairs = {name: list(zip(own[name], baseline[name], strict=True)) for name in own if name in baseline}
    near, far, similar = (pairs.get(name, []) for name in ("near_nrmse", "far_nrmse", "near_ssim"))
    return Ratios(
        near_nrmse=_geometric(near),
        near_lower=float(np.mean([ours < theirs for ours, theirs in near])) if near else None,
        far_nrmse=_geometric(far),
        near_gap_closed=_closed(similar),
    )


def _geometric(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Mean of the ratios; None where there is none, or the baseline is perfect in a case."""
    if not pairs or min(theirs for _, theirs in pairs) <= 0:
        return None
    if min(ours for ours, _ in pairs) <= 0:
        return 0.0
    return float(np.exp(np.mean([np.log(ours / theirs) for ours, theirs in pairs])))


def _closed(pairs: Sequence[tuple[float, float]]) -> float | None:
    if not pairs:
        return None
    ours, theirs = (1 - float(np.mean(values)) for values in zip(*pairs, strict=True))
    return 1 - ours / theirs if theirs > 0 else None
