"""sd_notify over a real datagram socket, and how long a silent child counts as alive."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.processes.life import Life, Watch
from dicom_node.systemd import ServiceManager


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@dicom-node-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with manager(name.replace("@", "\0")) as listening:
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000", "WATCHDOG_PID": str(os.getpid())}
        told = ServiceManager(environment)
        assert environment == {}, "children must not speak for the node"
        told.ready()
        told.alive()
        told.alive()
        told.keep_told(lambda: "six\nprocesses")
        assert [listening.recv(1000) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STATUS=six processes"]
        time.sleep(0.25)
        told.alive()
        assert listening.recv(1000) == b"WATCHDOG=1"
        told.stopping()
        assert listening.recv(1000).startswith(b"STOPPING=1")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "400000"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "none"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
    ],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    told = ServiceManager(environment)
    assert told.watchdog_s is None
    told.ready()
    told.alive()
    told.keep_told(lambda: "x")
    told.stopping()


def test_a_manager_that_does_not_listen_holds_nothing_up(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with manager(name):
        told = ServiceManager({"NOTIFY_SOCKET": name})
        for _ in range(2000):
            told.ready()


def test_a_child_is_silent_from_its_last_beat_and_never_before_its_first() -> None:
    life = Life(multiprocessing.get_context("spawn"))
    watch = Watch(life, 0.0)
    assert [watch.silent_s(now) for now in (0.5, 1.0, 9.0)] == [0.0, 0.0, 0.0]
    life.beat()
    assert [watch.silent_s(now) for now in (9.5, 10.0, 10.5)] == [0.0, 0.5, 1.0]
    life.beat()
    assert watch.silent_s(11.0) == 0.0


def test_time_in_which_the_whole_machine_slept_is_nobodys_silence() -> None:
    life = Life(multiprocessing.get_context("spawn"))
    watch = Watch(life, 0.0)
    life.beat()
    watch.silent_s(0.2)
    assert watch.silent_s(3600.0) == 1.0
