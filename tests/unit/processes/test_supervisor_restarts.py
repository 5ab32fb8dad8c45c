"""A child that cannot be started again right now leaves the node running."""

from __future__ import annotations

import time
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from dicom_node.config import Config, NodeSection
from dicom_node.supervisor import Child, Supervisor


class Exhausted(SpawnContext):
    """A machine that makes no more processes."""

    def Process(self, *_: Any, **__: Any) -> Any:
        raise BlockingIOError("Resource temporarily unavailable")


def test_a_machine_that_refuses_delays_the_restart(tmp_path: Path) -> None:
    supervisor = Supervisor(Config(node=NodeSection(data_dir=tmp_path)))
    child = Child("worker", 0, pause_s=5.0)
    supervisor._restart(Exhausted(), child)
    assert child.process is None
    assert child.restart_at > time.monotonic()
