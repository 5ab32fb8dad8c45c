"""`ArchiveIndex`: what came in, what lies in the archive, and whose images have come to rest.

All methods take a connection from `Database.begin()` (those that change something) or `Database.read()`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, or_, select, update

from dicom_node.archive import tables as t
from dicom_node.archive.filing import FilingIndex
from dicom_node.archive.model import Settled
from dicom_node.contracts.headers import FileRef, InstanceHeader, SeriesView
from dicom_node.contracts.volume import TagValue
from dicom_node.database.totals import read_totals
from dicom_node.database.values import StoredPaths, dump, load

_MOST_AT_ONCE = 500


class ArchiveIndex(FilingIndex):
    """Stateless; paths under `data_dir` are stored relative to it, so that the folder can be moved."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(StoredPaths(data_dir))

    def settled_patients(self, tx: Connection, quiet_s: float, now: float, limit: int | None = None) -> list[Settled]:
        """Patients with new instances whose images have come to rest, who waits longest first; all without a limit.

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
            .limit(limit)
        )
        return [Settled(r.patient_key, r.generation) for r in rows]

    def next_settling(self, tx: Connection, quiet_s: float, now: float) -> float | None:
        """When [UTC, s] the next quiet period of a patient ends that runs now; None when none does."""
        row = t.patients.c.waiting_since
        since = tx.execute(select(func.min(row)).where(row > now - quiet_s)).scalar_one()
        return None if since is None else float(since) + quiet_s

    def calm_clock(self, tx: Connection, now: float) -> int:
        """Let quiet periods that begin in the future (the clock was set back) begin now. Returns how many."""
        row = t.patients.c
        ahead = update(t.patients).where(row.waiting_since > now).values(waiting_since=now, last_arrival=now)
        return int(tx.execute(ahead).rowcount)

    def series_of_patient(self, tx: Connection, patient_key: str) -> list[SeriesView]:
        """All series of a patient in order of first arrival, the node's own output among them (flagged).

        What retention is taking away is not among them.
        """
        one = t.instances.c
        rows = tx.execute(
            select(t.instances).where(one.patient_key == patient_key, one.leaving_since.is_(None)).order_by(one.id)
        )
        groups: dict[tuple[str, str], list[InstanceHeader]] = {}
        for row in rows:
            header = self._header(row)
            groups.setdefault((header.study_instance_uid, header.series_instance_uid), []).append(header)
        return [SeriesView(study, uid, patient_key, tuple(members)) for (study, uid), members in groups.items()]

    def instances(self, tx: Connection, sop_instance_uids: Collection[str]) -> list[InstanceHeader]:
        """Those of these instances that are in the archive, as they were received."""
        row, wanted = t.instances.c, sorted(set(sop_instance_uids))
        found: list[InstanceHeader] = []
        for at in range(0, len(wanted), _MOST_AT_ONCE):
            some = select(t.instances).where(row.sop_instance_uid.in_(wanted[at : at + _MOST_AT_ONCE]))
            found.extend(self._header(one) for one in tx.execute(some))
        return found

    def instances_of_series(self, tx: Connection, series_instance_uid: str) -> list[InstanceHeader]:
        """Every instance that names this series, in order of arrival."""
        one, named = t.instances.c, t.series.c
        patients = select(named.patient_key).where(named.series_instance_uid == series_instance_uid)
        rows = tx.execute(
            select(t.instances)
            .where(one.patient_key.in_(patients), one.series_instance_uid == series_instance_uid)
            .order_by(one.id)
        )
        return [self._header(row) for row in rows]

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
        """How many instances, series, patients, unfiled, quarantined and open_associations there are.

        Costs grow with what waits, not with what there is.
        """
        totals = read_totals(tx)
        found = {name: totals.get(name, 0) for name in ("instances", "series", "patients", "quarantined")}
        queues = {
            "unfiled": select(func.count()).select_from(t.received),
            "open_associations": select(func.count()).where(t.associations.c.closed_at.is_(None)),
        }
        return found | {name: int(tx.execute(query).scalar_one()) for name, query in queues.items()}

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
