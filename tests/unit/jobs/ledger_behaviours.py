"""What `JobLedger` promises on any engine. Test modules subclass these with a `database` fixture of their engine."""

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node import errors
from dicom_node.contracts.headers import FileRef
from dicom_node.jobs import (
    DeliveryState,
    JobInput,
    JobLedger,
    JobState,
    NewJob,
    OutputInstance,
    OutputSeries,
    RetryPolicy,
)
from dicom_node.jobs.waiting import PeerQueue, queues

DATA = Path("/data")
NEW = NewJob(
    route="hip",
    corrector="hipct",
    method="li",
    parameters={"threshold": 2500.0, "fast": True, "name": "a", "count": 3},
    send_to=("pacs", "archive"),
    inputs=(
        JobInput("ct", "1.2.1", "1.2", FileRef(DATA / "archive/aa/one.dcm"), "aa" * 32, {"bin": "1"}),
        JobInput("ct", "1.2.2", "1.2", FileRef(Path("/elsewhere/study.zip"), "two.dcm"), "bb" * 32, {}),
    ),
    set_key="set",
    input_digest="digest-1",
    recipe="recipe-1",
)
OUTPUTS = (
    OutputSeries(
        "ct", "9.1", ("4.2",), (OutputInstance("9.1.1", "4.2", "0001.dcm"), OutputInstance("9.1.2", "4.2", "0002.dcm"))
    ),
    OutputSeries("mask:metal", "9.2", ("66.4",), (OutputInstance("9.2.1", "66.4", "mask.dcm"),)),
)
RETRY = RetryPolicy(max_attempts=3, backoff_s=10, max_backoff_s=100, max_lost=3)


class Steps:
    """One transaction a call, with the clock as first argument."""

    def __init__(self, database):
        self.database = database
        self.ledger = JobLedger(RETRY, RetryPolicy(max_attempts=2, backoff_s=10, max_lost=3), DATA)

    def __getattr__(self, name):
        def call(*args, **kwargs):
            with self.database.begin() as tx:
                return getattr(self.ledger, name)(tx, *args, **kwargs)

        return call

    def derived_job(self, now=0.0, send_to=("pacs", "archive"), set_key=NEW.set_key):
        self.submit(replace(NEW, send_to=send_to, set_key=set_key), now)
        lease = self.lease("w", 60, now)
        return self.derived(lease, OUTPUTS, (), {}, now)


@pytest.fixture
def steps(database):
    return Steps(database)


