"""A child that cannot be started again right now leaves the node running."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from dicom_node.config import Config, NodeSection
from dicom_node.database.engine import Database
from dicom_node.errors import LedgerError
from dicom_node.supervisor import Child, Supervisor


class Locked:
    """A database that another program holds."""

    @contextmanager
    def begin(self) -> Iterator[None]:
        raise LedgerError("the database refused: database is locked")
        yield


def test_a_locked_database_delays_the_restart(tmp_path: Path) -> None:
    supervisor = Supervisor(Config(node=NodeSection(data_dir=tmp_path)))
    child = Child("worker", 0, pause_s=5.0)
    supervisor._restart(multiprocessing.get_context("spawn"), cast(Database, Locked()), child)
    assert child.process is None
    assert child.restart_at > time.monotonic()
