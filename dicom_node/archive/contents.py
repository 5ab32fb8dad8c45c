"""Which patients and studies the archive holds, page by page. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, func, select, true

from dicom_node.archive import tables as t


def count_patients(tx: Connection, studies: Collection[str] = ()) -> int:
    """How many patients have studies, or any of these studies (Study Instance UIDs)."""
    row = t.studies.c
    return int(tx.execute(select(func.count(row.patient_key.distinct())).where(_chosen(studies))).scalar_one())


def patients_after(tx: Connection, after: str, limit: int, studies: Collection[str] = ()) -> Sequence[str]:
    """The next patient keys in their order.

    Args:
        tx: a read transaction.
        after: the last key of the page before; empty for the first page.
        limit: most of them.
        studies: only patients with any of these studies; all without.
    """
    row = t.studies.c
    page = select(row.patient_key).where(row.patient_key > after, _chosen(studies)).distinct()
    return list(tx.execute(page.order_by(row.patient_key).limit(limit)).scalars())


def unknown_studies(tx: Connection, studies: Collection[str]) -> list[str]:
    """Those of the studies that the archive does not hold."""
    row = t.studies.c.study_instance_uid
    held = set(tx.execute(select(row).where(row.in_(sorted(studies)))).scalars())
    return sorted(set(studies) - held)


def _chosen(studies: Collection[str]) -> ColumnElement[bool]:
    return t.studies.c.study_instance_uid.in_(sorted(studies)) if studies else true()