class SubmitBehaviour:
    def test_a_job_comes_back_as_it_went_in(self, steps):
        job = steps.submit(NEW, 5.0)
        assert steps.get(job.id) == job
        assert {field: getattr(job, field) for field in NEW.__dataclass_fields__} == vars(NEW)
        assert (job.state, job.version, job.supersedes, job.attempts) == (JobState.QUEUED, 1, None, 0)
        assert (job.created_at, job.updated_at, job.not_before) == (5.0, 5.0, 5.0)

    def test_files_under_the_data_folder_move_with_it(self, steps):
        job = steps.submit(NEW, 5.0)
        with steps.database.read() as tx:
            moved = JobLedger(RETRY, data_dir=Path("/moved")).get(tx, job.id)
        assert moved.inputs[0].file.path == Path("/moved/archive/aa/one.dcm")
        assert moved.inputs[1].file == FileRef(Path("/elsewhere/study.zip"), "two.dcm")

    @pytest.mark.parametrize("ending", ["unchanged", "refused", "dead", "cancelled", "delivered"])
    def test_the_same_inputs_again_make_no_second_job_whatever_became_of_the_first(self, steps, ending):
        job = steps.submit(replace(NEW, send_to=()), 0.0)
        if ending == "cancelled":
            steps.cancel(job.id, 1.0)
        else:
            lease = steps.lease("w", 60, 1.0)
            endings = {
                "unchanged": lambda: steps.unchanged(lease, "no metal", 2.0),
                "refused": lambda: steps.refused(lease, "tilted", 2.0),
                "dead": lambda: steps.failed(lease, errors.GuardViolation("x"), 2.0),
                "delivered": lambda: steps.derived(lease, OUTPUTS, (), {}, 2.0),
            }
            endings[ending]()
        assert steps.submit(NEW, 3.0) is None
        assert len(steps.find()) == 1

    def test_another_recipe_makes_a_new_version(self, steps):
        steps.submit(NEW, 0.0)
        assert steps.submit(replace(NEW, recipe="recipe-2"), 1.0).version == 2

    def test_late_images_make_a_new_version_and_a_waiting_old_one_is_cancelled(self, steps):
        old = steps.submit(NEW, 0.0)
        new = steps.submit(replace(NEW, input_digest="digest-2"), 1.0)
        assert (new.version, new.supersedes) == (2, None)
        old = steps.get(old.id)
        assert old.state is JobState.CANCELLED
        assert old.reason == f"superseded by job {new.id}"
        assert steps.events(old.id)[-1].code == "Superseded"
        assert steps.lease("w", 60, 2.0).job.id == new.id

    def test_a_new_version_waits_for_the_old_one_and_says_that_it_supersedes_it(self, steps):
        steps.submit(NEW, 0.0)
        lease = steps.lease("a", 60, 1.0)
        new = steps.submit(replace(NEW, input_digest="digest-2"), 2.0)
        assert steps.lease("b", 60, 3.0) is None
        steps.derived(lease, OUTPUTS, (), {}, 4.0)
        after = steps.lease("b", 60, 5.0)
        assert after.job.id == new.id
        assert after.job.supersedes == lease.job.id
        assert steps.get(lease.job.id).state is JobState.DERIVED

    def test_an_old_version_that_fails_does_not_queue_again_behind_a_newer_one(self, steps):
        steps.submit(NEW, 0.0)
        lease = steps.lease("a", 60, 1.0)
        new = steps.submit(replace(NEW, input_digest="digest-2"), 2.0)
        assert steps.failed(lease, errors.CorrectorFailed("x"), 3.0).state is JobState.CANCELLED
        assert steps.lease("b", 60, 1000.0).job.id == new.id
        with pytest.raises(errors.IllegalTransition, match=f"superseded by job {new.id}"):
            steps.retry(lease.job.id, 1001.0)

    def test_an_unchanged_version_is_not_superseded(self, steps):
        steps.submit(NEW, 0.0)
        steps.unchanged(steps.lease("w", 60, 1.0), "no metal", 2.0)
        assert steps.submit(replace(NEW, input_digest="digest-2"), 3.0).supersedes is None


