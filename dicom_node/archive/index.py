"""`ArchiveIndex`: what came in, what lies in the archive, and whose images have come to rest.

All methods take a connection from `Database.begin()` (those that change something) or `Database.read()`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, or_, select, update

from dicom_node.archive import tables as t
from dicom_node.archive.model import Filing, Received, Settled
from dicom_node.contracts.headers import FileRef, InstanceHeader, SeriesView
from dicom_node.contracts.volume import TagValue
from dicom_node.database.statements import insert
from dicom_node.database.values import StoredPaths, dump, load, short
from dicom_node.errors import LedgerError


class ArchiveIndex:
    """Stateless; paths under `data_dir` are stored relative to it, so that the folder can be moved."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self._paths = StoredPaths(data_dir)

    def open_association(
        self, tx: Connection, *, calling_ae: str, called_ae: str, address: str, receiver: str, now: float
    ) -> str:
        """Note a new association and return its id."""
        association_id = uuid.uuid4().hex
        tx.execute(
            t.associations.insert().values(
                id=association_id,
                calling_ae=short(calling_ae),
                called_ae=short(called_ae),
                address=short(address),
                receiver=receiver,
                opened_at=now,
            )
        )
        return association_id

    def close_association(self, tx: Connection, association_id: str, how: str, now: float) -> None:
        """Note its end: `released`, `aborted` or `lost`. Only the first end counts."""
        row = t.associations.c
        tx.execute(
            update(t.associations)
            .where(row.id == association_id, row.closed_at.is_(None))
            .values(closed_at=now, how=how)
        )

    def close_associations_of(self, tx: Connection, receiver: str, now: float) -> int:
        """The receiver process died: its open associations are lost. Returns how many."""
        row = t.associations.c
        result = tx.execute(
            update(t.associations)
            .where(row.receiver == receiver, row.closed_at.is_(None))
            .values(closed_at=now, how="lost")
        )
        return int(result.rowcount)

    def record_received(self, tx: Connection, received: Received) -> int:
        """Store the row that must be durable before the sender is told 0x0000; returns its number."""
        result = tx.execute(
            t.received.insert()
            .values(
                path=self._paths.store(received.path),
                association_id=received.association_id,
                received_at=received.received_at,
            )
            .returning(t.received.c.id)
        )
        return int(result.scalar_one())

    def unfiled(self, tx: Connection, limit: int) -> list[Received]:
        """Oldest received files that are neither filed nor quarantined."""
        rows = tx.execute(select(t.received).order_by(t.received.c.id).limit(limit))
        return [Received(r.id, self._paths.load(r.path), r.association_id, r.received_at) for r in rows]

    def file(self, tx: Connection, received_id: int, header: InstanceHeader, now: float) -> Filing:
        """Enter a received instance; `header.file` is its place in the archive.

        Only NEW raises the patient's generation. The received row is gone afterwards, whatever the answer.

        Raises:
            LedgerError: there is no such received row.
        """
        arrival = self._take(tx, received_id)
        when = min(arrival.received_at, now)
        # the patient comes first: instances and series refer to it, and its row lock orders concurrent filings
        tx.execute(
            insert(tx, t.patients)
            .values(patient_key=header.patient_key, generation=0, routed_generation=0, last_arrival=when)
            .on_conflict_do_nothing()
        )
        filing = self._enter(tx, header, arrival)
        patient = t.patients.c
        latest = (
            func.max(patient.last_arrival, when)
            if tx.dialect.name == "sqlite"
            else func.greatest(patient.last_arrival, when)
        )
        raised = 1 if filing is Filing.NEW else 0
        tx.execute(
            update(t.patients)
            .where(patient.patient_key == header.patient_key)
            .values(generation=patient.generation + raised, last_arrival=latest)
        )
        tx.execute(
            update(t.patients)
            .where(patient.patient_key == header.patient_key, patient.generation > patient.routed_generation)
            .values(waiting_since=patient.last_arrival)
        )
        tx.execute(
            insert(tx, t.association_patients)
            .values(patient_key=header.patient_key, association_id=arrival.association_id)
            .on_conflict_do_nothing()
        )
        return filing

    def quarantine(self, tx: Connection, received_id: int, path: Path, reason: str, now: float) -> None:
        """Note that a received file cannot be read and lies at `path` now.

        Raises:
            LedgerError: there is no such received row.
        """
        arrival = self._take(tx, received_id)
        tx.execute(
            t.quarantine.insert().values(
                path=self._paths.store(path),
                reason=short(reason),
                association_id=arrival.association_id,
                received_at=arrival.received_at,
                quarantined_at=now,
            )
        )

    def settled_patients(self, tx: Connection, quiet_s: float, now: float) -> list[Settled]:
        """Patients with new instances whose images have come to rest.

        Nothing of the patient arrived for `quiet_s` [s], no open association has sent anything of the patient, and no
        unfiled file arrived before that quiet period ended (it may be the patient's). Files that arrive later do not
        count: so a steady stream of other patients' images never holds this one back.
        """
        patient, association, link = t.patients.c, t.associations.c, t.association_patients.c
        unfiled = select(func.min(t.received.c.received_at)).scalar_subquery()
        still_sending = exists().where(
            link.patient_key == patient.patient_key,
            link.association_id == association.id,
            association.closed_at.is_(None),
        )
        rows = tx.execute(
            select(patient.patient_key, patient.generation)
            .where(
                patient.waiting_since <= now - quiet_s,
                or_(unfiled.is_(None), unfiled > patient.waiting_since + quiet_s),
                ~still_sending,
            )
            .order_by(patient.waiting_since)
        )
        return [Settled(r.patient_key, r.generation) for r in rows]

    def series_of_patient(self, tx: Connection, patient_key: str) -> list[SeriesView]:
        """All series of a patient in order of first arrival, the node's own output among them (flagged)."""
        rows = tx.execute(
            select(t.instances).where(t.instances.c.patient_key == patient_key).order_by(t.instances.c.id)
        )
        groups: dict[tuple[str, str], list[InstanceHeader]] = {}
        for row in rows:
            header = self._header(row)
            groups.setdefault((header.study_instance_uid, header.series_instance_uid), []).append(header)
        return [SeriesView(study, uid, patient_key, tuple(members)) for (study, uid), members in groups.items()]

    def mark_routed(
        self,
        tx: Connection,
        patient_key: str,
        generation: int,
        explanations: Sequence[Mapping[str, object]],
        now: float,
    ) -> None:
        """Note that routing has seen the patient up to `generation`; its explanations replace the earlier ones."""
        patient = t.patients.c
        tx.execute(
            update(t.patients)
            .where(patient.patient_key == patient_key, patient.routed_generation < generation)
            .values(routed_generation=generation)
        )
        tx.execute(
            update(t.patients)
            .where(patient.patient_key == patient_key, patient.generation <= patient.routed_generation)
            .values(waiting_since=None)
        )
        tx.execute(delete(t.explanations).where(t.explanations.c.patient_key == patient_key))
        if explanations:
            tx.execute(
                t.explanations.insert(),
                [
                    {
                        "patient_key": patient_key,
                        "series_instance_uid": str(one.get("series_instance_uid", "")),
                        "generation": generation,
                        "explained_at": now,
                        "document": dump(dict(one)),
                    }
                    for one in explanations
                ],
            )

    def explanations(self, tx: Connection, series_uid: str | None = None) -> list[dict[str, object]]:
        """The latest explanation of each series, or of one."""
        query = select(t.explanations.c.document).order_by(t.explanations.c.id)
        if series_uid is not None:
            query = query.where(t.explanations.c.series_instance_uid == series_uid)
        return [load(document) for document in tx.execute(query).scalars()]

    def counts(self, tx: Connection) -> dict[str, int]:
        """How many instances, series, patients, unfiled, quarantined and open_associations there are."""
        queries = {
            "instances": select(func.coalesce(func.sum(t.series.c.instances), 0)),
            "series": select(func.count()).select_from(t.series),
            "patients": select(func.count()).select_from(t.patients),
            "unfiled": select(func.count()).select_from(t.received),
            "quarantined": select(func.count()).select_from(t.quarantine),
            "open_associations": select(func.count()).where(t.associations.c.closed_at.is_(None)),
        }
        return {name: int(tx.execute(query).scalar_one()) for name, query in queries.items()}

    def _take(self, tx: Connection, received_id: int) -> Received:
        row = t.received.c
        gone = delete(t.received).where(row.id == received_id).returning(row.path, row.association_id, row.received_at)
        found = tx.execute(gone).one_or_none()
        if found is None:
            raise LedgerError(f"received file number {received_id} is not waiting to be filed")
        return Received(received_id, self._paths.load(found.path), found.association_id, found.received_at)

    def _enter(self, tx: Connection, header: InstanceHeader, arrival: Received) -> Filing:
        added = tx.execute(
            insert(tx, t.instances)
            .values(
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                series_instance_uid=header.series_instance_uid,
                study_instance_uid=header.study_instance_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                patient_key=header.patient_key,
                tags=dump(dict(header.tags)),
                path=self._paths.store(header.file.path),
                member=header.file.member,
                sha256=header.sha256,
                own_output=header.own_output,
                association_id=arrival.association_id,
                received_at=arrival.received_at,
            )
            .on_conflict_do_nothing()
            .returning(t.instances.c.id)
        ).one_or_none()
        if added is None:
            known = tx.execute(
                select(t.instances.c.sha256).where(t.instances.c.sop_instance_uid == header.sop_instance_uid)
            ).scalar_one()
            return Filing.DUPLICATE if known == header.sha256 else Filing.CONFLICT
        one = insert(tx, t.series).values(
            series_instance_uid=header.series_instance_uid,
            patient_key=header.patient_key,
            study_instance_uid=header.study_instance_uid,
            instances=1,
        )
        tx.execute(
            one.on_conflict_do_update(
                index_elements=["series_instance_uid", "patient_key", "study_instance_uid"],
                set_={"instances": t.series.c.instances + 1},
            )
        )
        return Filing.NEW

    def _header(self, row: Row[Any]) -> InstanceHeader:
        return InstanceHeader(
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            series_instance_uid=row.series_instance_uid,
            study_instance_uid=row.study_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            patient_key=row.patient_key,
            tags=_tags(row.tags),
            file=FileRef(self._paths.load(row.path), row.member),
            sha256=row.sha256,
            own_output=row.own_output,
        )


def _tags(document: str) -> Mapping[str, TagValue]:
    found = load(document)
    return MappingProxyType({key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})
