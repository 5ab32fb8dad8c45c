"""What each spawned process of `dicom-node serve` runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event

from dicom_node import compose, logs
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.net import receiver

_IDLE_S = 0.1
_TROUBLED_S = 2.0


def run_receiver(config: Config, index: int, ready: Event) -> None:
    """A receiver process: takes associations until SIGTERM."""
    receiver.run(config, index, ready)


def run_intake(config: Config, index: int, ready: Event) -> None:
    """The intake process: files, waits for completeness, routes."""
    stop = _begin(f"intake-{index}")
    with closing(compose.open_database(config)) as database:
        intake = compose.make_intake(config, database)
        ready.set()
        _loop(stop, lambda: intake.step(time.time()) > 0, config.intake.poll_s)


def run_worker(config: Config, index: int, ready: Event) -> None:
    """A worker process: owns the device."""
    stop = _begin(f"worker-{index}")
    with closing(compose.open_database(config)) as database:
        worker = compose.make_worker(config, database, owner(config, "worker", index))
        worker.warm_up([rule.corrector for rule in compose.rules_of(config) if rule.enabled])
        ready.set()
        _loop(stop, worker.step, _IDLE_S)


def run_delivery(config: Config, index: int, ready: Event) -> None:
    """The delivery process: sends and verifies."""
    stop = _begin(f"delivery-{index}")
    with closing(compose.open_database(config)) as database:
        delivery = compose.make_delivery(config, database, owner(config, "delivery", index))
        ready.set()
        _loop(stop, lambda: delivery.step(time.time()) > 0, _IDLE_S)
        delivery.close()


def owner(config: Config, kind: str, index: int) -> str:
    """Name under which a process holds leases; its successor after a crash has the same."""
    return f"{compose.node_name(config)}/{kind}-{index}"


def _begin(name: str) -> threading.Event:
    """Set up logging, signals and the watch over the supervisor."""
    logs.configure(process=name)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
    return stop


def _die_with(sentinel: int) -> None:
    """End at once when the supervisor is gone: whoever restarts it needs the port, and every stage can be killed."""
    wait([sentinel])
    os._exit(70)


def _loop(stop: threading.Event, step: Callable[[], bool], idle_s: float) -> None:
    """Repeat a step until told to stop; trouble around it (disk, database) is logged and tried again."""
    log = logs.get("process")
    while not stop.is_set():
        try:
            pause = 0.0 if step() else idle_s
        except NodeError as error:
            log.error("step_failed", code=error.code, error=str(error))
            pause = _TROUBLED_S
        if pause:
            stop.wait(pause)