class LeaseBehaviour:
    def test_jobs_are_leased_once_in_the_order_of_their_coming(self, steps):
        ids = [steps.submit(replace(NEW, set_key=f"set-{n}"), float(n)).id for n in range(3)]
        leases = [steps.lease("w", 60, 10.0) for _ in range(4)]
        assert [lease and lease.job.id for lease in leases] == [*ids, None]
        assert leases[0].expires_at == 70.0
        assert leases[0].job.state is JobState.LEASED

    def test_a_lease_lives_as_long_as_its_heartbeat(self, steps):
        steps.submit(NEW, 0.0)
        lease = steps.lease("a", 60, 0.0)
        lease = steps.heartbeat(lease, 60, 50.0)
        assert lease.expires_at == 110.0
        assert steps.lease("b", 60, 100.0) is None
        again = steps.lease("b", 60, 111.0)
        assert again.job.id == lease.job.id
        assert again.token > lease.token
        assert (again.job.attempts, again.job.lost) == (0, 1)

    def test_whoever_lost_the_lease_changes_nothing(self, steps):
        steps.submit(NEW, 0.0)
        stale = steps.lease("a", 60, 0.0)
        held = steps.lease("b", 60, 61.0)
        before = steps.get(held.job.id)
        attempts = (
            lambda: steps.heartbeat(stale, 60, 62.0),
            lambda: steps.derived(stale, OUTPUTS, (), {}, 62.0),
            lambda: steps.unchanged(stale, "x", 62.0),
            lambda: steps.refused(stale, "x", 62.0),
            lambda: steps.failed(stale, errors.CorrectorFailed("x"), 62.0),
            lambda: steps.failed(stale, errors.WorkerLost("x"), 62.0),
        )
        for attempt in attempts:
            with pytest.raises(errors.LeaseLost, match=held.job.id):
                attempt()
        assert steps.get(held.job.id) == before
        assert steps.deliveries(held.job.id) == []
        assert steps.derived(held, OUTPUTS, (), {}, 63.0).state is JobState.DERIVED

    def test_the_same_result_cannot_be_handed_in_twice(self, steps):
        steps.submit(NEW, 0.0)
        lease = steps.lease("a", 60, 0.0)
        steps.derived(lease, OUTPUTS, (), {}, 1.0)
        with pytest.raises(errors.LeaseLost):
            steps.derived(lease, OUTPUTS, (), {}, 1.0)
        assert [e.code for e in steps.events(lease.job.id)].count("Derived") == 1

    def test_a_dead_workers_jobs_go_back_at_once(self, steps):
        for n in range(2):
            steps.submit(replace(NEW, set_key=f"set-{n}"), 0.0)
        steps.lease("a", 60, 0.0)
        kept = steps.lease("b", 60, 0.0)
        assert steps.release_worker("a", 1.0) == 1
        assert steps.release_worker("a", 1.0) == 0
        assert steps.lease("c", 60, 1.0) is not None
        assert steps.heartbeat(kept, 60, 2.0)

    def test_an_input_that_kills_every_worker_ends_dead(self, steps):
        job = steps.submit(NEW, 0.0)
        now = 0.0
        for n in range(RETRY.max_lost):
            lease = steps.lease(f"w{n}", 60, now)
            assert lease is not None, f"loss {n}"
            steps.release_worker(f"w{n}", now)
            now += 1000
        assert steps.lease("x", 60, now) is None
        job = steps.get(job.id)
        assert (job.state, job.error_code, job.attempts) == (JobState.DEAD, "WorkerLost", 0)


