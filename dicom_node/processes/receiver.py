"""A receiver process."""

from __future__ import annotations

from multiprocessing.synchronize import Event

from dicom_node.config import Config
from dicom_node.net import receiver


def run(config: Config, index: int, ready: Event) -> None:
    """Take associations until SIGTERM, which lets those that run finish."""
    receiver.run(config, index, ready)
