"""`dicom-node status`: how the node is, and what needs a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.status import read_state
from dicom_node.config import Config, load_config
from dicom_node.keeping.health import State, duration, problems
from dicom_node.keeping.milestones import Milestone
from dicom_node.keeping.survey import Survey

_STAGES: Final = {"filing": "to file", "routing": "to route", "correcting": "to correct", "sending": "to send"}
_NARROW: Final = 60
"""Longest text of a reason in a table."""


def status(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration.")],
    as_json: JsonFlag = False,
) -> None:
    """Show the node's processes, queues, peers, disk and quarantine. Exit status 1 when something needs a person."""
    output = Output(as_json)
    loaded = load_config(config)
    state = read_state(loaded, time.time())
    found = problems(state, loaded)
    output.document(_document(state, loaded, found))
    _print(output, state, loaded)
    for one in found:
        output.line(f"! {one}")
    if found:
        raise typer.Exit(1)
    output.line("nothing needs a person")


def _document(state: State, config: Config, found: Sequence[str]) -> dict[str, object]:
    processes = [vars(one) for one in state.processes] if state.processes is not None else None
    document: dict[str, object] = {
        "healthy": not found,
        "problems": list(found),
        "running": state.running,
        "processes": processes,
        "ledger": {"readable": state.survey is not None, "error": state.trouble},
        "disk": {
            "free_mb": round(state.free_mb),
            "min_free_mb": config.node.min_free_mb,
            "retention_below_mb": config.retention.start_below_free_mb,
        },
        "archive": {"bytes": state.archive_bytes},
    }
    return document if state.survey is None else document | _of_ledger(state, state.survey)


def _of_ledger(state: State, survey: Survey) -> dict[str, object]:
    counts = survey.counts
    return {
        "archive": {"bytes": state.archive_bytes}
        | {name: counts[name] for name in ("instances", "series", "patients")},
        "associations_open": counts["open_associations"],
        "unfiled": counts["unfiled"],
        "waiting_s": {stage: None if at is None else max(0.0, state.now - at) for stage, at in survey.oldest.items()},
        "jobs": survey.jobs,
        "deliveries": survey.deliveries,
        "dead": [vars(one) | {"at": _when(one.at)} for one in survey.dead],
        "peers": [
            {
                "peer": one.peer,
                "waiting": one.waiting,
                "oldest": None if one.oldest_at is None else _when(one.oldest_at),
                "unreachable_since": None if one.unreachable_since is None else _when(one.unreachable_since),
            }
            for one in survey.peers
        ],
        "quarantine": {
            "files": counts["quarantined"],
            "newest": [vars(one) | {"at": _when(one.at)} for one in survey.quarantine],
        },
        "retention": _milestone(survey.retention),
        "repair": _milestone(survey.repair),
    }


def _print(output: Output, state: State, config: Config) -> None:
    rows = [["node", "running" if state.running else "stopped"]]
    if state.processes is not None:
        ready = sum(one.ready for one in state.processes)
        restarts = sum(one.restarts for one in state.processes)
        rows.append(["processes", f"{ready} of {len(state.processes)} ready, {restarts} restarts"])
    below = config.retention.start_below_free_mb
    marks = f"refuses below {config.node.min_free_mb:g} MB" + (f", deletes below {below:g} MB" if below else "")
    rows.append(["disk", f"{state.free_mb:.0f} MB free; {marks}"])
    survey = state.survey
    if survey is None:
        rows.append(["ledger", "cannot be read"])
        output.table("Status", ["what", "state"], rows)
        return
    counts = survey.counts
    size = f"{state.archive_bytes / 1e9:.1f} GB"
    rows += [
        ["archive", f"{counts['instances']} images, {counts['series']} series, {counts['patients']} patients, {size}"],
        ["senders", f"{counts['open_associations']} associations open, {counts['unfiled']} images to file"],
        ["jobs", _states(survey.jobs)],
        ["deliveries", _states(survey.deliveries)],
        ["oldest", _oldest(state, survey)],
        ["quarantine", f"{counts['quarantined']} files"],
        ["retention", _last(survey.retention)],
        ["repair", _last(survey.repair)],
    ]
    output.table("Status", ["what", "state"], rows)
    _details(output, state, survey)


def _details(output: Output, state: State, survey: Survey) -> None:
    def ago(at: float | None) -> str:
        return "-" if at is None else duration(state.now - at)

    if survey.peers:
        rows = [[one.peer, one.waiting, ago(one.oldest_at), ago(one.unreachable_since)] for one in survey.peers]
        output.table("Peers that something waits for", ["peer", "waiting", "oldest", "unreachable for"], rows)
    if survey.dead:
        jobs = [[one.id[:12], one.corrector, ago(one.at), _short(one.why)] for one in survey.dead]
        output.table("Dead jobs", ["id", "corrector", "for", "why"], jobs)
    if survey.quarantine:
        files = [[ago(one.at), _short(one.reason)] for one in survey.quarantine]
        output.table("Newest in quarantine", ["for", "why"], files)


def _states(states: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in states.items() if number) or "none"


def _oldest(state: State, survey: Survey) -> str:
    parts = [f"{_STAGES[stage]}: {duration(state.now - at)}" for stage, at in survey.oldest.items() if at is not None]
    return ", ".join(parts) or "nothing waits"


def _last(milestone: Milestone | None) -> str:
    if milestone is None:
        return "never"
    parts = []
    for name, value in milestone.document.items():
        if isinstance(value, dict):
            parts += [f"{number} kept: {reason}" for reason, number in value.items()]
        elif value:
            parts.append(f"{value} {name.replace('_', ' ')}")
    return "; ".join([_when(milestone.at), *parts])


def _milestone(milestone: Milestone | None) -> dict[str, object] | None:
    return None if milestone is None else {"at": _when(milestone.at), **milestone.document}


def _short(text: str) -> str:
    return text if len(text) <= _NARROW else f"{text[: _NARROW - 1]}…"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