class FailureBehaviour:
    def test_attempts_are_bounded_and_spaced(self, steps):
        steps.submit(NEW, 0.0)
        now = 0.0
        for attempt in (1, 2):
            lease = steps.lease("w", 60, now)
            job = steps.failed(lease, errors.CorrectorFailed("series 1.2: it broke"), now)
            assert (job.state, job.attempts, job.error_code) == (JobState.QUEUED, attempt, "CorrectorFailed")
            assert job.error == "series 1.2: it broke"
            assert job.not_before > now
            assert steps.lease("w", 60, job.not_before - 0.01) is None
            now = job.not_before
        job = steps.failed(steps.lease("w", 60, now), errors.CorrectorFailed("again"), now)
        assert (job.state, job.attempts) == (JobState.DEAD, 3)
        assert steps.lease("w", 60, now + 1e6) is None

    def test_infrastructure_is_not_charged_but_backs_off(self, steps):
        steps.submit(NEW, 0.0)
        now, waits = 0.0, []
        for _ in range(10):
            job = steps.failed(steps.lease("w", 60, now), errors.StorageFull("full"), now)
            waits.append(job.not_before - now)
            now = job.not_before
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        assert waits[0] <= 10 < waits[4] <= 100

    def test_what_cannot_get_better_is_dead_at_once(self, steps):
        steps.submit(NEW, 0.0)
        job = steps.failed(steps.lease("w", 60, 0.0), errors.GuardViolation("NaN"), 1.0)
        assert (job.state, job.error_code) == (JobState.DEAD, "GuardViolation")

    def test_a_success_clears_the_error(self, steps):
        steps.submit(NEW, 0.0)
        steps.failed(steps.lease("w", 60, 0.0), errors.CorrectorFailed("x"), 0.0)
        job = steps.derived(steps.lease("w", 60, 100.0), OUTPUTS, ("thin metal",), {"hu_change": 1.5}, 101.0)
        assert (job.error, job.error_code) == (None, None)
        assert (job.outputs, job.warnings, job.metrics) == (OUTPUTS, ("thin metal",), {"hu_change": 1.5})

    def test_reasons_are_kept(self, steps):
        for n, ending in enumerate(("unchanged", "refused")):
            steps.submit(replace(NEW, set_key=ending), float(n))
            job = getattr(steps, ending)(steps.lease("w", 60, float(n)), f"because {n}", float(n))
            assert (job.state, job.reason) == (JobState[ending.upper()], f"because {n}")

    def test_a_dead_job_is_replayed_with_a_fresh_budget(self, steps):
        job = steps.submit(NEW, 0.0)
        steps.failed(steps.lease("w", 60, 0.0), errors.GuardViolation("x"), 1.0)
        job = steps.retry(job.id, 2.0)
        assert (job.state, job.attempts, job.error, job.not_before) == (JobState.QUEUED, 0, None, 2.0)
        assert steps.events(job.id)[-1].code == "Replay"
        assert steps.derived(steps.lease("w", 60, 3.0), OUTPUTS, (), {}, 4.0).state is JobState.DERIVED

    def test_only_what_waits_can_be_cancelled_and_only_what_ended_replayed(self, steps):
        job = steps.submit(NEW, 0.0)
        with pytest.raises(errors.IllegalTransition, match="is QUEUED"):
            steps.retry(job.id, 0.0)
        lease = steps.lease("w", 60, 0.0)
        with pytest.raises(errors.IllegalTransition, match="being worked on"):
            steps.cancel(job.id, 0.0)
        with pytest.raises(errors.IllegalTransition, match="is LEASED"):
            steps.retry(job.id, 0.0)
        steps.refused(lease, "tilted", 1.0)
        with pytest.raises(errors.IllegalTransition, match="has ended"):
            steps.cancel(job.id, 2.0)
        steps.retry(job.id, 2.0)
        assert steps.cancel(job.id, 3.0).state is JobState.CANCELLED
        assert steps.retry(job.id, 4.0).state is JobState.QUEUED

    def test_a_dead_job_can_be_given_up_and_taken_up_again(self, steps):
        job = steps.submit(NEW, 0.0)
        steps.failed(steps.lease("w", 60, 0.0), errors.GuardViolation("x"), 1.0)
        given_up = steps.cancel(job.id, 2.0)
        assert (given_up.state, given_up.reason) == (JobState.CANCELLED, "by the operator")
        assert steps.retry(job.id, 3.0).state is JobState.QUEUED

    def test_an_unknown_job_is_the_askers_mistake(self, steps):
        for call in (steps.get, lambda i: steps.retry(i, 0.0), lambda i: steps.cancel(i, 0.0)):
            with pytest.raises(errors.RequestError, match="no job nonsense"):
                call("nonsense")


