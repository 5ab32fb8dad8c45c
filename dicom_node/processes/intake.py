"""The intake process."""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import closing
from typing import Final

from dicom_node.compose.intake import make_intake
from dicom_node.compose.ledger import open_database
from dicom_node.config import Config
from dicom_node.processes.bells import ring
from dicom_node.processes.common import begin, repeat
from dicom_node.processes.life import Life

_NICE: Final = 10


def run(config: Config, index: int, ready: Life) -> None:
    """File what was received, wait for completeness, route; until SIGTERM."""
    stop = begin(f"intake-{index}")
    _step_back()
    bells = config.node.data_dir.resolve() / "bells"
    with closing(open_database(config)) as database:
        intake = make_intake(config, database, lambda: ring(bells, "worker"))
        ready.set()
        repeat(
            stop,
            lambda: intake.step(time.time()) > 0 and not intake.flowing,
            config.intake.poll_s,
            ready.beat,
            lambda longest: stop.wait(intake.pause(longest, time.time())),
        )


def _step_back() -> None:
    """Let receivers go first: a sender waits for them, for this process nobody does."""
    os.nice(_NICE)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
