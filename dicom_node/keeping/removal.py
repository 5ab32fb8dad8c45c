"""Instances whose file is gone or useless are taken out of the index, and their patients routed anew."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, select, update

from dicom_node.archive import tables as t
from dicom_node.archive.filing import FILING
from dicom_node.database.engine import Database
from dicom_node.database.statements import serialise
from dicom_node.keeping.leaving import forget


def take_out(database: Database, numbers: Sequence[int]) -> int:
    """Take instances out of the index; returns how many retention had not been about to take out anyway.

    Args:
        database: the index.
        numbers: row numbers.

    Raises:
        LedgerError: the database refused; it may be repeated.
    """
    row = t.instances.c
    with database.begin() as tx:
        serialise(tx, FILING)
        staying = select(row.patient_key).where(row.id.in_(numbers), row.leaving_since.is_(None))
        patients = list(tx.execute(staying).scalars())
        tx.execute(update(t.instances).where(row.id.in_(numbers)).values(leaving_since=0.0))
        forget(tx, numbers)
        for patient in sorted(set(patients)):
            _route_anew(tx, patient)
    return len(patients)


def _route_anew(tx: Connection, patient_key: str) -> None:
    """What is left of a patient waits for routing; a patient of whom nothing is left is forgotten."""
    row, one, link = t.patients.c, t.series.c, t.association_patients.c
    has_series = exists().where(one.patient_key == row.patient_key)
    raised = update(t.patients).where(row.patient_key == patient_key, has_series)
    tx.execute(raised.values(generation=row.generation + 1, waiting_since=row.last_arrival))
    gone = delete(t.patients).where(row.patient_key == patient_key, ~has_series)
    if tx.execute(gone).rowcount:
        tx.execute(delete(t.association_patients).where(link.patient_key == patient_key))
        tx.execute(delete(t.explanations).where(t.explanations.c.patient_key == patient_key))
