"""Mean, spread, confidence by patients, and the rank tests of the multi-task MR paper.

Slices and cases of one patient resemble each other, so the patient is the unit: his figure is the mean of his cases,
every patient weighs the same, and patients are what is drawn again in the bootstrap and ranked in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """A figure over all patients.

    Attributes:
        mean: mean over patients of each patient's mean.
        sd: standard deviation over cases, n - 1; None for a single case.
        patients: number of patients.
        cases: number of cases.
    """

    mean: float
    sd: float | None
    patients: int
    cases: int


@dataclass(frozen=True)
class Difference:
    """One method minus another, on the same cases.

    Attributes:
        mean: mean over patients.
        low: lower end of the confidence interval, None for fewer than two patients.
        high: upper end.
        patients: number of patients.
    """

    mean: float
    low: float | None
    high: float | None
    patients: int


@dataclass(frozen=True, eq=False)
class RankTests:
    """Friedman's test over methods, and Nemenyi's between each two (Demsar, JMLR 2006, section 3.2).

    Attributes:
        methods: names, in the order of `ranks`.
        ranks: mean rank over patients, 1 is best; ties share their mean rank.
        statistic: Friedman's chi-square, corrected for ties.
        p_value: of "all methods are alike".
        pairwise: p-value of "these two are alike" for each pair of methods in order.
        blocks: number of patients.
    """

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    statistic: float
    p_value: float
    pairwise: Mapping[tuple[str, str], float]
    blocks: int


def patient_means(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """Mean of each patient's cases, patients in order of their first case.

    Raises:
        ValueError: lengths differ, or there is no case.
    """
    if len(values) != len(patients) or not values:
        raise ValueError(f"{len(values)} values of {len(patients)} cases cannot be averaged")
    cases: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        cases.setdefault(patient, []).append(value)
    return {patient: float(np.mean(own, dtype=np.float64)) for patient, own in cases.items()}


def summary(values: Sequence[float], patients: Sequence[str]) -> Summary:
    """Mean and spread of a figure.

    Raises:
        ValueError: lengths differ, or there is no case.
    """
    means = patient_means(values, patients)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(list(means.values()))), sd, len(means), len(values))


def difference(
    values: Sequence[float],
    reference: Sequence[float],
    patients: Sequence[str],
    *,
    seed: int,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Difference:
    """Paired difference with a percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13) over patients.

    Args:
        values: a figure of each case.
        reference: the same of the method to compare with.
        patients: whose case it is.
        seed: of the bootstrap.
        draws: number of bootstrap samples, each as many patients as there are, drawn with replacement.
        level: of confidence.

    Raises:
        ValueError: lengths differ, or there is no case.
    """
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    means = np.array(list(patient_means(differences, patients).values()))
    if len(means) < 2:
        return Difference(float(means.mean()), None, None, len(means))
    drawn = np.random.default_rng(seed).integers(len(means), size=(draws, len(means)))
    low, high = np.quantile(means[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(means.mean()), float(low), float(high), len(means))


def rank_tests(
    values: Mapping[str, Sequence[float]], patients: Sequence[str], *, higher_is_better: bool
) -> RankTests | None:
    """Friedman's and Nemenyi's tests with patients as blocks.

    Args:
        values: a figure of each case, by method.
        patients: whose case it is.
        higher_is_better: which way to rank.

    Returns:
        The tests; None where they have no meaning: fewer than three methods or two patients, or all alike.
    """
    methods = tuple(values)
    blocks = np.array([list(patient_means(values[m], patients).values()) for m in methods]).T
    count = blocks.shape[0]
    if len(methods) < 3 or count < 2:
        return None
    ranks: NDArray[np.float64] = stats.rankdata(-blocks if higher_is_better else blocks, axis=1)
    if np.all(ranks == ranks[:, :1]):
        return None
    friedman = stats.friedmanchisquare(*ranks.T)
    mean_ranks = ranks.mean(axis=0)
    pairwise = {
        (methods[i], methods[j]): nemenyi(float(mean_ranks[i] - mean_ranks[j]), methods=len(methods), blocks=count)
        for i in range(len(methods))
        for j in range(i + 1, len(methods))
    }
    return RankTests(
        methods,
        tuple(float(r) for r in mean_ranks),
        float(friedman.statistic),
        float(friedman.pvalue),
        pairwise,
        count,
    )


def nemenyi(rank_difference: float, *, methods: int, blocks: int) -> float:
    """P-value of "these two are alike", from the studentised range with infinite degrees of freedom.

    It is taken at q sqrt(2), where q = |difference of mean ranks| / sqrt(k (k + 1) / (6 N)).

    Args:
        rank_difference: of the mean ranks of two methods.
        methods: k, number of methods ranked.
        blocks: N, number of patients.
    """
    q = abs(rank_difference) / np.sqrt(methods * (methods + 1) / (6 * blocks))
    return float(stats.studentized_range.sf(q * np.sqrt(2), methods, np.inf))
