"""The metric families: base units, counters end in `_total`, labels never hold patient data."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from sqlalchemy import Connection, func, select

from dicom_node.archive import tables as archive
from dicom_node.jobs.waiting import oldest_queued, queues
from dicom_node.metrics.durations import BUCKETS_S, Histogram
from dicom_node.metrics.processes import ChildState, usage
from dicom_node.net.board import Board
from dicom_node.notices.book import count_unsent

_REFUSALS = {
    "rejected_limit": "limit",
    "rejected_access": "access",
    "rejected_request": "request",
    "refused_storage": "storage",
}
_COUNTED = {
    "associations": ("dicom_node_receiver_associations", "Associations accepted"),
    "instances": ("dicom_node_receiver_instances", "Instances acknowledged"),
    "bytes": ("dicom_node_receiver_received_bytes", "Bytes of acknowledged instances"),
    "aborted": ("dicom_node_receiver_aborted", "Associations that did not end with a release"),
    "timeouts": ("dicom_node_receiver_timeouts", "Connections cut off because their peer was silent"),
}


def build_info() -> GaugeMetricFamily:
    """Which program this is."""
    family = GaugeMetricFamily("dicom_node_build_info", "1, with the versions as labels", labels=["version", "python"])
    family.add_metric([version("dicom-correction-node"), platform.python_version()], 1)
    return family


def children(states: Mapping[str, ChildState]) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    """Each process, the supervisor among them."""
    label = ["process"]
    ready = GaugeMetricFamily("dicom_node_process_ready", "1 when the process is ready", labels=label)
    restarts = CounterMetricFamily("dicom_node_process_restarts", "Restarts since the node's start", labels=label)
    silent = GaugeMetricFamily("dicom_node_process_silent_seconds", "Since the process last showed life", labels=label)
    memory = GaugeMetricFamily("dicom_node_process_resident_memory_bytes", "Memory in use", labels=label)
    cpu = CounterMetricFamily("dicom_node_process_cpu_seconds", "Processor time since its own start", labels=label)
    pids = {"supervisor": os.getpid(), **{name: child.pid for name, child in states.items()}}
    for name, child in sorted(states.items()):
        ready.add_metric([name], float(child.ready))
        restarts.add_metric([name], child.restarts)
        silent.add_metric([name], child.silent_s)
    for name, pid in sorted(pids.items()):
        used = usage(pid) if pid is not None else None
        if used is not None:
            memory.add_metric([name], used.resident_bytes)
            cpu.add_metric([name], used.cpu_s)
    yield from (ready, restarts, silent, memory, cpu)


def receivers(board: Board) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    """What the receivers count, since the node's start."""
    counters = board.counters()
    for name, (metric, text) in _COUNTED.items():
        family = CounterMetricFamily(metric, text, labels=["receiver"])
        for number, counted in enumerate(counters):
            family.add_metric([str(number)], counted[name])
        yield family
    refused = CounterMetricFamily(
        "dicom_node_receiver_refused",
        "Associations rejected (limit, access, request) and instances not stored (storage)",
        labels=["receiver", "reason"],
    )
    for number, counted in enumerate(counters):
        for name, reason in _REFUSALS.items():
            refused.add_metric([str(number), reason], counted[name])
    yield refused
    yield GaugeMetricFamily("dicom_node_associations_open", "Associations at this moment", value=board.seated())


def disk(data_dir: Path, min_free_mb: float) -> Iterator[GaugeMetricFamily]:
    """The disk of the data folder."""
    yield GaugeMetricFamily(
        "dicom_node_disk_watermark_bytes", "With less free space C-STORE is refused", value=min_free_mb * 1e6
    )
    try:
        found = shutil.disk_usage(data_dir)
    except OSError:
        return
    yield GaugeMetricFamily("dicom_node_disk_free_bytes", "Free space in the data folder", value=found.free)
    yield GaugeMetricFamily("dicom_node_disk_size_bytes", "Size of the disk of the data folder", value=found.total)


def ledger_up(is_up: bool) -> GaugeMetricFamily:
    """Whether the ledger answered."""
    return GaugeMetricFamily("dicom_node_ledger_up", "1 when the ledger can be read", value=float(is_up))


def counts(index: Mapping[str, int], ledger: Mapping[tuple[str, str], int]) -> Iterator[GaugeMetricFamily]:
    """Rows of index and ledger."""
    held = GaugeMetricFamily("dicom_node_archive", "Rows in the archive index", labels=["kind"])
    for kind, count in sorted(index.items()):
        held.add_metric([kind], count)
    yield held
    jobs = GaugeMetricFamily("dicom_node_jobs", "Jobs and deliveries by state", labels=["table", "state"])
    for (table, state), count in sorted(ledger.items()):
        jobs.add_metric([table, state], count)
    yield jobs


def waiting(tx: Connection, now: float) -> Iterator[GaugeMetricFamily]:
    """How long the oldest of each kind has waited, 0 where nothing waits."""
    family = GaugeMetricFamily("dicom_node_oldest_waiting_seconds", "Age of what has waited longest", labels=["stage"])
    oldest = {
        "filing": tx.execute(select(func.min(archive.received.c.received_at))).scalar_one(),
        "routing": tx.execute(select(func.min(archive.patients.c.waiting_since))).scalar_one(),
        "correcting": oldest_queued(tx),
    }
    for stage, since in oldest.items():
        family.add_metric([stage], 0.0 if since is None else max(0.0, now - since))
    yield family


def deliveries(tx: Connection, configured: Sequence[str], now: float) -> Iterator[GaugeMetricFamily]:
    """What waits for each peer, and since when the peer takes nothing."""
    label = ["peer"]
    number = GaugeMetricFamily("dicom_node_deliveries_waiting", "Deliveries not done", labels=label)
    age = GaugeMetricFamily("dicom_node_delivery_oldest_waiting_seconds", "Age of the oldest of them", labels=label)
    away = GaugeMetricFamily(
        "dicom_node_peer_unreachable_since_timestamp_seconds",
        "Since when the peer has taken nothing of what waits for it; 0 while it does",
        labels=label,
    )
    found = {queue.peer: queue for queue in queues(tx)}
    for peer in sorted(found.keys() | set(configured)):
        queue = found.get(peer)
        oldest_at = queue.oldest_at if queue else None
        number.add_metric([peer], queue.waiting if queue else 0)
        age.add_metric([peer], 0.0 if oldest_at is None else max(0.0, now - oldest_at))
        away.add_metric([peer], (queue.unreachable_since or 0.0) if queue and queue.waiting else 0.0)
    yield from (number, age, away)


def notices(tx: Connection) -> GaugeMetricFamily:
    """What the webhook has not taken."""
    text = "Notices that the webhook has not taken yet"
    return GaugeMetricFamily("dicom_node_notices_unsent", text, value=count_unsent(tx))


def durations(histograms: Mapping[tuple[str, str], Histogram]) -> HistogramMetricFamily:
    """How long attempts at jobs took."""
    family = HistogramMetricFamily(
        "dicom_node_job_duration_seconds",
        "Attempts at jobs since the node's start, by how they ended",
        labels=["corrector", "ended"],
    )
    for (corrector, ended), histogram in sorted(histograms.items()):
        bounds = ["+Inf" if bound == float("inf") else str(bound) for bound in BUCKETS_S]
        family.add_metric(
            [corrector, ended], list(zip(bounds, histogram.counts, strict=True)), sum_value=histogram.total_s
        )
    return family
