"""The first process of `dicom-node serve`: starts the others, restarts what dies, drains on SIGTERM."""

from __future__ import annotations

import contextlib
import contextvars
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Final

from dicom_node import logs
from dicom_node.compose.ledger import open_database
from dicom_node.compose.notices import make_book
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.errors import NodeError
from dicom_node.keeping.lock import take
from dicom_node.metrics import ChildState, MetricsServer, NodeStatus
from dicom_node.net.board import Board
from dicom_node.net.listener import ListeningSocket, bind
from dicom_node.notices.model import Event
from dicom_node.notices.wording import process_dying
from dicom_node.processes.common import enter
from dicom_node.processes.life import Life, Watch
from dicom_node.systemd import ServiceManager
from dicom_node.worker.outbox import Outbox

_STOP_ORDER = ("receiver", "intake", "worker", "delivery", "keeper")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _CALM_S = 0.2, 30.0, 60.0
_LONGEST_PAUSE_AFTER_WORK_S: Final = 2.0
"""For a child that was ready when it died [s]: what it died of may be one series or caller, and all others wait."""
_TOO_OFTEN: Final = 5
"""Deaths in a row, each soon after the start, that are a notice."""
_HUNG_S: Final = {"receiver": 30.0}
_HUNG_OTHERS_S: Final = 300.0
"""A child that is silent for this long is killed [s]; one step over very many files takes its time."""
_LATE_S: Final = 600.0
"""So is one that is not ready this long after its start [s]."""

log = logs.get("supervisor")


@dataclass
class Child:
    """One supervised process and its restart history."""

    kind: str
    index: int
    process: SpawnProcess | None = None
    pid: int | None = None
    ready: Life | None = None
    watch: Watch | None = None
    started_at: float = 0.0
    restarts: int = 0
    pause_s: float = _FIRST_PAUSE_S
    restart_at: float = 0.0
    silent_s: float = 0.0
    deaths: int = 0
    told: bool = False

    @property
    def name(self) -> str:
        """E.g. `receiver-0`."""
        return f"{self.kind}-{self.index}"

    @property
    def hung_s(self) -> float:
        """Silence after which it is killed [s]."""
        return _HUNG_S.get(self.kind, _HUNG_OTHERS_S)

    def state(self) -> ChildState:
        """What metrics tell."""
        ready = self.ready  # read once: the supervisor's loop may take it away meanwhile
        return ChildState(self.pid, ready is not None and ready.is_set(), self.restarts, self.silent_s)


