"""A receiver process."""

from __future__ import annotations

from contextlib import closing
from multiprocessing.synchronize import Event

from pynetdicom import _config

from dicom_node.archive.index import ArchiveIndex
from dicom_node.compose.ledger import open_database
from dicom_node.config import Config
from dicom_node.net.receiver import Receiver
from dicom_node.net.spool import Spool
from dicom_node.processes.common import begin


def run(config: Config, index: int, ready: Event) -> None:
    """Take associations until SIGTERM, which lets those that run finish."""
    stop = begin(f"receiver-{index}")
    _config.PASS_CONTEXTVARS = True  # log lines of association threads then say which process they come from
    data_dir = config.node.data_dir.resolve()
    with (
        closing(Spool(data_dir / "spool", min_free_mb=config.node.min_free_mb)) as spool,
        closing(open_database(config)) as database,
    ):
        receiver = Receiver(config, database, ArchiveIndex(data_dir), spool)
        receiver.recover()
        receiver.open()
        ready.set()
        receiver.serve(stop)
