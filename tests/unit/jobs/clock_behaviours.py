"""What the ledger promises when the clock is set back, on any engine; used like `ledger_behaviours`."""

from dataclasses import replace

import pytest
from ledger_behaviours import NEW

from dicom_node import errors
from dicom_node.jobs import DeliveryState

HOUR = 3600.0


class ClockBehaviour:
    def test_a_waiting_job_is_done_all_the_same(self, steps):
        job = steps.submit(NEW, 3 * HOUR)
        assert steps.lease("w", 60, 0.0).job.id == job.id

    def test_a_wait_after_a_failure_is_cut_short_rather_than_hours_long(self, steps):
        steps.submit(NEW, 3 * HOUR)
        steps.failed(steps.lease("w", 60, 3 * HOUR), errors.CorrectorFailed("x"), 3 * HOUR)
        assert steps.lease("w", 60, 3 * HOUR) is None
        again = steps.lease("w", 60, 0.0)
        assert again.job.attempts == 1

    def test_a_clock_that_is_behind_by_a_moment_changes_nothing(self, steps):
        steps.submit(NEW, 100.0)
        steps.failed(steps.lease("w", 60, 100.0), errors.CorrectorFailed("x"), 100.0)
        assert steps.lease("w", 60, 99.0) is None

    def test_the_lease_of_whoever_is_gone_ends_after_its_own_length(self, steps):
        steps.submit(NEW, 3 * HOUR)
        steps.lease("gone", 60, 3 * HOUR)
        assert steps.lease("w", 60, 1.0) is None
        assert steps.lease("w", 60, 60.0) is None
        assert steps.lease("w", 60, 62.0).job.lost == 1

    def test_the_lease_of_whoever_works_on_stays_his(self, steps):
        steps.submit(NEW, 3 * HOUR)
        lease = steps.lease("a", 60, 3 * HOUR)
        assert steps.lease("b", 60, 1.0) is None
        lease = steps.heartbeat(lease, 60, 20.0)
        assert steps.lease("b", 60, 70.0) is None
        assert steps.unchanged(lease, "no metal", 75.0)

    @pytest.mark.parametrize("failures", [0, 1])
    def test_a_waiting_delivery_is_tried_all_the_same(self, steps, failures):
        steps.derived_job(3 * HOUR, send_to=("pacs",))
        for _ in range(failures):
            lease = steps.lease_delivery("d", 60, 3 * HOUR)
            assert steps.delivery_failed(lease, errors.PeerUnreachable("x"), 3 * HOUR) is DeliveryState.PENDING
        assert steps.lease_delivery("d", 60, 0.0).delivery.peer == "pacs"

    def test_a_delivery_put_off_by_anothers_failure_is_tried_all_the_same(self, steps):
        first = steps.derived_job(0.0, send_to=("pacs",))
        steps.derived_job(0.0, send_to=("pacs",), set_key="other")
        lease = steps.lease_delivery("d", 60, 3 * HOUR)
        steps.delivery_failed(lease, errors.PeerUnreachable("x"), 3 * HOUR)
        found = {steps.lease_delivery("d", 60, 2 * HOUR).delivery.job_id for _ in range(2)}
        assert len(found) == 2
        assert first.id in found

    def test_the_lease_of_a_sender_that_is_gone_ends_after_its_own_length(self, steps):
        steps.derived_job(3 * HOUR, send_to=("pacs",))
        steps.lease_delivery("gone", 60, 3 * HOUR)
        assert steps.lease_delivery("d", 60, 1.0) is None
        assert steps.lease_delivery("d", 60, 62.0).delivery.peer == "pacs"

    def test_waiting_jobs_keep_their_order(self, steps):
        ids = [steps.submit(replace(NEW, set_key=f"set-{n}"), 3 * HOUR + n).id for n in range(3)]
        assert [steps.lease("w", 60, 0.0).job.id for _ in ids] == ids