class DeliveryBehaviour:
    def test_without_destination_a_derived_job_is_delivered(self, steps):
        job = steps.derived_job(send_to=())
        assert job.state is JobState.DELIVERED
        assert steps.events(job.id)[-1].message == "no destination"
        assert steps.lease_delivery("d", 60, 1.0) is None

    def test_the_last_delivery_makes_the_job_delivered(self, steps):
        job = steps.derived_job()
        first, second = steps.lease_delivery("d", 60, 1.0), steps.lease_delivery("d", 60, 1.0)
        assert {first.delivery.peer, second.delivery.peer} == {"pacs", "archive"}
        assert first.delivery.outputs == OUTPUTS
        steps.delivery_done(first, "C-FIND counted 3", 2.0)
        assert steps.get(job.id).state is JobState.DERIVED
        steps.delivery_done(second, "not offered", 3.0)
        assert steps.get(job.id).state is JobState.DELIVERED
        assert [d.verified for d in steps.deliveries(job.id)] == ["C-FIND counted 3", "not offered"]

    def test_the_peers_answers_survive_a_retry(self, steps):
        steps.derived_job(send_to=("pacs",))
        lease = steps.lease_delivery("d", 60, 1.0)
        steps.instance_sent(lease, "9.1.1", 0xA700, 1.0)
        steps.instance_sent(lease, "9.1.1", 0x0000, 1.5)
        steps.instance_sent(lease, "9.1.2", 0xB000, 1.5)
        assert steps.delivery_failed(lease, errors.PeerRefused("0xA900"), 2.0) is DeliveryState.PENDING
        assert steps.lease_delivery("d", 60, 3.0) is None
        lease = steps.lease_delivery("d", 60, 50.0)
        assert lease.delivery.statuses == {"9.1.1": 0, "9.1.2": 0xB000}
        assert (lease.delivery.attempts, lease.delivery.error_code) == (1, "PeerRefused")

    def test_refusals_are_bounded_and_replay_sends_everything_again(self, steps):
        job = steps.derived_job()
        now = 1.0
        assert steps.lease_delivery("d", 1e6, now).delivery.peer == "pacs"
        for _ in range(2):
            lease = steps.lease_delivery("d", 60, now)
            assert lease.delivery.peer == "archive"
            steps.instance_sent(lease, "9.1.1", 0, now)
            state = steps.delivery_failed(lease, errors.PeerRefused("0xC000"), now)
            now += 100
        assert state is DeliveryState.DEAD
        assert steps.get(job.id).state is JobState.DERIVED, "the other delivery is still open"
        assert steps.release_delivery("d", now) == 1
        steps.delivery_done(steps.lease_delivery("d", 60, now), "counted", now)
        dead = steps.get(job.id)
        assert (dead.state, dead.error_code) == (JobState.DEAD, "DeliveryDead")
        job = steps.retry(job.id, now)
        assert (job.state, job.error, job.outputs) == (JobState.DERIVED, None, OUTPUTS)
        lease = steps.lease_delivery("d", 60, now)
        assert (lease.delivery.peer, lease.delivery.statuses, lease.delivery.attempts) == ("archive", {}, 0)
        steps.delivery_done(lease, "counted", now)
        assert steps.get(job.id).state is JobState.DELIVERED

    def test_a_dead_delivery_is_replayed_while_another_is_still_open(self, steps):
        job = steps.derived_job()
        lease = steps.lease_delivery("d", 60, 1.0)
        assert steps.delivery_failed(lease, errors.DerivationError("no context"), 1.0) is DeliveryState.DEAD
        assert steps.retry(job.id, 2.0).state is JobState.DERIVED
        assert {d.state for d in steps.deliveries(job.id)} == {DeliveryState.PENDING}

    def test_an_unreachable_peer_is_tried_for_ever_and_does_not_hold_the_others_up(self, steps):
        steps.derived_job()
        now, peers = 1.0, []
        for _ in range(30):
            lease = steps.lease_delivery("d", 60, now)
            peers.append(lease.delivery.peer)
            assert steps.delivery_failed(lease, errors.PeerUnreachable("refused"), now) is DeliveryState.PENDING
            now += 1000
        assert set(peers) == {"pacs", "archive"}
        assert lease.delivery.attempts == 0

    def test_what_waits_for_a_busy_peer_is_not_leased(self, steps):
        steps.derived_job()
        lease = steps.lease_delivery("d", 60, 1.0)
        other = ({"pacs", "archive"} - {lease.delivery.peer}).pop()
        assert steps.lease_delivery("d", 60, 1.0, exclude_peers={"pacs", "archive"}) is None
        assert steps.lease_delivery("d", 60, 1.0, exclude_peers={lease.delivery.peer}).delivery.peer == other

    def test_a_peer_that_is_away_defers_all_that_waits_for_it_and_the_next_try_is_anothers(self, steps):
        jobs = [steps.derived_job(set_key=key, send_to=("pacs",)) for key in ("x", "y")]
        first = steps.lease_delivery("d", 60, 1.0)
        steps.delivery_failed(first, errors.PeerUnreachable("refused"), 1.0)
        assert steps.lease_delivery("d", 60, 1.5) is None
        second = steps.lease_delivery("d", 60, 1000.0)
        assert {first.delivery.job_id, second.delivery.job_id} == {job.id for job in jobs}

    def queue(self, steps, peer="pacs"):
        with steps.database.read() as tx:
            return next((q for q in queues(tx) if q.peer == peer), None)

    def test_a_peer_is_away_from_its_first_failure_until_it_takes_something(self, steps):
        jobs = [steps.derived_job(2.0, set_key=key, send_to=("pacs",)) for key in ("x", "y")]
        assert self.queue(steps) == PeerQueue("pacs", len(jobs), 2.0, None)
        for now in (10.0, 1000.0):
            lease = steps.lease_delivery("d", 60, now)
            steps.delivery_failed(lease, errors.PeerUnreachable("refused"), now)
            assert self.queue(steps) == PeerQueue("pacs", 2, 2.0, 10.0)
        lease = steps.lease_delivery("d", 60, 2000.0)
        steps.instance_sent(lease, "9.1.1", 0xA700, 2001.0)
        assert self.queue(steps).unreachable_since == 10.0
        steps.instance_sent(lease, "9.1.1", 0, 2002.0)
        assert self.queue(steps).unreachable_since is None

    def test_a_peer_that_refuses_an_instance_is_there(self, steps):
        steps.derived_job(send_to=("pacs",))
        lease = steps.lease_delivery("d", 60, 1.0)
        steps.delivery_failed(lease, errors.PeerRefused("0x0110"), 1.0)
        assert self.queue(steps).unreachable_since is None

    def test_a_verified_delivery_says_that_the_peer_is_there(self, steps):
        steps.derived_job(send_to=("pacs",))
        steps.delivery_failed(steps.lease_delivery("d", 60, 1.0), errors.PeerBusy("0xA700"), 1.0)
        assert self.queue(steps).unreachable_since == 1.0
        steps.delivery_done(steps.lease_delivery("d", 60, 1000.0), "counted", 1001.0)
        assert self.queue(steps) == PeerQueue("pacs", 0, None, None)

    def test_whoever_lost_the_delivery_changes_nothing(self, steps):
        job = steps.derived_job(send_to=("pacs",))
        stale = steps.lease_delivery("a", 60, 0.0)
        stale = steps.heartbeat_delivery(stale, 60, 50.0)
        assert steps.lease_delivery("b", 60, 100.0) is None
        held = steps.lease_delivery("b", 60, 111.0)
        before = steps.deliveries(job.id)
        attempts = (
            lambda: steps.heartbeat_delivery(stale, 60, 112.0),
            lambda: steps.instance_sent(stale, "9.1.1", 0, 112.0),
            lambda: steps.delivery_done(stale, "x", 112.0),
            lambda: steps.delivery_failed(stale, errors.PeerRefused("x"), 112.0),
            lambda: steps.delivery_failed(stale, errors.WorkerLost("x"), 112.0),
        )
        for attempt in attempts:
            with pytest.raises(errors.LeaseLost):
                attempt()
        assert steps.deliveries(job.id) == before
        steps.delivery_done(held, "counted", 113.0)
        assert steps.get(job.id).state is JobState.DELIVERED

    def test_a_delivery_that_kills_its_process_each_time_ends_dead_unless_it_moves_on(self, steps):
        job = steps.derived_job(send_to=("pacs",))
        now = 0.0
        for n in range(5):
            lease = steps.lease_delivery("d", 60, now)
            steps.instance_sent(lease, f"9.1.{n}", 0, now)
            steps.release_delivery("d", now)
            now += 1000
        assert steps.get(job.id).state is JobState.DERIVED
        while steps.lease_delivery("d", 60, now):
            steps.release_delivery("d", now)
            now += 1000
        assert steps.get(job.id).state is JobState.DEAD

    def test_cancelling_stops_a_delivery_under_way(self, steps):
        job = steps.derived_job()
        lease = steps.lease_delivery("d", 60, 1.0)
        assert steps.cancel(job.id, 2.0).state is JobState.CANCELLED
        with pytest.raises(errors.LeaseLost):
            steps.instance_sent(lease, "9.1.1", 0, 3.0)
        assert {d.state for d in steps.deliveries(job.id)} == {DeliveryState.CANCELLED}
        assert steps.lease_delivery("d", 60, 1000.0) is None

    def test_a_cancelled_job_that_is_replayed_gets_deliveries_of_its_own(self, steps):
        job = steps.derived_job(send_to=("pacs",))
        steps.cancel(job.id, 1.0)
        job = steps.retry(job.id, 2.0)
        assert (job.state, job.outputs) == (JobState.QUEUED, ())
        steps.derived(steps.lease("w", 60, 3.0), OUTPUTS, (), {}, 3.0)
        steps.delivery_done(steps.lease_delivery("d", 60, 4.0), "counted", 4.0)
        assert steps.get(job.id).state is JobState.DELIVERED
        assert [d.state for d in steps.deliveries(job.id)] == [DeliveryState.CANCELLED, DeliveryState.DONE]


