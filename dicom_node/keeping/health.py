"""What of a node's state needs a person, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dicom_node.config import Config
from dicom_node.keeping.processes_page import ProcessState
from dicom_node.keeping.survey import Survey

_NEWS_S: Final = 7 * 86400.0
"""A file that was set aside longer ago is no news any more [s]."""
_STUCK_S: Final = 600.0
"""Longest that a received file should wait to be filed [s]."""


@dataclass(frozen=True)
class State:
    """All that is known of a node at a moment.

    Attributes:
        now: UTC [s].
        running: whether its data folder is locked.
        processes: those of a running node; None when it does not tell.
        survey: what the ledger says; None when it cannot be read.
        trouble: why it cannot be read.
        free_mb: free disk [MB].
        archive_bytes: size of the archive, an estimate when it is large.
    """

    now: float
    running: bool
    processes: tuple[ProcessState, ...] | None
    survey: Survey | None
    trouble: str | None
    free_mb: float
    archive_bytes: int


def problems(state: State, config: Config) -> list[str]:
    """One sentence for each thing that needs a person; empty for a healthy node."""
    found = [*_machine(state, config)]
    if state.trouble is not None:
        found.append(f"the ledger cannot be read: {state.trouble}; stop the node and run `dicom-node repair`")
    if state.survey is not None:
        found += [*_work(state, state.survey, config), *_retention(state, state.survey, config)]
    return found


def _machine(state: State, config: Config) -> Iterator[str]:
    if not state.running:
        yield "the node is not running"
    elif config.node.metrics_port and state.processes is None:
        yield f"the node does not answer on node.metrics_port {config.node.metrics_port}"
    late = [one.name for one in state.processes or () if not one.ready]
    if late:
        yield f"not ready: {', '.join(late)}; the node's log says why"
    if state.free_mb < config.node.min_free_mb:
        yield (
            f"{state.free_mb:.0f} MB are free, node.min_free_mb is {config.node.min_free_mb:g}: "
            "senders are answered 0xA700; free space, or set `retention`"
        )


def _work(state: State, survey: Survey, config: Config) -> Iterator[str]:
    if dead := survey.jobs["DEAD"]:
        yield (
            f"{dead} dead jobs: `dicom-node jobs show ID` tells why; mend the cause and `dicom-node jobs retry ID`, "
            "or give them up with `dicom-node jobs cancel ID`"
        )
    for one in survey.peers:
        since = one.unreachable_since
        if since is not None and state.now - since >= config.notify.unreachable_after_s:
            yield f"peer {one.peer} has taken nothing for {duration(state.now - since)}; {one.waiting} deliveries wait"
        if one.peer not in config.peers:
            yield f"{one.waiting} deliveries wait for {one.peer}, which is no peer of the configuration any more"
    waits_since = survey.oldest["filing"]
    if state.running and waits_since is not None and state.now - waits_since > _STUCK_S:
        yield f"received files wait to be filed for {duration(state.now - waits_since)}; the node's log says why"
    news = sum(state.now - one.at < _NEWS_S for one in survey.quarantine)
    if news:
        more = "or more " if news == len(survey.quarantine) < survey.counts["quarantined"] else ""
        yield (
            f"{news} {more}files were set aside in the last week: they lie in quarantine/ under node.data_dir; "
            "have them sent again, then delete them there"
        )


def _retention(state: State, survey: Survey, config: Config) -> Iterator[str]:
    start = config.retention.start_below_free_mb
    if start is None:
        return
    if start <= config.node.min_free_mb:
        yield (
            f"retention.start_below_free_mb {start:g} is not above node.min_free_mb {config.node.min_free_mb:g}: "
            "senders are refused before anything is deleted"
        )
    held = survey.retention.document.get("held") if survey.retention is not None else None
    if state.free_mb < start and isinstance(held, dict) and held:
        reasons = ", ".join(f"{number} because {reason}" for reason, number in sorted(held.items()))
        yield f"the disk is below retention.start_below_free_mb and studies may not be deleted: {reasons}"


def duration(seconds: float) -> str:
    """A time for people: its two largest units."""
    whole = max(0, int(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
