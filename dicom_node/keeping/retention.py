"""Retention: which studies leave, by age and when the disk runs full, and quarantined files by age."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, select, tuple_

from dicom_node import faults, logs
from dicom_node.archive import tables as t
from dicom_node.config import RetentionSection
from dicom_node.database.engine import Database
from dicom_node.database.values import StoredPaths
from dicom_node.durable import storage_error, sync_folder
from dicom_node.keeping import milestones
from dicom_node.keeping.holds import Study
from dicom_node.keeping.leaving import Leaving

log = logs.get("keeping.retention")

_DAY_S: Final = 86400.0
_HOUR_S: Final = 3600.0
_PAGE: Final = 50
"""Studies looked at in one step."""
_SHARE: Final = 10.0
"""Rest after a round, in lengths of the round: looking never takes more than a tenth of the time."""
_SHORTEST_REST_S, _LONGEST_REST_S = 2.0, 600.0
_TOLD_EVERY_S: Final = 60.0


@dataclass
class _Round:
    """One pass over the studies, oldest first.

    Attributes:
        began: monotonic time [s].
        after: last arrival and row of the last study that was looked at.
        held: studies that stay although their time has come, by the reason.
        marked: studies that leave.
    """

    began: float
    after: tuple[float, int] = (float("-inf"), 0)
    held: Counter[str] = field(default_factory=Counter)
    marked: int = 0


class Retention:
    """Repeats its steps for ever; each is short, so that nothing else in the process waits for it."""

    def __init__(self, section: RetentionSection, database: Database, leaving: Leaving, data_dir: Path) -> None:
        """Nothing is looked at yet.

        Args:
            section: what to keep.
            database: index and ledger.
            leaving: takes studies out.
            data_dir: folder whose free space counts, and that holds the quarantine.
        """
        self._section = section
        self._database = database
        self._leaving = leaving
        self._data_dir = data_dir
        self._paths = StoredPaths(data_dir)
        self._round: _Round | None = None
        self._told = float("-inf")
        self._held: Counter[str] = Counter()

    def step(self, now: float) -> float:
        """Do the next small piece of work.

        Args:
            now: UTC [s].

        Returns:
            How long to wait before the next step [s].

        Raises:
            NodeError: database or disk refused; the step may be repeated.
        """
        # What an earlier life has marked leaves even if retention was switched off since: routing ignores it already.
        if self._leaving.step():
            return 0.0
        if self._section.keep_days is None and self._section.start_below_free_mb is None:
            return _LONGEST_REST_S
        if self._leave_quarantine(now):
            return 0.0
        if self._round is None:
            self._round = _Round(time.monotonic())
        if self._look(self._round, now):
            return 0.0
        return self._end_round(self._round, now)

    def _look(self, current: _Round, now: float) -> bool:
        """Look at one page, up to the first study that may go; whether there is more to look at."""
        before = self._before(now)
        with self._database.read() as tx:
            page = self._page(tx, current.after, before) if before is not None else []
            found = [(study, self._leaving.why_not(tx, study)) for study in page]
        for study, reason in found:
            current.after = (study.last_arrival, study.id)
            if reason is None:
                reason = self._leaving.mark(study, now)
            if reason is None:
                current.marked += 1
                log.info(
                    "study_leaves", study_instance_uid=study.study_instance_uid, idle_s=round(now - study.last_arrival)
                )
                return True
            current.held[str(reason)] += 1
        return bool(page)

    def _before(self, now: float) -> float | None:
        """Studies whose last image came before this time [UTC, s] are to leave; None for none."""
        section, times = self._section, []
        if section.keep_days is not None:
            times.append(now - section.keep_days * _DAY_S)
        if section.start_below_free_mb is not None and self.free_mb() < section.start_below_free_mb:
            times.append(now - section.keep_at_least_h * _HOUR_S)
        return max(times, default=None)

    def free_mb(self) -> float:
        """Free space in the data folder [MB].

        Raises:
            StorageFailed: the disk does not say.
        """
        try:
            state = os.statvfs(self._data_dir)
        except OSError as problem:
            raise storage_error(problem, self._data_dir) from problem
        return state.f_bavail * state.f_frsize / 1e6

    def _page(self, tx: Connection, after: tuple[float, int], before: float) -> list[Study]:
        row = t.studies.c
        found = (
            select(row.id, row.patient_key, row.study_instance_uid, row.last_arrival)
            .where(tuple_(row.last_arrival, row.id) > after, row.last_arrival < before)
            .order_by(row.last_arrival, row.id)
            .limit(_PAGE)
        )
        return [Study(*one) for one in tx.execute(found)]

    def _leave_quarantine(self, now: float) -> int:
        """Delete quarantined files whose time has come, files first; returns how many."""
        if self._section.keep_days is None:
            return 0
        row = t.quarantine.c
        old = select(row.id, row.path).where(row.quarantined_at < now - self._section.keep_days * _DAY_S)
        with self._database.read() as tx:
            found = tx.execute(old.order_by(row.quarantined_at).limit(_PAGE)).all()
        if not found:
            return 0
        self._unlink([self._paths.load(one.path) for one in found])
        faults.reach("keeper.quarantine_unlinked")
        with self._database.begin() as tx:
            tx.execute(delete(t.quarantine).where(row.id.in_([one.id for one in found])))
        log.info("quarantine_leaves", files=len(found))
        return len(found)

    def _unlink(self, paths: Sequence[Path]) -> None:
        try:
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError as problem:
            raise storage_error(problem, path) from problem
        for folder in {path.parent for path in paths if path.parent.exists()}:
            sync_folder(folder)

    def _end_round(self, current: _Round, now: float) -> float:
        self._round = None
        took = time.monotonic() - current.began
        if current.marked or current.held != self._held or time.monotonic() - self._told > _TOLD_EVERY_S:
            self._told, self._held = time.monotonic(), current.held
            with self._database.begin() as tx:
                milestones.note(tx, milestones.RETENTION, now, {"studies": current.marked, "held": dict(current.held)})
        return min(max(took * _SHARE, _SHORTEST_REST_S), _LONGEST_REST_S)
