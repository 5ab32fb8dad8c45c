"""The keeper process: what nobody waits for."""

from __future__ import annotations

from contextlib import closing

from dicom_node.compose.keeper import make_steps
from dicom_node.compose.ledger import open_database
from dicom_node.compose.notices import make_webhook
from dicom_node.config import Config
from dicom_node.keeping.rounds import repeat_all
from dicom_node.processes.common import begin
from dicom_node.processes.life import Life


def run(config: Config, index: int, ready: Life) -> None:
    """Keep the archive in order until SIGTERM."""
    stop = begin(f"keeper-{index}")
    with closing(open_database(config)) as database:
        steps = make_steps(config, database)
        webhook = make_webhook(config, database)
        if webhook is not None:
            webhook.start()
        ready.set()
        repeat_all(steps, stop, ready.beat)
        if webhook is not None:
            webhook.close()
