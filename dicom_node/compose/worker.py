"""The stage that corrects."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.compose.ledger import make_ledger
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.plugins.catalogue import discover
from dicom_node.plugins.loader import build
from dicom_node.worker.memory import Memory
from dicom_node.worker.outbox import Outbox
from dicom_node.worker.process import Worker


def make_worker(
    config: Config,
    database: Database,
    owner: str,
    *,
    beat: Callable[[], None],
    derived: Callable[[], None],
    memory: Memory,
) -> Worker:
    """A worker for the configured device; `beat` tells its supervisor that it lives, `derived` delivery of its work."""
    return Worker(
        owner=owner,
        device=config.node.device,
        lease_s=config.jobs.lease_s,
        database=database,
        ledger=make_ledger(config),
        outbox=Outbox(config.node.data_dir.resolve() / "outbox"),
        catalogue=discover(),
        build=build,
        beat=beat,
        derived=derived,
        memory=memory,
    )
