"""Versions of one set: which is newest, which one a version supersedes."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dicom_node.jobs import tables as t
from dicom_node.jobs.states import JobState
from dicom_node.jobs.transitions import move_job


def newest_version(tx: Connection, set_key: str) -> str:
    """Id of the newest job of a set that has at least one."""
    row = t.jobs.c
    newest = select(row.id).where(row.set_key == set_key).order_by(row.version.desc()).limit(1)
    return str(tx.execute(newest).scalar_one())


def predecessor(tx: Connection, set_key: str, version: int) -> str | None:
    """Id of the latest job before `version` that has outputs."""
    row = t.jobs.c
    return tx.execute(
        select(row.id)
        .where(row.set_key == set_key, row.version < version, row.derived_token.is_not(None))
        .order_by(row.version.desc())
        .limit(1)
    ).scalar_one_or_none()


def supersede(tx: Connection, old: str, new: str, now: float) -> None:
    """Cancel a queued job because a newer version took its place; one that is leased meanwhile is left to finish."""
    why = f"superseded by job {new}"
    values = {"reason": why}
    move_job(tx, old, JobState.QUEUED, JobState.CANCELLED, now, code="Superseded", message=why, values=values)
