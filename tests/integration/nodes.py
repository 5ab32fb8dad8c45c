"""Our own processes in tests: a receiver on a free port with a data folder of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from peers import free_port, wait_until

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Received
from dicom_node.config import Config, IntakeSection, NodeSection
from dicom_node.database.engine import Database
from dicom_node.processes import receiver

_SPAWN = multiprocessing.get_context("spawn")


def node_config(folder: Path, *, min_free_mb: float = 0, drain_s: float = 5, timeout_s: float = 20) -> Config:
    """A node in `folder` on a free port, without peers."""
    return Config(
        node=NodeSection(port=free_port(), data_dir=folder / "var", min_free_mb=min_free_mb, drain_s=drain_s),
        intake=IntakeSection(quiet_s=0.5, association_timeout_s=timeout_s),
    )


@dataclass
class ReceiverNode:
    """One or more receiver processes, and a look at what they left."""

    config: Config
    processes: list[BaseProcess] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.config.node.port

    @property
    def spool(self) -> Path:
        return self.config.node.data_dir.resolve() / "spool"

    def start(self) -> BaseProcess:
        """Start one more receiver process and wait until it listens."""
        ready = _SPAWN.Event()
        process = _SPAWN.Process(target=receiver.run, args=(self.config, len(self.processes), ready))
        process.start()
        self.processes.append(process)
        wait_until(lambda: ready.is_set() or process.exitcode is not None, 60, "receiver ready")
        assert process.exitcode is None, f"receiver ended with {process.exitcode}"
        return process

    def kill(self) -> None:
        """kill -9 of every receiver."""
        for process in self.processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
        self.processes.clear()

    @contextmanager
    def database(self) -> Iterator[tuple[Database, ArchiveIndex]]:
        database = Database.open(self.config.database_url)
        try:
            yield database, ArchiveIndex(self.config.node.data_dir.resolve())
        finally:
            database.close()

    def unfiled(self) -> list[Received]:
        with self.database() as (database, index), database.read() as tx:
            return index.unfiled(tx, 100_000)

    def counts(self) -> dict[str, int]:
        with self.database() as (database, index), database.read() as tx:
            return index.counts(tx)

    def half_received(self) -> list[Path]:
        return list((self.spool / "incoming").glob("*.dcm"))


@contextmanager
def receivers(config: Config, count: int = 1) -> Iterator[ReceiverNode]:
    """Run `count` receiver processes; killed by their own pid on leaving."""
    node = ReceiverNode(config)
    try:
        for _ in range(count):
            node.start()
        yield node
    finally:
        node.kill()