@dataclass
class Supervisor:
    """Owns the node's processes.

    Attributes:
        config: the whole configuration, handed to each child.
        on_ready: called once, when every process is ready for the first time.
    """

    config: Config
    on_ready: Callable[[], None] | None = None
    _children: list[Child] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _listening: tuple[ListeningSocket, ...] = ()
    _board: Board | None = None
    _manager: ServiceManager = field(default_factory=lambda: ServiceManager(os.environ))

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain.

        Raises:
            RequestError: another node works in the same data folder.
            LedgerError: the database cannot be opened.
        """
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        signal.signal(signal.SIGINT, lambda *_: self._stopping.set())
        # Children inherit it. Numpy would ask for huge pages, and the kernel look for them while a worker waits: fresh
        # volumes cost three times as much. Who knows better sets it to 1.
        os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
        lock = take(self.config.node.data_dir.resolve())
        database = open_database(self.config)
        status = self._status(database)
        server = MetricsServer(self.config.node.host, self.config.node.metrics_port, status)
        try:
            self._listening = bind(self.config.node)
            self._sweep()
            self._children = self._plan()
            context = multiprocessing.get_context("spawn")
            self._board = self._make_board(context)
            for child in self._children:
                self._start(context, child)
            server.start()
            self._manager.keep_told(status.summary)
            self._watch(context, database)
            self._manager.stopping()
            self._drain()
        finally:
            self._kill_rest()
            for one in self._listening:
                one.socket.close()
            server.stop()
            database.close()
            lock.close()

    def _plan(self) -> list[Child]:
        node = self.config.node
        return [
            *(Child("receiver", i) for i in range(node.receivers)),
            Child("intake", 0),
            *(Child("worker", i) for i in range(node.workers)),
            Child("delivery", 0),
            Child("keeper", 0),
        ]

    def _make_board(self, context: SpawnContext) -> Board:
        lock = self.config.node.data_dir.resolve() / "seats.lock"
        return Board.create(context, self.config.node.receivers, self.config.intake.max_associations, lock)

    def _sweep(self) -> None:
        """Remove what a killed process left half-done; nothing of it was ever acknowledged or published."""
        left = Outbox(self.config.node.data_dir.resolve() / "outbox").sweep()
        if left:
            log.info("outbox_swept", folders=left)

    def _start(self, context: SpawnContext, child: Child) -> None:
        """Start a child, without the ledger: what its predecessor held there it takes back itself."""
        if child.kind == "receiver" and self._board is not None:
            self._board.clear_seats(child.index)
        child.ready = Life(context)
        child.watch = Watch(child.ready, time.monotonic())
        shared = (self._listening, self._board) if child.kind == "receiver" else ()
        child.process = context.Process(
            target=enter, args=(child.kind, self.config, child.index, child.ready, *shared), name=child.name
        )
        child.process.start()
        child.started_at = time.monotonic()
        child.pid = child.process.pid
        log.info("process_started", child=child.name, pid=child.pid, restarts=child.restarts)

    def _watch(self, context: SpawnContext, database: Database) -> None:
        announced = False
        while not self._stopping.is_set():
            if not announced and all(c.ready is not None and c.ready.is_set() for c in self._children):
                announced = True
                node = self.config.node
                log.info("node_ready", ae_title=node.ae_title, host=node.host, port=node.port)
                self._manager.ready()
                if self.on_ready:
                    self.on_ready()
            sentinels = [c.process.sentinel for c in self._children if c.process is not None]
            wait(sentinels, timeout=0.2)
            for child in self._children:
                if child.process is not None and not child.process.is_alive() and not self._stopping.is_set():
                    self._died(child, database)
                if self._hangs(child):
                    self._end_hung(child)
                if child.process is None and time.monotonic() >= child.restart_at:
                    self._restart(context, child)
            if self._all_turn():
                self._manager.alive()

    def _restart(self, context: SpawnContext, child: Child) -> None:
        """Start a dead child again; a machine that refuses just now must not end the other processes."""
        try:
            self._start(context, child)
        except OSError as error:
            child.restart_at = time.monotonic() + child.pause_s
            log.error("restart_failed", child=child.name, code=type(error).__name__, error=str(error))

    def _died(self, child: Child, database: Database) -> None:
        assert child.process is not None
        if time.monotonic() - child.started_at > _CALM_S:
            child.pause_s = _FIRST_PAUSE_S
            child.deaths, child.told = 0, False
        if child.ready is not None and child.ready.is_set():
            child.pause_s = min(child.pause_s, _LONGEST_PAUSE_AFTER_WORK_S)
        log.error("process_died", child=child.name, exitcode=child.process.exitcode, restart_in_s=child.pause_s)
        child.process.close()
        child.process, child.pid, child.ready, child.watch = None, None, None, None
        child.restarts += 1
        child.restart_at = time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, _LONGEST_PAUSE_S)
        child.deaths += 1
        if child.deaths >= _TOO_OFTEN and not child.told:
            # in a thread: a ledger that does not answer must not keep the others from being restarted
            work = partial(contextvars.copy_context().run, self._tell_of, child, database)
            threading.Thread(target=work, name="notice", daemon=True).start()

    def _tell_of(self, child: Child, database: Database) -> None:
        now = time.time()
        notice = process_dying(child.name, child.deaths)
        try:
            with database.begin() as tx:
                make_book(self.config).raise_once(tx, f"{Event.PROCESS_DYING}/{child.name}/{now!r}", notice, now)
        except NodeError as error:
            log.error("notice_not_kept", child=child.name, code=error.code)  # the next death tries again
        else:
            child.told = True

    def _hangs(self, child: Child) -> bool:
        if child.process is None or child.ready is None or child.watch is None:
            child.silent_s = 0.0
            return False
        now = time.monotonic()
        child.silent_s = child.watch.silent_s(now)
        if not child.ready.is_set():
            return now - child.started_at > _LATE_S
        return child.silent_s > child.hung_s

    def _all_turn(self) -> bool:
        """Whether no child hangs. One that died waits for its restart, which is the supervisor's own doing."""
        limit_s = (self._manager.watchdog_s or 0.0) / 2
        return all(child.silent_s <= min(limit_s, child.hung_s) for child in self._children)

    def _end_hung(self, child: Child) -> None:
        """Kill a child that neither works nor dies; every stage can be killed, and `_died` starts it again."""
        assert child.process is not None
        log.error("process_hangs", child=child.name, pid=child.process.pid)
        child.process.kill()
        child.process.join(_FIRST_PAUSE_S)

    def _drain(self) -> None:
        """Stop the stages in the order of the data, each given the chance to finish what it holds."""
        deadline = time.monotonic() + self.config.node.drain_s
        log.info("draining", seconds=self.config.node.drain_s)
        for kind in _STOP_ORDER:
            living = [
                c.process for c in self._children if c.kind == kind and c.process is not None and c.process.is_alive()
            ]
            for process in living:
                process.terminate()
            if kind == "receiver":
                self._close_port()
            for process in living:
                process.join(max(0.0, deadline - time.monotonic()))
        late = [c.name for c in self._children if c.process is not None and c.process.is_alive()]
        log.info("drained", late=",".join(late) or "none")

    def _close_port(self) -> None:
        """Callers are refused from now on, rather than left waiting for somebody to take them."""
        for one in self._listening:
            with contextlib.suppress(OSError):
                one.socket.shutdown(socket.SHUT_RDWR)

    def _kill_rest(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.is_alive():
                child.process.kill()
                child.process.join()

    def _status(self, database: Database) -> NodeStatus:
        return NodeStatus(
            database=database,
            data_dir=self.config.node.data_dir.resolve(),
            min_free_mb=self.config.node.min_free_mb,
            processes=lambda: {child.name: child.state() for child in self._children},
            board=lambda: self._board,
            peers=sorted(self.config.peers),
        )
