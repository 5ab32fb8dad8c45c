"""Attempts, waits and what they are charged to."""

from random import Random

import pytest

from dicom_node import errors
from dicom_node.jobs import RetryPolicy


def test_waits_double_up_to_the_bound_and_spread():
    policy = RetryPolicy(backoff_s=4, max_backoff_s=50, random=Random(1))
    for failures, bound in ((1, 4), (2, 8), (3, 16), (4, 32), (5, 50), (5000, 50)):
        waits = [policy.backoff(failures) for _ in range(50)]
        assert bound / 2 <= min(waits) < max(waits) <= bound


def test_the_same_seed_gives_the_same_waits():
    assert RetryPolicy(random=Random(7)).backoff(3) == RetryPolicy(random=Random(7)).backoff(3)


def test_a_retryable_error_uses_up_the_budget():
    policy = RetryPolicy(max_attempts=3)
    verdicts = [policy.after_error(errors.CorrectorFailed("x"), attempts=n, setbacks=0) for n in range(3)]
    assert [v.again for v in verdicts] == [True, True, False]
    assert all(v.charged for v in verdicts)


@pytest.mark.parametrize("error", [errors.StorageFull("x"), errors.LedgerError("x"), errors.PeerUnreachable("x")])
def test_infrastructure_is_never_charged_and_waits_longer_each_time(error):
    policy = RetryPolicy(max_attempts=1, backoff_s=1, max_backoff_s=1e9)
    verdicts = [policy.after_error(error, attempts=0, setbacks=n) for n in range(20)]
    assert all(v.again and not v.charged for v in verdicts)
    assert verdicts[19].delay_s > 1000 * verdicts[0].delay_s


@pytest.mark.parametrize("error", [errors.GuardViolation("x"), errors.UnusableSeries("x"), errors.PluginError("x")])
def test_what_cannot_get_better_is_dead_at_once(error):
    assert not RetryPolicy(max_attempts=9).after_error(error, attempts=0, setbacks=0).again


def test_the_first_lost_worker_costs_no_wait_and_the_last_one_ends_it():
    policy = RetryPolicy(max_lost=3)
    verdicts = [policy.after_loss(lost=n) for n in range(3)]
    assert verdicts[0].delay_s == 0
    assert verdicts[1].delay_s > 0
    assert [v.again for v in verdicts] == [True, True, False]
