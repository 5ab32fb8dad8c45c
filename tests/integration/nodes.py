"""Our own receiver processes in tests, on a free port with a data folder of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from peers import free_port, wait_until

from dicom_node.archive.model import AssociationClosed, AssociationOpened, Entry, InstanceReceived
from dicom_node.config import Config
from dicom_node.net.board import Board
from dicom_node.net.journal import read_journal
from dicom_node.net.listener import ListeningSocket, bind
from dicom_node.net.spool import SpoolFolders
from dicom_node.processes import receiver
from dicom_node.processes.life import Life

_SPAWN = multiprocessing.get_context("spawn")


def node_config(folder: Path, *, node: dict[str, Any] | None = None, **sections: Any) -> Config:
    """A node in `folder` on a free port, without peers; `node` and the other sections over the tests' defaults."""
    ours: dict[str, Any] = {"port": free_port(), "data_dir": folder / "var", "min_free_mb": 0, "drain_s": 5}
    intake = {"quiet_s": 0.5, "association_timeout_s": 20, **sections.pop("intake", {})}
    return Config.model_validate({"node": {**ours, **(node or {})}, "intake": intake, **sections})


def journal_entries(config: Config) -> list[Entry]:
    """What the receivers of a node have written down, journal by journal."""
    folder = SpoolFolders(config.node.data_dir.resolve() / "spool").journals
    return [entry for path in sorted(folder.glob("*.log")) for entry in read_journal(path, 0).entries]


@dataclass
class ReceiverNode:
    """Receiver processes without the rest of a node, and a look at what they left."""

    config: Config
    processes: list[BaseProcess] = field(default_factory=list)
    listening: tuple[ListeningSocket, ...] = ()
    board: Board | None = None
    lives: list[Life] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.config.node.port

    @property
    def spool(self) -> Path:
        return self.config.node.data_dir.resolve() / "spool"

    def start(self, count: int = 1) -> None:
        """Bind, start so many receivers, and wait until they accept."""
        data_dir = self.config.node.data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        self.listening = bind(self.config.node)
        limit = self.config.intake.max_associations
        self.board = Board.create(_SPAWN, count, limit, data_dir / "seats.lock")
        for index in range(count):
            ready = Life(_SPAWN)
            self.lives.append(ready)  # its memory must not become anybody else's while the process lives
            arguments = (self.config, index, ready, self.listening, self.board)
            process = _SPAWN.Process(target=receiver.run, args=arguments)
            process.start()
            self.processes.append(process)
            wait_until(lambda r=ready, p=process: r.is_set() or p.exitcode is not None, 60, "receiver ready")
            assert process.exitcode is None, f"receiver ended with {process.exitcode}"

    def kill(self) -> None:
        """kill -9 of every receiver; the port is free afterwards."""
        for process in self.processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
        self.processes.clear()
        self.stop_listening()

    def stop_listening(self) -> None:
        """Close our side of the listening sockets, as a supervisor does at its end."""
        for one in self.listening:
            one.socket.close()

    def received(self) -> dict[str, Path]:
        """Files that count, by SOP Instance UID."""
        entries = journal_entries(self.config)
        return {e.sop_instance_uid: self.spool / "files" / e.file for e in entries if isinstance(e, InstanceReceived)}

    def open_associations(self) -> set[str]:
        """Those that have begun and not ended."""
        entries = journal_entries(self.config)
        opened = {e.id for e in entries if isinstance(e, AssociationOpened)}
        return opened - {e.id for e in entries if isinstance(e, AssociationClosed)}

    def endings(self) -> list[str]:
        """How associations ended, in order."""
        return [e.how for e in journal_entries(self.config) if isinstance(e, AssociationClosed)]

    def orphans(self) -> set[Path]:
        """Files that no entry names."""
        named = {e.file for e in journal_entries(self.config) if isinstance(e, InstanceReceived)}
        return {path for path in (self.spool / "files").iterdir() if path.name not in named}

    def counters(self) -> dict[str, int]:
        """Counters of the board, over all receivers."""
        assert self.board is not None
        rows = self.board.counters()
        return {name: sum(row[name] for row in rows) for name in rows[0]}

    def peak_mib(self) -> float:
        """Largest resident memory that any receiver has had [MiB]."""
        return max(_peak_kib(process.pid or 0) for process in self.processes) / 1024


@contextmanager
def receivers(config: Config, count: int = 1) -> Iterator[ReceiverNode]:
    """Run `count` receiver processes; killed by their own pid on leaving."""
    node = ReceiverNode(config)
    try:
        node.start(count)
        yield node
    finally:
        node.kill()


def _peak_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
