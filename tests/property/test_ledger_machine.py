"""Random interleavings of workers, deliverers, deaths, expiries and operators leave the ledger consistent."""

import tempfile
from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import select

from dicom_node import errors
from dicom_node.database import Database
from dicom_node.jobs import (
    DELIVERY_TRANSITIONS,
    JOB_TRANSITIONS,
    DeliveryState,
    JobLedger,
    JobState,
    NewJob,
    OutputInstance,
    OutputSeries,
    RetryPolicy,
)
from dicom_node.jobs import tables as t

LEASE_S = 20.0
RETRY = RetryPolicy(max_attempts=2, backoff_s=4, max_backoff_s=30, max_lost=2, random=Random(0))
OUTPUTS = (OutputSeries("ct", "9.1", ("4.2",), (OutputInstance("9.1.1", "4.2", "a.dcm"),)),)
PEERS = (("pacs",), ("pacs", "archive"), ())
ERRORS = (
    errors.CorrectorFailed("broke"),
    errors.GuardViolation("nan"),
    errors.StorageFull("full"),
    errors.WorkerLost("gone"),
    errors.PeerUnreachable("refused"),
)
OWNERS = st.sampled_from(("a", "b"))


class LedgerMachine(RuleBasedStateMachine):
    """Keeps its own idea of who holds which lease, and holds the ledger to it."""

    leases = Bundle("leases")
    delivery_leases = Bundle("delivery_leases")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database.open(f"sqlite:///{self.folder.name}/node.sqlite")
        self.ledger = JobLedger(replace(RETRY, random=Random(0)))
        self.now = 0.0
        self.held = {}  # (kind, id) -> (token, owner, expires_at)
        self.derivations = {}  # job id -> tokens whose outputs were accepted
        self.replays = {}  # job id -> operator's replays

    def teardown(self):
        self.database.close()
        self.folder.cleanup()

    def call(self, name, *args):
        with self.database.begin() as tx:
            return getattr(self.ledger, name)(tx, *args, self.now)

    def rows(self):
        with self.database.read() as tx:
            tables = (t.jobs, t.job_documents, t.deliveries, t.delivery_instances)
            return [tx.execute(select(table)).all() for table in tables]

    def by_holder(self, key, token, name, *args):
        """Call as the holder of a token: must work exactly when the token is the one held."""
        held = self.held.get(key)
        before = self.rows()
        try:
            result = self.call(name, *args)
        except errors.LeaseLost:
            assert held is None or held[0] != token, "the holder was turned away"
            assert self.rows() == before, "a stale token changed a row"
            return False, None
        assert held is not None and held[0] == token, "a stale token was accepted"
        return True, result

    @initialize(peers=st.sampled_from(PEERS))
    def some_jobs(self, peers):
        self.submit_one("x", "1", peers)
        self.submit_one("y", "1", PEERS[1])

    @rule(seconds=st.sampled_from((1.0, 10.0, 25.0, 25.0)))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(set_key=st.sampled_from("xy"), digest=st.sampled_from("123"), peers=st.sampled_from(PEERS))
    def submit(self, set_key, digest, peers):
        self.submit_one(set_key, digest, peers)

    def submit_one(self, set_key, digest, peers):
        new = NewJob("route", "hipct", "li", {}, peers, (), set_key, digest)
        with self.database.read() as tx:
            known = any((j.set_key, j.input_digest) == (set_key, digest) for j in self.ledger.find(tx))
        assert (self.call("submit", new) is None) == known

    @rule(target=leases, owner=OWNERS)
    def lease(self, owner):
        with self.database.begin() as tx:
            lease = self.ledger.lease(tx, owner, LEASE_S, self.now)
        self.forget_expired("job")
        if lease is None:
            return multiple()
        key = ("job", lease.job.id)
        assert key not in self.held, "two live leases on one job"
        assert all(lease.token > token for token in self.derivations.get(lease.job.id, ()))
        self.held[key] = (lease.token, owner, lease.expires_at)
        return lease

    @rule(target=delivery_leases, owner=OWNERS)
    def lease_delivery(self, owner):
        with self.database.begin() as tx:
            lease = self.ledger.lease_delivery(tx, owner, LEASE_S, self.now)
        self.forget_expired("delivery")
        if lease is None:
            return multiple()
        key = ("delivery", lease.delivery.id)
        assert key not in self.held, "two live leases on one delivery"
        self.held[key] = (lease.token, owner, lease.expires_at)
        return lease

    def forget_expired(self, kind):
        for key, (_, _, expires_at) in list(self.held.items()):
            if key[0] == kind and expires_at < self.now:
                del self.held[key]

    @rule(lease=leases)
    def heartbeat(self, lease):
        key = ("job", lease.job.id)
        held, longer = self.by_holder(key, lease.token, "heartbeat", lease, LEASE_S)
        if held:
            self.held[key] = (*self.held[key][:2], longer.expires_at)

    @rule(
        lease=leases,
        ending=st.sampled_from(("derived", "unchanged", "refused", "failed")),
        error=st.sampled_from(ERRORS),
    )
    def finish(self, lease, ending, error):
        key = ("job", lease.job.id)
        args = {"derived": (OUTPUTS, ("w",), {"x": 1}), "unchanged": ("why",), "refused": ("why",), "failed": (error,)}
        ended, _ = self.by_holder(key, lease.token, ending, lease, *args[ending])
        if ended:
            del self.held[key]
            if ending == "derived":
                self.derivations.setdefault(lease.job.id, []).append(lease.token)

    @rule(lease=delivery_leases)
    def send(self, lease):
        self.by_holder(("delivery", lease.delivery.id), lease.token, "instance_sent", lease, "9.1.1", 0)

    @rule(lease=delivery_leases, error=st.none() | st.sampled_from(ERRORS))
    def finish_delivery(self, lease, error):
        key = ("delivery", lease.delivery.id)
        name, what = ("delivery_done", "counted") if error is None else ("delivery_failed", error)
        if self.by_holder(key, lease.token, name, lease, what)[0]:
            del self.held[key]

    @rule(owner=OWNERS, name=st.sampled_from(("release_worker", "release_delivery")))
    def die(self, owner, name):
        kind = "job" if name == "release_worker" else "delivery"
        mine = [key for key, held in self.held.items() if key[0] == kind and held[1] == owner]
        assert self.call(name, owner) == len(mine)
        for key in mine:
            del self.held[key]

    @rule(number=st.integers(0, 5), name=st.sampled_from(("retry", "cancel")))
    def operate(self, number, name):
        with self.database.read() as tx:
            jobs = self.ledger.find(tx)
        job, before = jobs[number % len(jobs)], self.rows()
        try:
            self.call(name, job.id)
        except errors.IllegalTransition:
            assert self.rows() == before
            return
        if name == "retry" and job.state is not JobState.DERIVED:
            self.replays[job.id] = self.replays.get(job.id, 0) + 1
        if name == "cancel":
            with self.database.read() as tx:
                for delivery in self.ledger.deliveries(tx, job.id):
                    self.held.pop(("delivery", delivery.id), None)

    @invariant()
    def the_ledger_is_consistent(self):
        with self.database.read() as tx:
            jobs = tx.execute(select(t.jobs)).all()
            wrote = {d.job_id: d.outputs != "[]" for d in tx.execute(select(t.job_documents))}
            deliveries = tx.execute(select(t.deliveries)).all()
            events = tx.execute(select(t.job_events).order_by(t.job_events.c.id)).all()
            counts_are_those_of_the_rows(tx, self.ledger, jobs, deliveries)
        self.rows_agree_with_the_leases(jobs, deliveries)
        budgets_are_kept(jobs, deliveries)
        one_version_of_a_set_is_worked_on_at_a_time(jobs)
        for job in jobs:
            events_follow_the_table(job, [event for event in events if event.job_id == job.id])
            self.outputs_come_once_and_only_from_an_accepted_lease(job, deliveries, wrote[job.id])

    def rows_agree_with_the_leases(self, jobs, deliveries):
        held = {("job", j.id): (j.token, j.owner, j.expires_at) for j in jobs if j.state == JobState.LEASED}
        held |= {("delivery", d.id): (d.token, d.owner, d.expires_at) for d in deliveries if d.state == "LEASED"}
        assert held == self.held
        assert all((row.owner is None) == (row.state != "LEASED") for row in (*jobs, *deliveries))

    def outputs_come_once_and_only_from_an_accepted_lease(self, job, deliveries, wrote):
        accepted = self.derivations.get(job.id, [])
        assert len(accepted) <= 1 + self.replays.get(job.id, 0)
        assert wrote == (job.derived_token is not None)
        states = {d.state for d in deliveries if d.job_id == job.id and d.derived_token == job.derived_token}
        if job.state in (JobState.DERIVED, JobState.DELIVERED):
            assert job.derived_token == accepted[-1]
        if job.state == JobState.DELIVERED:
            assert states <= {DeliveryState.DONE}
        if job.state == JobState.DERIVED:
            assert states & {DeliveryState.PENDING, DeliveryState.LEASED}


