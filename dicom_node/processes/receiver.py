"""A receiver process. It needs neither the ledger nor anything that decodes an image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from pynetdicom import _config

from dicom_node.config import Config
from dicom_node.net.board import Board
from dicom_node.net.listener import ListeningSocket
from dicom_node.net.receiver import Receiver
from dicom_node.net.spool import Spool
from dicom_node.processes.common import begin
from dicom_node.processes.life import Life


def run(config: Config, index: int, ready: Life, listening: Sequence[ListeningSocket], board: Board) -> None:
    """Take associations until SIGTERM, which lets those that run finish.

    Args:
        config: the whole configuration.
        index: number of this receiver.
        ready: set when it accepts.
        listening: the node's sockets.
        board: what all receivers share.
    """
    stop = begin(f"receiver-{index}")
    _config.PASS_CONTEXTVARS = True  # log lines of pynetdicom's threads then say which process they come from
    spool_folder = config.node.data_dir.resolve() / "spool"
    with closing(Spool(spool_folder, min_free_mb=config.node.min_free_mb)) as spool:
        receiver = Receiver(config, listening, board.place(index), spool)
        ready.set()
        receiver.serve(stop, ready.beat)
