"""The index's second half: received instances become instances of the archive, many in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from dicom_node.archive import tables as t
from dicom_node.archive.model import Arrival, Filing
from dicom_node.archive.receiving import ReceivingIndex
from dicom_node.database.statements import insert, serialise
from dicom_node.database.values import dump

FILING: Final = "filing"
"""Name of the lock (see `serialise`) of those who change which instances there are."""
_MOST_AT_ONCE = 500


class FilingIndex(ReceivingIndex):
    """Instances, and what they say about their series and patients."""

    def known(self, tx: Connection, sop_instance_uids: Collection[str]) -> dict[str, str]:
        """Digest of each of these instances that is filed, by SOP Instance UID."""
        row, wanted = t.instances.c, sorted(set(sop_instance_uids))
        found: dict[str, str] = {}
        for at in range(0, len(wanted), _MOST_AT_ONCE):
            some = row.sop_instance_uid.in_(wanted[at : at + _MOST_AT_ONCE])
            found.update(
                (r.sop_instance_uid, r.sha256) for r in tx.execute(select(row.sop_instance_uid, row.sha256).where(some))
            )
        return found

    def absent(self, tx: Connection, sop_instance_uids: Collection[str]) -> set[str]:
        """Those of the instances that are not in the archive, or about to leave it."""
        row, wanted = t.instances.c, sorted(set(sop_instance_uids))
        present: set[str] = set()
        for at in range(0, len(wanted), _MOST_AT_ONCE):
            some = row.sop_instance_uid.in_(wanted[at : at + _MOST_AT_ONCE])
            present.update(tx.execute(select(row.sop_instance_uid).where(some, row.leaving_since.is_(None))).scalars())
        return set(wanted) - present

    def file(self, tx: Connection, arrivals: Sequence[Arrival], now: float) -> list[Filing]:
        """Enter received instances; `header.file` is the place of each in the archive.

        Only NEW raises the patient's generation. The received row of a CONFLICT stays: quarantine it. A DUPLICATE that
        retention was about to take away stays after all.

        Returns:
            What became of each, in order.

        Raises:
            LedgerError: one is not waiting to be filed.
        """
        serialise(tx, FILING)
        known = self.known(tx, [one.header.sop_instance_uid for one in arrivals])
        filings = []
        for one in arrivals:
            before = known.setdefault(one.header.sop_instance_uid, "")
            if not before:
                known[one.header.sop_instance_uid] = one.header.sha256
                filings.append(Filing.NEW)
            else:
                filings.append(Filing.DUPLICATE if before == one.header.sha256 else Filing.CONFLICT)
        entered = [
            (one, filing) for one, filing in zip(arrivals, filings, strict=True) if filing is not Filing.CONFLICT
        ]
        new = [one for one, filing in entered if filing is Filing.NEW]
        self._take(tx, [one.received.id for one, _ in entered])
        # patients come first: instances and series refer to them
        self._raise_patients(tx, entered, now)
        self._add_instances(tx, new)
        self._keep(tx, [one.header.sop_instance_uid for one, filing in entered if filing is Filing.DUPLICATE])
        self._count_series(tx, new)
        self._note_studies(tx, [one for one, _ in entered], now)
        if senders := {(one.header.patient_key, one.received.association_id) for one, _ in entered}:
            tx.execute(
                insert(tx, t.association_patients).on_conflict_do_nothing(),
                [{"patient_key": key, "association_id": association} for key, association in sorted(senders)],
            )
        return filings

    def _raise_patients(self, tx: Connection, entered: Sequence[tuple[Arrival, Filing]], now: float) -> None:
        raised: Counter[str] = Counter()
        latest: dict[str, float] = {}
        for one, filing in entered:
            key = one.header.patient_key
            raised[key] += filing is Filing.NEW
            # a clock that was set back must not keep the patient waiting until it has caught up
            latest[key] = max(latest.get(key, 0.0), min(one.received.received_at, now))
        if not latest:
            return
        row = t.patients.c
        one_patient = insert(tx, t.patients)
        added = one_patient.on_conflict_do_update(
            index_elements=["patient_key"],
            set_={
                "generation": row.generation + one_patient.excluded.generation,
                "last_arrival": _later(tx, row.last_arrival, one_patient.excluded.last_arrival),
            },
        )
        keys = sorted(latest)
        tx.execute(
            added,
            [
                {"patient_key": key, "generation": raised[key], "routed_generation": 0, "last_arrival": latest[key]}
                for key in keys
            ],
        )
        waits = update(t.patients).where(row.patient_key == bindparam("key"), row.generation > row.routed_generation)
        tx.execute(waits.values(waiting_since=row.last_arrival), [{"key": key} for key in keys])

    def _add_instances(self, tx: Connection, new: Sequence[Arrival]) -> None:
        if new:
            tx.execute(t.instances.insert(), [self._row(one) for one in new])

    def _row(self, one: Arrival) -> dict[str, Any]:
        header = one.header
        return {
            "sop_instance_uid": header.sop_instance_uid,
            "sop_class_uid": header.sop_class_uid,
            "series_instance_uid": header.series_instance_uid,
            "study_instance_uid": header.study_instance_uid,
            "transfer_syntax_uid": header.transfer_syntax_uid,
            "patient_key": header.patient_key,
            "tags": dump(dict(header.tags)),
            "path": self._paths.store(header.file.path),
            "member": header.file.member,
            "sha256": header.sha256,
            "own_output": header.own_output,
            "association_id": one.received.association_id,
            "received_at": one.received.received_at,
        }

    def _keep(self, tx: Connection, sop_instance_uids: Sequence[str]) -> None:
        row = t.instances.c
        for at in range(0, len(sop_instance_uids), _MOST_AT_ONCE):
            some = row.sop_instance_uid.in_(sop_instance_uids[at : at + _MOST_AT_ONCE])
            tx.execute(update(t.instances).where(some, row.leaving_since.is_not(None)).values(leaving_since=None))

    def _count_series(self, tx: Connection, new: Sequence[Arrival]) -> None:
        counted = Counter(
            (one.header.series_instance_uid, one.header.patient_key, one.header.study_instance_uid) for one in new
        )
        if not counted:
            return
        one_series = insert(tx, t.series)
        added = one_series.on_conflict_do_update(
            index_elements=["series_instance_uid", "patient_key", "study_instance_uid"],
            set_={"instances": t.series.c.instances + one_series.excluded.instances},
        )
        tx.execute(
            added,
            [
                {"series_instance_uid": series, "patient_key": patient, "study_instance_uid": study, "instances": count}
                for (series, patient, study), count in sorted(counted.items())
            ],
        )

    def _note_studies(self, tx: Connection, entered: Sequence[Arrival], now: float) -> None:
        latest: dict[tuple[str, str], float] = {}
        for one in entered:
            key = (one.header.patient_key, one.header.study_instance_uid)
            latest[key] = max(latest.get(key, 0.0), min(one.received.received_at, now))
        if not latest:
            return
        one_study = insert(tx, t.studies)
        row, added = t.studies.c.last_arrival, one_study.excluded.last_arrival
        noted = one_study.on_conflict_do_update(
            index_elements=["patient_key", "study_instance_uid"], set_={"last_arrival": _later(tx, row, added)}
        )
        tx.execute(
            noted,
            [
                {"patient_key": patient, "study_instance_uid": study, "last_arrival": at}
                for (patient, study), at in sorted(latest.items())
            ],
        )


def _later(tx: Connection, one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    """The later of two times."""
    return func.max(one, other) if tx.dialect.name == "sqlite" else func.greatest(one, other)
