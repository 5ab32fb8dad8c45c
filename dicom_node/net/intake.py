"""Intake: received files go into the archive and index, patients whose images have settled go to routing.

Every step can be killed and repeated: a file keeps its name in the spool until its row says that it is filed, and a
patient stays settled until the transaction that submits its jobs has said otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from dicom_node import faults, logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Arrival, Filing, Quarantined, Received, Settled
from dicom_node.archive.store import ArchiveStore
from dicom_node.contracts import FileRef, InstanceHeader, SeriesView
from dicom_node.database.engine import Database
from dicom_node.dicom.headers import read_header
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import InputError, LedgerError, NodeError
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import NewJob
from dicom_node.net.journals import Journals
from dicom_node.net.shrunk import without_shrunk

log = logs.get("net.intake")

_MOST_FILES: Final = 128
"""Files in one batch: enough to share a transaction and a sync, few enough to look into the journals in between."""
_SHORTEST_PAUSE_S: Final = 0.001
_GATHER_S: Final = 0.2
"""Pause while images are coming in [s]."""
_LOOK_AGAIN_S: Final = 1.0
"""Longest pause between two looks for patients that have settled, and for receivers that are gone [s]."""

Plan = Callable[[Sequence[SeriesView]], tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]]
"""Routing as intake sees it: all series of a patient -> jobs, and one explanation for each series."""


class Intake:
    """One of these runs at a time."""

    def __init__(
        self,
        *,
        database: Database,
        index: ArchiveIndex,
        ledger: JobLedger,
        store: ArchiveStore,
        journals: Journals,
        spool: Path,
        quarantine: Path,
        quiet_s: float,
        plan: Plan,
        submitted: Callable[[], None] = lambda: None,
        batch: int = _MOST_FILES,
    ) -> None:
        """Wire the intake.

        Args:
            database: where rows go.
            index: rows of files and patients.
            ledger: rows of jobs.
            store: where files go.
            journals: where files come from.
            spool: `data_dir/spool`; only what lies there is removed once it is filed.
            quarantine: folder for files that cannot be filed.
            quiet_s: quiet period of `intake.quiet_s` [s].
            plan: routing.
            submitted: called after jobs were submitted.
            batch: most files filed in one transaction.
        """
        self._database = database
        self._index = index
        self._ledger = ledger
        self._store = store
        self._journals = journals
        self._spool = f"{spool}/"
        self._quarantine = quarantine
        self._quiet_s = quiet_s
        self._plan = plan
        self._submitted = submitted
        self._batch = batch
        self._recovered = self._swept = False
        self._waiting = True
        self._flowing = False
        self._settles_at: float | None = None
        self._look_after = self._sweep_after = 0.0

    def step(self, now: float) -> int:
        """Take up what receivers wrote, file one batch, route one settled patient; returns how much it did.

        Costs next to nothing where there is nothing to do, so that it may be called many times a second.

        Args:
            now: UTC [s].

        Raises:
            NodeError: database or disk refused; nothing is lost and the step may be repeated.
        """
        done, trouble = 0, None
        self._flowing = False
        for take_up in (self._recover, self._absorb, self._sweep):
            try:
                done += take_up(now)
            except NodeError as problem:
                trouble = trouble or problem
        if done or trouble is not None or self._waiting:
            done += self._file_batch(now)
        if trouble is not None:
            raise trouble  # and nobody is routed: the patient's newest images may be among what cannot be read
        return done + (self._route_one(now) if done or self._time_to_look(now) else 0)

    def pause(self, longest_s: float, now: float) -> float:
        """How long to wait before the next step, for what is known to end: somebody's quiet period [s].

        Args:
            longest_s: at most [s].
            now: UTC [s].
        """
        until = longest_s if self._settles_at is None else self._settles_at - now
        return min(_GATHER_S if self._flowing else longest_s, max(until, _SHORTEST_PAUSE_S))

    @property
    def flowing(self) -> bool:
        """Whether images are coming in, but not yet a whole batch: a pause then lets them gather.

        Filed one by one, each would cost the disk as many syncs as a batch, which receivers then wait for.
        """
        return self._flowing

    def _absorb(self, now: float) -> int:
        absorbed = self._journals.absorb(now)
        self._flowing = 0 < absorbed < self._batch
        return absorbed

    def _recover(self, now: float) -> int:
        removed = 0 if self._recovered else self._journals.recover(now)
        self._recovered = True
        return removed

    def _sweep(self, now: float) -> int:
        if time.monotonic() < self._sweep_after:
            return 0
        removed = self._journals.sweep(now, all_files=not self._swept)
        self._sweep_after, self._swept = time.monotonic() + _LOOK_AGAIN_S, True
        return removed

    def _file_batch(self, now: float) -> int:
        with self._database.read() as tx:
            waiting = self._index.unfiled(tx, self._batch)
        self._waiting = bool(waiting)
        if not waiting:
            return 0
        # Reading, hashing and linking happen outside the transaction: nobody need wait for them.
        arrivals, unreadable, refused = self._read(waiting)
        done = [*(one.received for one in arrivals), *(one.received for one in unreadable), *refused]
        with self._database.read() as tx:
            known = self._index.known(tx, [one.header.sop_instance_uid for one in arrivals])
        linked = self._link([one for one in arrivals if one.header.sop_instance_uid not in known])
        faults.reach("intake.linked")
        with self._database.begin() as tx:
            conflicts = self._enter(tx, arrivals, linked, now)
            self._index.quarantine(tx, [*unreadable, *conflicts], now)
            self._index.forget(tx, refused)
        faults.reach("intake.committed")
        for received in done:
            if str(received.path).startswith(self._spool):
                _unlink(received.path)
                faults.reach("intake.unlinked")
        for one in (*unreadable, *conflicts):
            log.error(
                "instance_quarantined", file=one.path.name, reason=one.reason, association=one.received.association_id
            )
        log.debug("files_filed", files=len(done), quarantined=len(unreadable) + len(conflicts), refused=len(refused))
        return len(done)

    def _read(self, waiting: Sequence[Received]) -> tuple[list[Arrival], list[Quarantined], list[Received]]:
        """Headers of those that have one, the others set aside, and those that the disk refused after all.

        What the disk does not give now is left for later.
        """
        arrivals: list[Arrival] = []
        unreadable: list[Quarantined] = []
        refused: list[Received] = []
        trouble = None
        for received in waiting:
            try:
                found = _header(received)
            except NodeError as problem:
                trouble = problem
                continue
            if isinstance(found, str) and self._journals.taken_back(received.path):
                refused.append(received)
            elif isinstance(found, str):
                unreadable.append(self._set_aside(received, found))
            else:
                place = FileRef(self._store.path(found.sop_instance_uid))
                arrivals.append(Arrival(received, replace(found, file=place)))
        if trouble is not None:
            if not arrivals and not unreadable and not refused:
                raise trouble
            log.error("file_not_read", code=trouble.code, error=str(trouble))
        return arrivals, unreadable, refused

    def _link(self, arrivals: Sequence[Arrival]) -> set[str]:
        """Give instances that the index does not know their place; of two with one name the first has it."""
        linked: dict[str, Path] = {}
        for one in arrivals:
            uid = one.header.sop_instance_uid
            if uid not in linked:
                linked[uid] = self._store.link(one.received.path, uid)
        self._store.sync(linked.values())
        return set(linked)

    def _enter(self, tx: Connection, arrivals: Sequence[Arrival], linked: set[str], now: float) -> list[Quarantined]:
        """File in the index; returns those that conflict with what is filed."""
        conflicts = []
        for one, filing in zip(arrivals, self._index.file(tx, arrivals, now), strict=True):
            uid = one.header.sop_instance_uid
            if filing is Filing.CONFLICT:
                reason = f"SOP Instance UID {uid} is already archived with other content"
                conflicts.append(self._set_aside(one.received, reason))
            elif uid not in linked and (filing is Filing.NEW or not self._store.holds(uid)):
                # Retention took the instance away between our look and this transaction, or its file is lost.
                self._store.place(one.received.path, uid)
        return conflicts

    def _set_aside(self, received: Received, reason: str) -> Quarantined:
        path = self._quarantine / received.path.name
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            if received.path.exists() and not path.exists():
                os.link(received.path, path)
            sync_folder(self._quarantine)
        except OSError as problem:
            raise storage_error(problem, path) from problem
        return Quarantined(received, path, reason)

    def _time_to_look(self, now: float) -> bool:
        """Whether somebody may have settled though nothing came; a clock that was set back must not put it off."""
        return time.monotonic() >= self._look_after or (self._settles_at is not None and now >= self._settles_at)

    def _route_one(self, now: float) -> int:
        # One transaction for both, so that no instance newer than the generation gets into the jobs.
        with self._database.read() as tx:
            patient = next(iter(self._index.settled_patients(tx, self._quiet_s, now, limit=1)), None)
            self._settles_at = self._index.next_settling(tx, self._quiet_s, now)
            self._look_after = time.monotonic() + _LOOK_AGAIN_S
            series = [] if patient is None else self._index.series_of_patient(tx, patient.patient_key)
        if patient is None:
            self._calm_clock(now)
            return 0
        jobs, explanations = self._planned(series)
        self._submit(patient, jobs, explanations, now)
        self._look_after = 0.0
        return 1

    def _calm_clock(self, now: float) -> None:
        """After the clock was set back, quiet periods begin again rather than last until it has caught up."""
        if self._settles_at is not None and self._settles_at > now + self._quiet_s + _LOOK_AGAIN_S:
            with self._database.begin() as tx:
                calmed = self._index.calm_clock(tx, now)
            log.warning("clock_set_back", patients=calmed)
            self._settles_at = now + self._quiet_s

    def _planned(self, series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        try:
            return self._plan(series)
        except LedgerError:
            raise
        except Exception as problem:  # noqa: BLE001  one patient that routing trips over must not stop the others
            log.error("routing_failed", code=type(problem).__name__, series=len(series))
            reason = f"routing failed: {problem if isinstance(problem, NodeError) else type(problem).__name__}"
            explanations = [
                {
                    "series_instance_uid": s.series_instance_uid,
                    "taken": False,
                    "rule": None,
                    "role": None,
                    "reasons": [reason],
                }
                for s in series
            ]
            return [], explanations

    def _submit(
        self, patient: Settled, jobs: Sequence[NewJob], explanations: Sequence[Mapping[str, object]], now: float
    ) -> None:
        with self._database.begin() as tx:
            jobs, explanations = without_shrunk(tx, self._index, self._ledger, jobs, explanations)
            submitted = [self._ledger.submit(tx, job, now) for job in jobs]
            # The generation that was read, not the newest: what came since is routed again after its own quiet period.
            self._index.mark_routed(tx, patient.patient_key, patient.generation, explanations, now)
            faults.reach("intake.submitted")
        faults.reach("intake.routed")
        if any(submitted):
            self._submitted()
        for job in submitted:
            if job is not None:
                log.info("job_submitted", job=job.id, route=job.route, corrector=job.corrector, version=job.version)
        log.info("patient_routed", series=len(explanations), jobs=sum(job is not None for job in submitted))


def _header(received: Received) -> InstanceHeader | str:
    """The header of a received file, or why there is none."""
    try:
        return read_header(FileRef(received.path))
    except InputError as problem:
        return str(problem)
    except NodeError:
        raise
    except Exception as problem:  # noqa: BLE001  one poisonous file must not stop every file behind it
        return f"{received.path.name}: the header reader failed ({type(problem).__name__})"


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        raise storage_error(problem, path) from problem
