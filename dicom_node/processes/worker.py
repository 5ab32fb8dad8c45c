"""A worker process: owns the device."""

from __future__ import annotations

import time
from contextlib import closing

from dicom_node.compose.ledger import make_ledger, open_database, owner
from dicom_node.compose.routing import rules_of
from dicom_node.compose.worker import make_worker
from dicom_node.config import Config
from dicom_node.processes.bells import Bell, ring
from dicom_node.processes.common import IDLE_S, begin, repeat
from dicom_node.processes.life import Life
from dicom_node.worker.memory import allowance
from dicom_node.worker.rehearsal import Rehearsal


def run(config: Config, index: int, ready: Life) -> None:
    """Work on jobs until SIGTERM, which lets the job in hand finish."""
    stop = begin(f"worker-{index}", foreign_code=True)
    memory = allowance(config.node.worker_memory_mb, config.node.workers)
    memory.confine()
    name = owner(config, "worker", index)
    bells = config.node.data_dir.resolve() / "bells"
    with closing(open_database(config)) as database:
        with database.begin() as tx:  # nobody else can still be using our name
            make_ledger(config).release_worker(tx, name, time.time())
        worker = make_worker(
            config, database, name, beat=ready.beat, derived=lambda: ring(bells, "delivery"), memory=memory
        )
        worker.warm_up(rule.corrector for rule in rules_of(config) if rule.enabled)
        bell, rehearsal = Bell(bells, f"worker-{index}"), Rehearsal()

        def step() -> bool:
            worked = worker.step()
            rehearsal.step(idle=not worked)
            return worked

        ready.set()
        repeat(stop, step, IDLE_S, ready.beat, bell.wait)
