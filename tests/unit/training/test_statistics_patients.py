"""Statistics with patients as units, against published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.statistics import difference, nemenyi, patient_means, rank_tests, summary

# Rounding first base by three ways, 22 players [s] (Hollander & Wolfe 1973, p. 140; data set of R's friedman.test).
ROUND_OUT = (5.40, 5.85, 5.20, 5.55, 5.90, 5.45, 5.40, 5.45, 5.25, 5.85, 5.25,
             5.65, 5.60, 5.05, 5.50, 5.45, 5.55, 5.45, 5.50, 5.65, 5.70, 6.30)  # fmt: skip
NARROW = (5.50, 5.70, 5.60, 5.50, 5.85, 5.55, 5.40, 5.50, 5.15, 5.80, 5.20,
          5.55, 5.35, 5.00, 5.50, 5.55, 5.55, 5.50, 5.45, 5.60, 5.65, 6.30)  # fmt: skip
WIDE = (5.55, 5.75, 5.50, 5.40, 5.70, 5.60, 5.35, 5.35, 5.00, 5.70, 5.10,
        5.45, 5.45, 4.95, 5.40, 5.50, 5.35, 5.55, 5.25, 5.40, 5.55, 6.25)  # fmt: skip
TIMES = {"round out": ROUND_OUT, "narrow": NARROW, "wide": WIDE}
PLAYERS = [str(n) for n in range(22)]


def test_friedman_of_a_published_table() -> None:
    tests = rank_tests(TIMES, PLAYERS, higher_is_better=False)
    assert tests is not None
    assert tests.statistic == pytest.approx(11.143, abs=5e-4)
    assert tests.p_value == pytest.approx(0.003805, abs=5e-7)
    assert tests.blocks == 22
    assert tests.ranks == pytest.approx((53 / 22, 47 / 22, 32 / 22))
    assert tests.pairwise["round out", "wide"] < 0.01
    assert tests.pairwise["round out", "narrow"] > 0.5


@pytest.mark.parametrize(("methods", "critical"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_nemenyi_at_the_published_critical_values(methods: int, critical: float) -> None:
    """Demsar (JMLR 2006), table 5a: q at 0.05."""
    distance = critical * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert nemenyi(distance, methods=methods, blocks=14) == pytest.approx(0.05, abs=2e-4)
    assert nemenyi(-distance, methods=methods, blocks=14) == pytest.approx(0.05, abs=2e-4)


def test_ranks_turn_round_with_the_better_side() -> None:
    up, down = (rank_tests(TIMES, PLAYERS, higher_is_better=higher) for higher in (True, False))
    assert up is not None and down is not None
    assert np.add(up.ranks, down.ranks) == pytest.approx([4, 4, 4])
    assert up.pairwise == pytest.approx(down.pairwise)


def test_a_patient_with_many_cases_is_one_block() -> None:
    values = {"a": [1.0, 1, 1, 1, 3], "b": [2.0, 2, 2, 2, 2], "c": [3.0, 3, 3, 3, 1]}
    tests = rank_tests(values, ["p", "p", "p", "p", "q"], higher_is_better=True)
    assert tests is not None
    assert tests.blocks == 2
    assert tests.ranks == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("values", "patients"),
    [
        ({"a": [1.0, 2], "b": [2.0, 3]}, ["p", "q"]),
        ({"a": [1.0, 2], "b": [2.0, 3], "c": [0.0, 1]}, ["p", "p"]),
        ({"a": [1.0, 2], "b": [1.0, 2], "c": [1.0, 2]}, ["p", "q"]),
    ],
)
def test_no_test_where_it_has_no_meaning(values: dict[str, list[float]], patients: list[str]) -> None:
    assert rank_tests(values, patients, higher_is_better=True) is None


def test_every_patient_weighs_the_same() -> None:
    assert patient_means([1.0, 3.0, 10.0], ["p", "p", "q"]) == {"p": 2.0, "q": 10.0}
    one = summary([1.0, 3.0, 10.0], ["p", "p", "q"])
    assert (one.mean, one.patients, one.cases) == (6.0, 2, 3)
    assert one.sd == pytest.approx(np.std([1, 3, 10], ddof=1))
    assert summary([4.0], ["p"]).sd is None
    with pytest.raises(ValueError, match="cannot be averaged"):
        summary([], [])


def test_the_interval_is_that_of_the_mean_over_patients() -> None:
    """With many patients the bootstrap agrees with Student's interval."""
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 5, 200)
    values = reference + rng.normal(1, 2, 200)
    found = difference(values.tolist(), reference.tolist(), [str(n) for n in range(200)], seed=3)
    expected = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=0.04)
    assert found.high == pytest.approx(expected.high, abs=0.04)
    assert found.mean == pytest.approx((values - reference).mean())


def test_slices_of_few_patients_do_not_make_it_narrow() -> None:
    """Hundred equal cases of each of four patients tell no more than one."""
    own = np.array([0.0, 1.0, 2.0, 5.0])
    few = difference(own.tolist(), [0.0] * 4, list("pqrs"), seed=0)
    many = difference(np.repeat(own, 100).tolist(), [0.0] * 400, np.repeat(list("pqrs"), 100).tolist(), seed=0)
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_the_bootstrap_follows_its_seed_and_needs_two_patients() -> None:
    values, zero, patients = [1.0, 2.0, 4.0], [0.0] * 3, ["p", "q", "r"]
    assert difference(values, zero, patients, seed=1) == difference(values, zero, patients, seed=1)
    alone = difference([1.0, 3.0], [0.0, 0.0], ["p", "p"], seed=1)
    assert (alone.mean, alone.low, alone.high, alone.patients) == (2.0, None, None, 1)
