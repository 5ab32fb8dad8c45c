"""A worker process: owns the device."""

from __future__ import annotations

from contextlib import closing

from dicom_node.compose.ledger import open_database, owner
from dicom_node.compose.routing import rules_of
from dicom_node.compose.worker import make_worker
from dicom_node.config import Config
from dicom_node.processes.common import IDLE_S, begin, repeat
from dicom_node.processes.life import Life
from dicom_node.worker.memory import allowance


def run(config: Config, index: int, ready: Life) -> None:
    """Work on jobs until SIGTERM, which lets the job in hand finish."""
    stop = begin(f"worker-{index}")
    memory = allowance(config.node.worker_memory_mb, config.node.workers)
    memory.confine()
    with closing(open_database(config)) as database:
        worker = make_worker(config, database, owner(config, "worker", index), ready.beat, memory)
        worker.warm_up(rule.corrector for rule in rules_of(config) if rule.enabled)
        ready.set()
        repeat(stop, worker.step, IDLE_S, ready.beat)
