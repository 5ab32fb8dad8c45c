"""Starts `dicom-node` with its fault points armed, from a plan that lies in a folder which only tests name.

    FAULTY_NODE=<folder> python faulty_node.py serve --config ...

`plan.json` in that folder is a list of `Fault`s. Beside it this program notes what happened, in files, because the
processes that know are about to be killed: `reached/<kind>.<point>`, `counts/<fault>`, `fired/<fault>`. Each fault
strikes once, over all restarts. `clock` holds seconds that are added to every process's time of day.

The supervisor's children are forked from a server that has imported the node already, which makes a restart cost
milliseconds instead of a second; `spawn` in the plan's folder keeps them as they are in production.
"""

from __future__ import annotations

import errno
import json
import mmap
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import faulty_disk

from dicom_node import faults

VARIABLE = "FAULTY_NODE"
ACTIONS = ("kill", "node", "supervisor", "stop", "pause", "error")
_HEAVY = tuple(f"dicom_node.processes.{kind}" for kind in ("receiver", "intake", "worker", "delivery", "keeper"))


@dataclass(frozen=True)
class Fault:
    """What happens to the process that passes a point for the n-th time.

    Attributes:
        kind: of process, e.g. `receiver`.
        point: as in `faults.reach`.
        nth: counted over all processes of the kind, and over restarts.
        action: `kill` itself, the whole `node` at once, only the `supervisor`; `stop` (SIGSTOP) or `pause` (sleep)
            for `seconds`; raise an `error` of the operating system, and again at this point for `seconds`.
        seconds: see there.
        code: name of the error, e.g. `ENOSPC`.
    """

    kind: str
    point: str
    nth: int
    action: str
    seconds: float = 0.0
    code: str = ""

    @property
    def name(self) -> str:
        """Names the files that remember it."""
        return f"{self.kind}.{self.point}.{self.nth}.{self.action}"


class Saboteur:
    """The hook in one process."""

    def __init__(self, folder: Path, plan: list[Fault]) -> None:
        self._folder = folder
        self._plan = plan
        self._reached: set[str] = set()

    def __call__(self, point: str) -> None:
        """Note the point, and strike where the plan says so."""
        kind = kind_of_process()
        if point not in self._reached:
            self._reached.add(point)
            (self._folder / "reached" / f"{kind}.{point}").touch()
        for fault in self._plan:
            if (fault.kind, fault.point) == (kind, point):
                self._consider(fault)

    def _consider(self, fault: Fault) -> None:
        fired = self._folder / "fired" / fault.name
        if fired.exists():
            if fault.action == "error" and time.monotonic() < fired.stat().st_mtime + fault.seconds:
                raise _error(fault)
            return
        if self._count(fault) < fault.nth:
            return
        try:
            fired.touch(exist_ok=False)
        except FileExistsError:  # another process was quicker
            return
        os.utime(fired, (time.monotonic(), time.monotonic()))  # the one clock that no test turns
        strike(fault)

    def _count(self, fault: Fault) -> int:
        descriptor = os.open(self._folder / "counts" / fault.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, b".")
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)


def kind_of_process() -> str:
    """`receiver` of `receiver-0`; the first process is the `supervisor`."""
    name = multiprocessing.current_process().name
    return "supervisor" if name == "MainProcess" else name.rpartition("-")[0]


def strike(fault: Fault) -> None:
    """Do what the fault says; returns only from a pause, a stop, or with the supervisor gone.

    Raises:
        OSError: that is the fault.
    """
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action == "node":
        os.killpg(0, signal.SIGKILL)
    elif fault.action == "supervisor":
        os.kill(os.getpgid(0), signal.SIGKILL)  # it leads the group in which all processes of the node are
    elif fault.action == "stop":
        waker = f"sleep {fault.seconds}; kill -CONT {os.getpid()}"
        subprocess.Popen(["/bin/sh", "-c", waker], start_new_session=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault.action == "pause":
        time.sleep(fault.seconds)
    elif fault.action == "error":
        raise _error(fault)


def _error(fault: Fault) -> OSError:
    code = getattr(errno, fault.code)
    return OSError(code, os.strerror(code))


def load_plan(folder: Path) -> list[Fault]:
    """The plan in a folder; empty where there is none."""
    path = folder / "plan.json"
    return [Fault(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def turn_clock(folder: Path, seconds: float) -> None:
    """Let the node's time of day be ahead by so much; it must have been started with a `clock`."""
    with (folder / "clock").open("r+b") as file:
        file.write(struct.pack("<d", seconds))


def _follow_clock(path: Path) -> None:
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    real = time.clock_gettime  # not `time.time`: this module is imported twice in a child
    time.time = lambda: real(time.CLOCK_REALTIME) + float(struct.unpack("<d", offset[:])[0])


def _fork_children() -> None:
    """Let the supervisor's `spawn` fork from a server that imports the node while the supervisor does the same."""
    original = multiprocessing.get_context
    context = original("forkserver")
    context.set_forkserver_preload(["faulty_node", *_HEAVY])
    forkserver.ensure_running()

    def get_context(method: str | None = None) -> Any:
        return context if method == "spawn" else original(method)

    multiprocessing.get_context = get_context  # type: ignore[assignment]


def _arm() -> None:
    folder = Path(os.environ[VARIABLE])
    if (folder / "clock").exists():
        _follow_clock(folder / "clock")
    if (folder / faulty_disk.SWITCH).exists() and not hasattr(os.fsync, "__wrapped__"):
        faulty_disk.install(folder, folder.parent / "var")
    journal_bytes = folder / "journal_bytes"
    if journal_bytes.exists():
        from dicom_node.net import journal

        journal.JOURNAL_BYTES = int(journal_bytes.read_text())  # type: ignore[misc]
    plan = load_plan(folder)
    faults.arm(Saboteur(folder, plan))


def prepare(folder: Path, plan: list[Fault], *, spawn: bool, clock: bool = False, journal_bytes: int = 0) -> None:
    """Lay a plan into a folder for the node that is started with it, whose data folder is `var` beside it."""
    for name in ("reached", "counts", "fired"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps([vars(fault) for fault in plan], indent=1))
    if spawn:
        (folder / "spawn").touch()
    if clock:
        (folder / "clock").write_bytes(struct.pack("<d", 0.0))
    if journal_bytes:
        (folder / "journal_bytes").write_text(str(journal_bytes))


def reached(folder: Path) -> Iterator[tuple[str, str]]:
    """(kind, point) of everything that was passed."""
    for path in (folder / "reached").iterdir():
        kind, _, point = path.name.partition(".")
        yield kind, point


def fired(folder: Path) -> set[str]:
    """Names of the faults that struck."""
    return {path.name for path in (folder / "fired").iterdir()}


if VARIABLE in os.environ:
    _arm()

if __name__ == "__main__":
    if not (Path(os.environ[VARIABLE]) / "spawn").exists():
        _fork_children()
    from dicom_node.cli import main

    sys.exit(main())
