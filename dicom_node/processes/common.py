"""What all children of the supervisor do alike."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import wait

from dicom_node import logs
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.processes.life import Life

IDLE_S = 0.1
"""Pause of a stage that found nothing to do [s]."""
_TROUBLED_S = 2.0

log = logs.get("process")


def enter(kind: str, config: Config, index: int, ready: Life, *shared: object) -> None:
    """Run the child of this kind, `dicom_node.processes.<kind>`; imported here, so that only the child pays for it.

    Args:
        kind: e.g. `receiver`.
        config: the whole configuration.
        index: number among its kind.
        ready: set by the child when it is.
        shared: what a child of this kind is given beside: sockets and shared memory.
    """
    logs.configure(process=f"{kind}-{index}")
    logs.catch_strays()
    try:
        importlib.import_module(f"dicom_node.processes.{kind}").run(config, index, ready, *shared)
    except NodeError as error:
        log.error("process_failed", code=error.code, error=str(error))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  a traceback would print the exception's text, which may quote headers
        log.error("process_failed", code=type(error).__name__, error=logs.place(error))
        sys.exit(1)


def begin(name: str, *, foreign_code: bool = False) -> threading.Event:
    """Set up logging, signals and the watch over the supervisor; the event is set by SIGTERM.

    Args:
        name: of the process, for its log lines.
        foreign_code: the process runs plugins, of which nobody knows what they print.
    """
    logs.configure(process=name, stream=logs.withhold_output() if foreign_code else None)
    logs.catch_strays()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    end_with_parent()
    return stop


def end_with_parent() -> None:
    """End at once when the supervisor is gone: whoever restarts it needs the port, and every stage can be killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def repeat(
    stop: threading.Event,
    step: Callable[[], bool],
    idle_s: float,
    beat: Callable[[], None],
    wait: Callable[[float], object] | None = None,
) -> None:
    """Repeat a step until told to stop; trouble around it (disk, database) is logged and tried again.

    Args:
        stop: ends the loop.
        step: returns whether it found something to do.
        idle_s: pause when it did not [s].
        beat: called at each turn, for the supervisor.
        wait: pauses for so many seconds at the most where there was nothing to do; `stop` ends it without one.
    """
    while not stop.is_set():
        beat()
        try:
            if not step():
                (wait or stop.wait)(idle_s)
        except NodeError as error:
            log.error("step_failed", code=error.code, error=str(error))
            stop.wait(_TROUBLED_S)


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(70)
