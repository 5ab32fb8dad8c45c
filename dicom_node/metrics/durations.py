"""How long attempts at jobs took: from the ledger's audit trail, which is followed and never read as a whole."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, func, select

from dicom_node.jobs import tables as t
from dicom_node.jobs.states import JobState

BUCKETS_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, float("inf"))
"""Upper bounds of the histogram [s]."""
_MOST_AT_ONCE: Final = 10_000
_ENDED_AS: Final = {JobState.QUEUED: "retry"}


@dataclass
class Histogram:
    """Attempts of one kind.

    Attributes:
        counts: attempts for each bound of `BUCKETS_S`, cumulative as Prometheus wants them.
        total_s: all of them together [s].
    """

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_S))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.total_s += seconds
        for number, bound in enumerate(BUCKETS_S):
            self.counts[number] += seconds <= bound


class JobDurations:
    """Follows the events of jobs from the moment of its first call on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: int | None = None
        self._began: dict[str, float] = {}
        self._histograms: dict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def follow(self, tx: Connection) -> Mapping[tuple[str, str], Histogram]:
        """Read what has happened since the last call; histograms by corrector and how the attempt ended.

        An attempt ends `derived`, `unchanged`, `refused`, `dead`, or `retry` where the job was queued again.
        """
        with self._lock:
            if self._last is None:
                self._begin(tx)
            else:
                self._read(tx, self._last)
            return dict(self._histograms)

    def _begin(self, tx: Connection) -> None:
        event, job = t.job_events.c, t.jobs.c
        self._last = tx.execute(select(func.max(event.id))).scalar_one() or 0
        under_way = (
            select(event.job_id, func.max(event.at).label("at"))
            .join(t.jobs, job.id == event.job_id)
            .where(job.state == JobState.LEASED, event.target == JobState.LEASED)
            .group_by(event.job_id)
        )
        self._began = {one.job_id: one.at for one in tx.execute(under_way)}

    def _read(self, tx: Connection, last: int) -> None:
        event, job = t.job_events.c, t.jobs.c
        found = tx.execute(
            select(event.id, event.job_id, event.at, event.peer, event.origin, event.target, job.corrector)
            .join(t.jobs, job.id == event.job_id)
            .where(event.id > last)
            .order_by(event.id)
            .limit(_MOST_AT_ONCE)
        ).all()
        for one in found:
            self._last = one.id
            if one.peer is not None:
                continue
            if one.target == JobState.LEASED:
                self._began[one.job_id] = one.at
            elif one.origin == JobState.LEASED and (began := self._began.pop(one.job_id, None)) is not None:
                ended = _ENDED_AS.get(JobState(one.target), str(one.target).lower())
                self._histograms[one.corrector, ended].add(max(0.0, one.at - began))