class LookingBehaviour:
    def test_the_audit_trail_tells_the_whole_story(self, steps):
        job = steps.derived_job(send_to=("pacs",))
        lease = steps.lease_delivery("d", 60, 1.0)
        steps.delivery_failed(lease, errors.PeerUnreachable("pacs: connection refused"), 2.0)
        steps.delivery_done(steps.lease_delivery("d", 60, 100.0), "counted 3", 101.0)
        story = [(e.at, e.peer, e.origin, e.target, e.code, e.message) for e in steps.events(job.id)]
        assert story == [
            (0.0, None, None, "QUEUED", "Submitted", "version 1"),
            (0.0, None, "QUEUED", "LEASED", "Leased", "w"),
            (0.0, None, "LEASED", "DERIVED", "Derived", ""),
            (2.0, "pacs", "LEASED", "PENDING", "PeerUnreachable", "pacs: connection refused"),
            (101.0, "pacs", "LEASED", "DONE", "Delivered", "counted 3"),
            (101.0, None, "DERIVED", "DELIVERED", "Delivered", ""),
        ]

    def test_find_shows_the_newest_first_and_by_state(self, steps):
        ids = [steps.submit(replace(NEW, set_key=f"set-{n}"), float(n)).id for n in range(4)]
        steps.unchanged(steps.lease("w", 60, 5.0), "x", 5.0)
        assert [job.id for job in steps.find()] == ids[::-1]
        assert [job.id for job in steps.find(limit=2)] == ids[:1:-1]
        assert [job.id for job in steps.find(state=JobState.UNCHANGED)] == ids[:1]

    def test_ids_can_be_shortened_as_far_as_they_are_unique(self, steps):
        job, other = (steps.submit(replace(NEW, set_key=f"set-{n}"), 0.0) for n in range(2))
        assert steps.ids_starting_with(job.id[:12]) == [job.id]
        assert set(steps.ids_starting_with("")) == {job.id, other.id}
        assert steps.ids_starting_with("%") == []

    def test_counts_name_every_state(self, steps):
        steps.derived_job()
        steps.submit(replace(NEW, set_key="other"), 1.0)
        counts = steps.counts()
        assert {key for key, number in counts.items() if number} == {
            ("job", "DERIVED"),
            ("job", "QUEUED"),
            ("delivery", "PENDING"),
        }
        assert counts["delivery", "PENDING"] == 2
        assert len(counts) == len(JobState) + len(DeliveryState)
