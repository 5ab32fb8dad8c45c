"""The intake process."""

from __future__ import annotations

import time
from contextlib import closing

from dicom_node.compose.intake import make_intake
from dicom_node.compose.ledger import open_database
from dicom_node.config import Config
from dicom_node.processes.common import begin, repeat
from dicom_node.processes.life import Life


def run(config: Config, index: int, ready: Life) -> None:
    """File what was received, wait for completeness, route; until SIGTERM."""
    stop = begin(f"intake-{index}")
    with closing(open_database(config)) as database:
        intake = make_intake(config, database)
        ready.set()
        repeat(stop, lambda: intake.step(time.time()) > 0, config.intake.poll_s, ready.beat)
