"""What must be true of a node after everything that a soak run did to it."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from peers import Orthanc
from pydicom import dcmread
from soak_node import FaultyNode
from soak_study import Study, data_set_of
from sqlalchemy.exc import DBAPIError

_ENDED = ("DELIVERED", "CANCELLED")


@dataclass(frozen=True)
class Sent:
    """A series, and what the node acknowledged of it."""

    study: Study
    acknowledged: frozenset[str]


def unrest(one: FaultyNode, sent: Sequence[Sent], *, keeping: bool = False) -> str:
    """Why the node is not at rest yet, empty when it is: nothing waits in spool, ledger or outbox.

    Args:
        one: the node.
        sent: what it was sent.
        keeping: whether what is delivered, and what cannot be read, leaves it.
    """
    counts = {
        "instances not yet filed": "SELECT count(*) FROM received",
        "associations open": "SELECT count(*) FROM associations WHERE closed_at IS NULL",
        "patients not routed": "SELECT count(*) FROM patients WHERE generation > routed_generation",
        "jobs not ended": "SELECT count(*) FROM jobs WHERE state IN ('QUEUED', 'LEASED', 'DERIVED')",
        "deliveries not ended": "SELECT count(*) FROM deliveries WHERE state IN ('PENDING', 'LEASED')",
    }
    if one.dead:
        return "the node is down"
    try:
        for what, query in counts.items():
            if number := one.query(query)[0][0]:
                return f"{number} {what}"
    except DBAPIError as problem:  # not made yet, or away
        return f"no ledger: {problem.orig}"
    known = {uid for (uid,) in one.query("SELECT sop_instance_uid FROM instances")}
    if keeping:
        waiting = len(known) + one.query("SELECT count(*) FROM quarantine")[0][0]
        if waiting:
            return f"{waiting} instances and quarantined files have not left"
        known = set().union(*(job.inputs for job in _jobs(one)))
    for each in sent:
        if each.study.readable and (missing := each.acknowledged - known):
            return f"{len(missing)} acknowledged instances of {each.study.patient_id} unknown"
    return _spool_unrest(one.data_dir / "spool")


def _spool_unrest(spool: Path) -> str:
    """Only living receivers have something in the spool: an open journal and a lock, no files."""
    if files := list((spool / "files").iterdir()):
        return f"{len(files)} files in the spool, e.g. {files[0].name}"
    locks = {path.stem for path in (spool / "locks").iterdir()}
    journals = {path.stem.partition("-")[0] for path in (spool / "journals").iterdir()}
    living = {token for token in locks if _is_held(spool / "locks" / f"{token}.lock")}
    if strangers := sorted((locks | journals) - living):
        return f"journals or locks of receivers that are gone: {strangers}"
    return ""


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as handle:
            # Shared, and for an instant: a sweeper that meets it comes again.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def check(one: FaultyNode, pacs: Orthanc, sent: Sequence[Sent], *, keeping: bool = False) -> None:
    """Everything about a node that is at rest.

    Args:
        one: the node.
        pacs: its destination.
        sent: what it was sent.
        keeping: whether what is delivered, and what cannot be read, has left it.

    Raises:
        AssertionError: says what is wrong.
    """
    archived = _check_archive(one, [each for each in sent if each.study.readable], keeping)
    _check_quarantine(one, [each for each in sent if not each.study.readable], keeping)
    _check_outbox(one)
    for each in sent:
        _check_derived(one, pacs, each, None if keeping else archived & each.study.uids)
    assert "Traceback" not in one.log(), "a traceback in the node's log"


def _check_archive(one: FaultyNode, sent: Sequence[Sent], keeping: bool) -> set[str]:
    """Every acknowledged instance once, byte for byte, and nothing besides; returns what is there."""
    original = {i.sop_instance_uid: i for each in sent for i in each.study.instances}
    rows = one.query("SELECT sop_instance_uid, path, sha256 FROM instances")
    known = {uid for uid, _, _ in rows}
    assert len(known) == len(rows)
    for each in sent:
        missing = each.acknowledged - known
        assert keeping or not missing, f"{each.study.patient_id}: {len(missing)} acknowledged are not in the archive"
    assert known <= original.keys(), "an instance that nobody sent"
    for uid, path, sha256 in rows:
        file = one.data_dir / path
        assert data_set_of(file) == original[uid].data_set, f"{file} is not what was sent"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256, f"{file} is not what the index says"
    files = {p for p in (one.data_dir / "archive").rglob("*") if p.is_file()}
    strays = files - {one.data_dir / path for _, path, _ in rows}
    assert not strays, f"files in the archive that no row names: {sorted(p.name for p in strays)}"
    return known


def _check_quarantine(one: FaultyNode, sent: Sequence[Sent], keeping: bool) -> None:
    """What cannot be read was acknowledged too: it lies in quarantine, as often as it was acknowledged or more."""
    rows = one.query("SELECT path, reason FROM quarantine")
    files = {p for p in (one.data_dir / "quarantine").glob("*") if p.is_file()}
    assert files == {one.data_dir / path for path, _ in rows}, "quarantined files and their rows differ"
    content = [data_set_of(file) for file in files]
    poison = {instance.data_set for each in sent for instance in each.study.instances}
    assert set(content) <= poison, f"quarantined: {rows}"
    for each in sent:
        there = {i.sop_instance_uid for i in each.study.instances if i.data_set in content}
        assert keeping or each.acknowledged <= there, f"{each.study.patient_id}: acknowledged and gone"


def _check_outbox(one: FaultyNode) -> None:
    outbox = one.data_dir / "outbox"
    for folder in outbox.iterdir() if outbox.is_dir() else ():
        assert not folder.name.startswith("."), f"a working folder was left: {folder.name}"
        manifest = json.loads((folder / "manifest.json").read_text())
        named = {name for series in manifest["series"] for name in series["instances"]} | {"manifest.json"}
        present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert present == named, f"{folder.name}: {sorted(present ^ named)}"


def _check_derived(one: FaultyNode, pacs: Orthanc, sent: Sent, archived: set[str] | None) -> None:
    """The newest job is made of all that was archived; every job that was delivered is in the PACS, once and whole.

    Where the archive is empty again (None) it is made of all that was acknowledged at least.
    """
    name = sent.study.patient_id
    jobs = [job for job in _jobs(one) if job.inputs & sent.study.uids]
    stuck = [(job.state, job.error) for job in jobs if job.state not in _ENDED]
    assert not stuck, f"{name}: jobs {stuck}"
    delivered = [job for job in jobs if job.state == "DELIVERED"]
    if sent.study.readable and (archived or sent.acknowledged):
        assert jobs, f"{name}: no job"
        newest = max(jobs, key=lambda job: job.version)
        assert newest.state == "DELIVERED", f"{name}: version {newest.version} is {newest.state}"
        assert newest.inputs == archived or (archived is None and newest.inputs >= sent.acknowledged), (
            f"{name}: made of {len(newest.inputs)} instances, {len(sent.acknowledged)} acknowledged"
        )
    expected = {uid: series for job in delivered for series, uids in job.outputs.items() for uid in uids}
    present = {(entry["MainDicomTags"]["SOPInstanceUID"], entry["ID"]) for entry in pacs.instances_of(name)}
    assert {uid for uid, _ in present} == set(expected), (
        f"{name}: {len(present)} instances in the PACS, {len(expected)} derived"
    )
    assert len(present) == len(expected), f"{name}: an instance is twice in the PACS"
    pixels = sent.study.corrected()
    content: dict[str, list[bytes]] = {}
    for uid, key in present:
        dataset = dcmread(BytesIO(pacs.get_bytes(f"/instances/{key}/file")))
        assert str(dataset.SOPInstanceUID) == uid
        assert str(dataset.SeriesInstanceUID) == expected[uid]
        content.setdefault(expected[uid], []).append(dataset.PixelData)
    for job in delivered:
        for series in job.outputs:
            assert sorted(content[series]) == sorted(pixels[uid] for uid in job.inputs), f"{name}: wrong pixels"


@dataclass(frozen=True)
class _Job:
    state: str
    version: int
    error: str | None
    inputs: set[str]
    outputs: dict[str, list[str]]


def _jobs(one: FaultyNode) -> list[_Job]:
    rows = one.query(
        "SELECT state, version, error, inputs, outputs FROM jobs JOIN job_documents ON job_documents.job_id = jobs.id"
    )
    return [
        _Job(
            state,
            version,
            error,
            {item[1] for item in json.loads(inputs)},
            {uid: [instance[0] for instance in instances] for _, uid, _, instances in json.loads(outputs)},
        )
        for state, version, error, inputs, outputs in rows
    ]
