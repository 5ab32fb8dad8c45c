"""No correction of the rest: a set of images that has lost some is not corrected anew for the one that came late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from dicom_node import logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import NewJob

log = logs.get("net.shrunk")

Explanations = Sequence[Mapping[str, object]]


def without_shrunk(
    tx: Connection, index: ArchiveIndex, ledger: JobLedger, jobs: Sequence[NewJob], explanations: Explanations
) -> tuple[list[NewJob], list[Mapping[str, object]]]:
    """Leave out jobs whose set was larger before, because images of it have left the archive since.

    Late images make a new version, which says that it replaces the one before. Once retention has deleted the others, a
    late image alone would make a version of one image. A set that a rule has made smaller is another matter: its images
    are all still here.

    Args:
        tx: the transaction that submits the jobs.
        index: asked which images are still here.
        ledger: asked what the version before was made from.
        jobs: of one patient.
        explanations: one for each series.

    Returns:
        The jobs that may be submitted, and explanations that say why the others are not.
    """
    whole: list[NewJob] = []
    reasons: dict[str, list[tuple[NewJob, str]]] = {}
    for job in jobs:
        reason = _reason(tx, index, ledger, job)
        if reason is None:
            whole.append(job)
            continue
        log.warning("job_left_out", route=job.route, corrector=job.corrector, reason=reason)
        for uid in {one.series_instance_uid for one in job.inputs}:
            reasons.setdefault(uid, []).append((job, reason))
    working = {one.series_instance_uid for job in whole for one in job.inputs}
    return whole, [
        _with(one, reasons[uid], taken=uid in working)
        if (uid := str(one.get("series_instance_uid"))) in reasons
        else one
        for one in explanations
    ]


def _with(told: Mapping[str, object], left_out: Sequence[tuple[NewJob, str]], *, taken: bool) -> Mapping[str, object]:
    """The explanation of a series, with why jobs over it were left out."""
    known = told.get("reasons")
    before = list(known) if isinstance(known, list | tuple) and taken else []
    return {**told, "taken": taken, "reasons": before + [f"{job.route}: {reason}" for job, reason in left_out]}


def _reason(tx: Connection, index: ArchiveIndex, ledger: JobLedger, job: NewJob) -> str | None:
    before = ledger.newest_inputs(tx, job.set_key)
    if before is None:
        return None
    version, images = before
    lacking = images - {one.sop_instance_uid for one in job.inputs}
    gone = index.absent(tx, lacking) if lacking else set()
    if not gone:
        return None
    return (
        f"{len(gone)} of the {len(images)} images that version {version} was made from have left the archive since; "
        "send the series again, whole, to have it corrected"
    )
