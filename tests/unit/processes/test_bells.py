"""A ring ends a wait, also one that comes before it; nothing depends on it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from dicom_node.processes.bells import Bell, ring

LONG_S = 30.0


def waited(bell: Bell, seconds: float) -> float:
    began = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - began


def test_a_ring_ends_the_wait_of_every_process_of_its_kind(tmp_path: Path) -> None:
    workers, delivery = [Bell(tmp_path, f"worker-{n}") for n in range(2)], Bell(tmp_path, "delivery-0")
    for bell in workers:
        threading.Timer(0.05, ring, (tmp_path, "worker")).start()
        assert waited(bell, LONG_S) < LONG_S / 2
    time.sleep(0.1)
    assert waited(delivery, 0.01) < LONG_S / 2


def test_rings_that_came_before_count_once(tmp_path: Path) -> None:
    bell = Bell(tmp_path, "worker-0")
    for _ in range(5_000):
        ring(tmp_path, "worker")
    assert waited(bell, LONG_S) < LONG_S / 2
    while waited(bell, 0.05) < 0.05:
        pass


def test_a_bell_outlives_its_process_and_rings_for_nobody_are_harmless(tmp_path: Path) -> None:
    ring(tmp_path, "worker")
    first = Bell(tmp_path, "worker-0")
    ring(tmp_path, "worker")
    assert waited(Bell(tmp_path, "worker-0"), LONG_S) < LONG_S / 2
    assert waited(first, 0.01) >= 0.01, "the ring was heard once"


def test_without_a_pipe_there_is_only_the_pause(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    bell = Bell(tmp_path / "a file", "worker-0")
    assert 0.02 <= waited(bell, 0.02) < LONG_S / 2
    ring(tmp_path, "nobody")
