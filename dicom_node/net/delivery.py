"""Delivery: derived series from the outbox to their peers, each in a lane of its own, until verified."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from dicom_node import faults, logs
from dicom_node.config import Config, PeerSection
from dicom_node.database.engine import Database
from dicom_node.errors import ConfigError, DeliveryError, LeaseLost, LedgerError, NodeError, PeerUnreachable, WorkerLost
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import DeliveryLease
from dicom_node.net.consignment import Consignment
from dicom_node.net.sender import Sender
from dicom_node.net.witness import Witness

log = logs.get("net.delivery")

NOT_LISTED = 0x0112
"""Recorded for an instance that the peer acknowledged but does not list (PS3.7 C.5: no such SOP instance)."""
_MOST_AT_ONCE = 64

SenderFactory = Callable[[PeerSection], Sender]
Clock = Callable[[], float]


@dataclass(frozen=True)
class _Lane:
    """One peer's queue and the thread that works on it: a peer that hangs holds up nobody else."""

    waiting: queue.Queue[DeliveryLease | None]
    thread: threading.Thread


class Delivery:
    """Leases deliveries, sends them, and keeps the leases alive meanwhile."""

    def __init__(
        self,
        config: Config,
        database: Database,
        ledger: JobLedger,
        *,
        owner: str,
        sender_factory: SenderFactory | None = None,
        clock: Clock = time.time,
    ) -> None:
        """Start without any connection.

        Args:
            config: peers, data folder, lease time and our AE title.
            database: where the ledger lives.
            ledger: deliveries and their statuses.
            owner: name under which leases are held, unique among processes.
            sender_factory: makes the sender of a peer.
            clock: UTC [s]; for what happens between two steps.
        """
        self._config = config
        self._database = database
        self._ledger = ledger
        self._owner = owner
        self._make_sender = sender_factory or (lambda peer: Sender(peer, config.node.ae_title))
        self._clock = clock
        self._outbox = config.node.data_dir.resolve() / "outbox"
        self._lanes: dict[str, _Lane] = {}
        self._witnesses: dict[str, Witness] = {}
        self._held: dict[int, DeliveryLease] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="delivery-heartbeat")
        self._heart.start()

    def step(self, now: float) -> int:
        """Lease what is due, one for each free lane; returns how many. Does not wait for peers.

        What only waits for its lane is not leased: a process that dies must cost it nothing.

        Raises:
            LedgerError: the database refused; the step may be repeated.
        """
        for number in range(_MOST_AT_ONCE):
            with self._database.begin() as tx:
                lease = self._ledger.lease_delivery(
                    tx, self._owner, self._config.jobs.lease_s, now, exclude_peers=self._sent_to()
                )
            if lease is None:
                return number
            faults.reach("delivery.leased")
            with self._lock:
                self._held[lease.delivery.id] = lease
            self._lane(lease.delivery.peer).waiting.put(lease)
        return _MOST_AT_ONCE

    def busy(self) -> int:
        """Deliveries in hand."""
        with self._lock:
            return len(self._held)

    def _sent_to(self) -> frozenset[str]:
        with self._lock:
            return frozenset(lease.delivery.peer for lease in self._held.values())

    def close(self, wait_s: float) -> None:
        """Stop after the instance in hand, and give back what is not done.

        Args:
            wait_s: longest wait for the lanes [s]; a lease that is still held then expires by itself.
        """
        self._stopping.set()
        end = time.monotonic() + wait_s
        for lane in self._lanes.values():
            lane.waiting.put(None)
        for lane in self._lanes.values():
            lane.thread.join(max(0.0, end - time.monotonic()))
        self._heart.join(max(0.0, end - time.monotonic()))

    def _lane(self, peer: str) -> _Lane:
        if peer not in self._lanes:
            waiting: queue.Queue[DeliveryLease | None] = queue.Queue()
            work = partial(contextvars.copy_context().run, self._work, waiting)
            thread = threading.Thread(target=work, daemon=True, name=f"delivery-{peer}")
            self._lanes[peer] = _Lane(waiting, thread)
            thread.start()
        return self._lanes[peer]

    def _work(self, waiting: queue.Queue[DeliveryLease | None]) -> None:
        while (lease := waiting.get()) is not None:
            try:
                self._attempt(lease)
            except Exception as problem:  # noqa: BLE001  a fault of ours must not end the peer's lane
                # Nobody renews the lease any more: it expires, and the delivery goes on from what the ledger knows.
                log.error("delivery_fault", delivery=lease.delivery.id, code=type(problem).__name__)
            finally:
                self._forget(lease)

    def _attempt(self, lease: DeliveryLease) -> None:
        delivery = lease.delivery
        with logs.bound(job=delivery.job_id, peer=delivery.peer, delivery=delivery.id):
            try:
                verified = self._deliver(lease)
            except LeaseLost as problem:
                log.warning("delivery_left", code=problem.code, reason=str(problem))
                return
            except NodeError as problem:
                failure: NodeError = problem
            except Exception as problem:  # noqa: BLE001  a fault of ours is this delivery's failure
                failure = DeliveryError(f"sending failed inside the node ({type(problem).__name__})")
                log.error("delivery_fault", code=type(problem).__name__)
            else:
                self._conclude(lease, lambda tx, now: self._ledger.delivery_done(tx, lease, verified, now))
                log.info("delivered", verified=verified)
                return
            log.warning("delivery_failed", code=failure.code, reason=str(failure))
            self._conclude(lease, lambda tx, now: self._ledger.delivery_failed(tx, lease, failure, now))

    def _deliver(self, lease: DeliveryLease) -> str:
        delivery = lease.delivery
        section = self._config.peers.get(delivery.peer)
        if section is None:
            raise ConfigError(
                f"peers: {delivery.peer!r} is not configured any more; add it and retry job {delivery.job_id}"
            )
        consignment = Consignment(delivery, self._outbox / delivery.job_id)
        statuses = dict(delivery.statuses)

        def on_status(uid: str, status: int) -> None:
            faults.reach("delivery.sent")
            statuses[uid] = status
            with self._database.begin() as tx:
                self._ledger.instance_sent(tx, lease, uid, status, self._clock())
            faults.reach("delivery.status_recorded")
            if self._stopping.is_set():
                raise WorkerLost("the node stopped while it was sending; it goes on where it was")

        if self._stopping.is_set():
            raise PeerUnreachable("the node stopped before this delivery began")
        sender = self._make_sender(section)
        remaining = consignment.remaining(statuses)
        log.info("delivery_started", instances=len(remaining), already=len(statuses))
        if remaining:
            # By name: one lane, so one thread, for each peer.
            sender.send(remaining, on_status, self._witnesses.setdefault(delivery.peer, Witness()))
        consignment.check(statuses)
        verified = self._verify(lease, sender, consignment, statuses)
        faults.reach("delivery.verified")
        return verified

    def _verify(
        self, lease: DeliveryLease, sender: Sender, consignment: Consignment, statuses: Mapping[str, int]
    ) -> str:
        texts = []
        for series in consignment.accepted_series(statuses):
            answer = sender.verify(series.series_instance_uid, series.study_instance_uid, series.instances)
            if answer.missing:
                # They are sent again: an acknowledgement that the peer does not stand by is none.
                with self._database.begin() as tx:
                    for uid in answer.missing:
                        self._ledger.instance_sent(tx, lease, uid, NOT_LISTED, self._clock())
                raise DeliveryError(
                    f"series {series.series_instance_uid}: {answer.text}; the peer acknowledged more than it lists"
                )
            texts.append(f"{series.role}: {answer.text}")
        return "; ".join(texts + consignment.not_accepted(statuses))

    def _conclude(self, lease: DeliveryLease, write: Callable[..., object]) -> None:
        try:
            with self._database.begin() as tx:
                write(tx, self._clock())
            faults.reach("delivery.committed")
        except (LeaseLost, LedgerError) as problem:
            log.warning("delivery_left", code=problem.code, reason=str(problem))

    def _forget(self, lease: DeliveryLease) -> None:
        with self._lock:
            self._held.pop(lease.delivery.id, None)

    def _beat(self) -> None:
        while not self._stopping.wait(self._config.jobs.lease_s / 3):
            with self._lock:
                held = list(self._held.values())
            for lease in held:
                try:
                    with self._database.begin() as tx:
                        self._ledger.heartbeat_delivery(tx, lease, self._config.jobs.lease_s, self._clock())
                except (LeaseLost, LedgerError) as problem:
                    log.warning("heartbeat_failed", delivery=lease.delivery.id, code=problem.code)
