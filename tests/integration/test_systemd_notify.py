"""The node as a service: ready, alive while everything turns, and a child that hangs is replaced."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
from node import Node
from peers import wait_until

IMPATIENT = (
    sys.executable,
    "-c",
    "import dicom_node.supervisor as s; from dicom_node.cli import main; s._HUNG_S = {}; s._HUNG_OTHERS_S = 8; main()",
)
PERIOD_S = 5


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.2)

    def heard(self, for_s: float) -> list[str]:
        """Lines that come within a time [s]."""
        lines: list[str] = []
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            try:
                lines += self.socket.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
        return lines

    def wait_for(self, line: str, limit_s: float = 60) -> list[str]:
        """Everything up to a line."""
        lines: list[str] = []
        wait_until(lambda: line in (lines.extend(self.heard(0.2)) or lines), limit_s, line)
        return lines

    def close(self) -> None:
        self.socket.close()


def test_the_manager_hears_whether_the_node_turns_and_a_child_that_hangs_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(PERIOD_S * 1_000_000)}
    one = Node(tmp_path / "node", {}, {"node": {"receivers": 1}}, command=IMPATIENT, environment=environment)
    with closing(Manager(path)) as manager:
        one.start(wait=False)
        try:
            lines = manager.wait_for("READY=1")
            assert one.page("/readyz")[0] == 200
            lines += manager.wait_for("WATCHDOG=1", 4 * PERIOD_S)
            assert any(line.startswith("STATUS=") and "processes ready" in line for line in lines)
            before = one.pids()
            for name in ("receiver-0", "intake-0"):
                psutil.Process(before[name]).suspend()
            manager.heard(PERIOD_S / 2 + 1.5)
            assert "WATCHDOG=1" not in manager.heard(2.5), "two children have been silent for half a period"
            wait_until(lambda: len(one.events("process_hangs")) == 2, 20, "both are killed")
            manager.wait_for("WATCHDOG=1", 30)
            wait_until(lambda: set(one.pids()) == set(before) and one.page("/readyz")[0] == 200, 60, "all are back")
            assert {entry["child"] for entry in one.events("process_hangs")} == {"receiver-0", "intake-0"}
            assert one.process is not None
            one.process.send_signal(signal.SIGTERM)
            manager.wait_for("STOPPING=1", 10)
            assert one.process.wait(30) == 0
        finally:
            if not one.dead:
                one.kill()
