"""The delivery process."""

from __future__ import annotations

import time
from contextlib import closing

from dicom_node.compose.ledger import make_ledger, open_database, owner
from dicom_node.config import Config
from dicom_node.net.delivery import Delivery
from dicom_node.processes.bells import Bell
from dicom_node.processes.common import IDLE_S, begin, repeat
from dicom_node.processes.life import Life


def run(config: Config, index: int, ready: Life) -> None:
    """Send and verify until SIGTERM, which lets the instance in hand finish."""
    stop = begin(f"delivery-{index}")
    ledger, name = make_ledger(config), owner(config, "delivery", index)
    with closing(open_database(config)) as database:
        with database.begin() as tx:  # nobody else can still be using our name
            ledger.release_delivery(tx, name, time.time())
        delivery = Delivery(config, database, ledger, owner=name)
        bell = Bell(config.node.data_dir.resolve() / "bells", f"delivery-{index}")
        ready.set()
        repeat(stop, lambda: delivery.step(time.time()) > 0, IDLE_S, ready.beat, bell.wait)
        delivery.close(config.node.drain_s)
