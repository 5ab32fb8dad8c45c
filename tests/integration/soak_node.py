"""A node whose fault points are armed, with the test corrector and one destination; revived whenever it dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faulty_node
import psutil
import soak_corrector
from faulty_node import Fault
from node import Node
from peers import Orthanc
from sqlalchemy import NullPool, create_engine, text

ROUTE: dict[str, Any] = {"name": "soak", "when": {"Modality": "CT"}, "corrector": "soak"}
_PORTS = itertools.count(20_000 + os.getpid() % 9000)
_LOWEST, _HIGHEST = 20_000, 32_000
"""Below the ports that the kernel gives to clients: a node that is down must find its port free again."""


def steady_port() -> int:
    """A port that nobody has and no client will be given."""
    while True:
        port = _LOWEST + next(_PORTS) % (_HIGHEST - _LOWEST)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class FaultyNode(Node):
    """A `Node` under the faulty launcher, its notes in `folder/faults`.

    Attributes:
        starts: how often it was started.
        tmpfs_mb: size of the file system [MiB] that its data lie in, mounted in a namespace of its own, and gone with
            it; 0 for the disk of its folder.
    """

    starts: int = 0
    tmpfs_mb: int = 0

    @property
    def notes(self) -> Path:
        """What the launcher reads and writes."""
        return self.folder / "faults"

    @property
    def data_dir(self) -> Path:
        """The node's data folder, as seen from here."""
        folder = self.folder / "var"
        return folder if not self.tmpfs_mb or self.process is None else Path(f"/proc/{self.process.pid}/root{folder}")

    def start(self, wait: bool = True) -> None:
        """Start it."""
        self.starts += 1
        if self.tmpfs_mb:
            folder = self.folder / "var"
            folder.mkdir(exist_ok=True)
            mount = f'mount -t tmpfs -o size={self.tmpfs_mb}m none "$0" && exec "$@"'
            self.command = ("unshare", "-rm", "sh", "-c", mount, str(folder), *self.command)
        super().start(wait)

    def end_everything(self) -> None:
        """`kill -9` of the supervisor and all its children at once."""
        if self.process is not None:
            # Once it was waited for, and its group has ended, its number may be somebody else's, group and all.
            if self.process.poll() is None or not psutil.pid_exists(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def strike(self, victim: str) -> None:
        """`kill -9` of a process by name, of the `supervisor`, or of the whole `node`."""
        if victim == "node":
            self.end_everything()
        elif victim == "supervisor":
            if self.process is not None:
                self.process.kill()
        elif (pid := self.pids().get(victim)) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger, read from outside.

        Raises:
            DBAPIError: it cannot be read now.
        """
        if self.tmpfs_mb and self.process is not None:
            return _query_inside(self.process.pid, self.folder / "var" / "node.sqlite", sql)
        file = f"sqlite:///file:{self.data_dir / 'node.sqlite'}?mode=ro&uri=true"
        database = self.settings["node"].get("database", "sqlite")
        engine = create_engine(file if database == "sqlite" else database, poolclass=NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]


def _query_inside(pid: int, path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of an SQLite file that only a process's own mount namespace shows."""
    code = "import json, sqlite3, sys; print(json.dumps(list(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]))))"
    enter = ["nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials"]
    found = subprocess.run([*enter, sys.executable, "-c", code, str(path), sql], capture_output=True, check=True)
    return [tuple(row) for row in json.loads(found.stdout)]


def faulty(
    folder: Path,
    pacs: Orthanc,
    plan: Sequence[Fault],
    *,
    spawn: bool = False,
    clock: bool = False,
    journal_bytes: int = 0,
    route: dict[str, Any] | None = None,
    **settings: Any,
) -> FaultyNode:
    """A node that is not yet started.

    Args:
        folder: its own.
        pacs: where derived series go.
        plan: faults.
        spawn: see `faulty_node`.
        clock: whether its clock can be turned.
        journal_bytes: after how many a journal is sealed; 0 for the node's own.
        route: settings of the route beside the usual.
        settings: sections of the configuration.
    """
    folder.mkdir(parents=True)
    peer = {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, "timeout_s": 10}
    one = FaultyNode(
        folder,
        {"pacs": peer},
        {"routes": [ROUTE | (route or {})], "defaults": False, **settings},
        command=(sys.executable, str(Path(faulty_node.__file__))),
        environment={
            faulty_node.VARIABLE: str(folder / "faults"),
            "PYTHONPATH": soak_corrector.install(folder / "plugins"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # else each start compiles the node again
        },
        port=steady_port(),
        metrics_port=steady_port(),
    )
    faulty_node.prepare(one.notes, list(plan), spawn=spawn, clock=clock, journal_bytes=journal_bytes)
    return one


@dataclass
class Reviver:
    """Starts the node again whenever it is down, as systemd would."""

    node: FaultyNode
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.wait(0.05):
            if self.node.dead:
                self.node.start(wait=False)

    def stop(self) -> None:
        """Let it be."""
        self._stop.set()


@contextlib.contextmanager
def kept_alive(one: FaultyNode) -> Iterator[None]:
    """The node runs, whatever happens to it."""
    reviver = Reviver(one)
    one.start(wait=False)
    thread = threading.Thread(target=reviver.run, name="reviver", daemon=True)
    thread.start()
    try:
        yield
    finally:
        reviver.stop()
        thread.join()