def counts_are_those_of_the_rows(tx, ledger, jobs, deliveries):
    rows = [("job", row.state) for row in jobs] + [("delivery", row.state) for row in deliveries]
    assert {key: number for key, number in ledger.counts(tx).items() if number} == Counter(rows)


def budgets_are_kept(jobs, deliveries):
    for row in (*jobs, *deliveries):
        assert row.attempts <= RETRY.max_attempts
        assert row.lost <= RETRY.max_lost
        if row.state in (JobState.QUEUED, DeliveryState.PENDING):
            assert row.attempts < RETRY.max_attempts
            assert row.lost < RETRY.max_lost


def events_follow_the_table(job, events):
    state = None
    for event in events:
        if event.peer is None:
            assert event.origin == state
            assert state is None or JobState(event.target) in JOB_TRANSITIONS[JobState(state)]
            state = event.target
        else:
            assert DeliveryState(event.target) in DELIVERY_TRANSITIONS[DeliveryState(event.origin)]
    assert state == job.state


def one_version_of_a_set_is_worked_on_at_a_time(jobs):
    for set_key in {job.set_key for job in jobs}:
        family = [job for job in jobs if job.set_key == set_key]
        assert sorted(job.version for job in family) == list(range(1, len(family) + 1))
        assert sum(job.state == JobState.LEASED for job in family) <= 1
        assert all(job.version == len(family) for job in family if job.state == JobState.QUEUED)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
