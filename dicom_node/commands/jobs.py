"""`dicom-node jobs`: the ledger, read and steered by the operator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import Config, load_config
from dicom_node.database.engine import Database
from dicom_node.errors import RequestError
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import Job
from dicom_node.jobs.states import JobState

app = typer.Typer(no_args_is_help=True, help="List, show, retry and cancel jobs.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="DICOM_NODE_CONFIG", help="The node's configuration; else the defaults (./var)."),
]
JobArgument = Annotated[str, typer.Argument(help="Job id, or enough of its beginning.")]


@app.command("list")
def list_jobs(
    config: ConfigOption = None,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    output = Output(as_json)
    with _ledger(config) as (database, ledger), database.read() as tx:
        jobs = ledger.find(tx, state=state, limit=limit)
    output.document({"jobs": [_summary(job) for job in jobs]})
    rows = [
        [j.id[:12], j.state, j.corrector, j.method, j.version, j.attempts, _when(j.updated_at), _why(j)] for j in jobs
    ]
    output.table("Jobs", ["id", "state", "corrector", "method", "version", "attempts", "updated", "why"], rows)


@app.command("show")
def show(job_id: JobArgument, config: ConfigOption = None, as_json: JsonFlag = False) -> None:
    """Show one job: its inputs, outputs, deliveries and history."""
    output = Output(as_json)
    with _ledger(config) as (database, ledger), database.read() as tx:
        job = ledger.get(tx, _full_id(ledger, tx, job_id))
        events = ledger.events(tx, job.id)
        deliveries = ledger.deliveries(tx, job.id)
    output.document(
        {
            **_summary(job),
            "parameters": dict(job.parameters),
            "route": job.route,
            "input_digest": job.input_digest,
            "source_series": sorted({i.series_instance_uid for i in job.inputs}),
            "inputs": len(job.inputs),
            "outputs": [
                {"role": o.role, "series_instance_uid": o.series_instance_uid, "instances": len(o.instances)}
                for o in job.outputs
            ],
            "deliveries": [
                {
                    "peer": d.peer,
                    "state": str(d.state),
                    "attempts": d.attempts,
                    "sent": len(d.statuses),
                    "verified": d.verified,
                    "error": d.error,
                }
                for d in deliveries
            ],
            "events": [
                {
                    "at": _when(e.at),
                    "peer": e.peer,
                    "from": e.origin,
                    "to": e.target,
                    "code": e.code,
                    "message": e.message,
                }
                for e in events
            ],
        }
    )
    output.line(f"job {job.id}: {job.state}, {job.corrector} {job.method}, version {job.version}, route {job.route}")
    output.table(
        "Outputs",
        ["role", "series", "images"],
        [[o.role, o.series_instance_uid, len(o.instances)] for o in job.outputs],
    )
    output.table(
        "Deliveries",
        ["peer", "state", "attempts", "sent", "verified", "error"],
        [[d.peer, d.state, d.attempts, len(d.statuses), d.verified or "-", d.error or "-"] for d in deliveries],
    )
    output.table(
        "History",
        ["when", "from", "to", "what"],
        [
            [_when(e.at), f"{e.peer} {e.origin}" if e.peer else e.origin or "-", e.target, e.message or e.code]
            for e in events
        ],
    )


@app.command("retry")
def retry(job_id: JobArgument, config: ConfigOption = None, as_json: JsonFlag = False) -> None:
    """Put a job that ended without success back into the queue, with a fresh attempt budget."""
    _steer(job_id, config, as_json, "retry")


@app.command("cancel")
def cancel(job_id: JobArgument, config: ConfigOption = None, as_json: JsonFlag = False) -> None:
    """Cancel a job that has not begun, or the deliveries of one that has; or give up one that is dead."""
    _steer(job_id, config, as_json, "cancel")


def _steer(job_id: str, config: Path | None, as_json: bool, verb: str) -> None:
    output = Output(as_json)
    with _ledger(config) as (database, ledger), database.begin() as tx:
        full = _full_id(ledger, tx, job_id)
        job = ledger.retry(tx, full, time.time()) if verb == "retry" else ledger.cancel(tx, full, time.time())
    output.document(_summary(job))
    output.line(f"job {job.id} is now {job.state}")


@contextmanager
def _ledger(path: Path | None) -> Iterator[tuple[Database, JobLedger]]:
    config = load_config(path) if path else Config()
    if config.node.database == "sqlite" and not (config.node.data_dir / "node.sqlite").exists():
        raise RequestError(
            f"there is no ledger in {config.node.data_dir} yet: has the node run with this configuration?"
        )
    with closing(open_database(config)) as database:
        yield database, make_ledger(config)


def _full_id(ledger: JobLedger, tx: Connection, start: str) -> str:
    matches = ledger.ids_starting_with(tx, start)
    if len(matches) != 1:
        raise RequestError(f"{'no job' if not matches else 'more than one job'} has an id that begins with {start!r}")
    return matches[0]


def _summary(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "state": str(job.state),
        "corrector": job.corrector,
        "method": job.method,
        "version": job.version,
        "supersedes": job.supersedes,
        "attempts": job.attempts,
        "created": _when(job.created_at),
        "updated": _when(job.updated_at),
        "reason": job.reason,
        "error_code": job.error_code,
        "error": job.error,
    }


def _why(job: Job) -> str:
    return job.error or job.reason or ""


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
