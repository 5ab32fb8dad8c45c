"""The service manager's side of `dicom-node serve`: sd_notify(3) over a datagram socket. Silent where there is none."""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Final

from dicom_node import logs

log = logs.get("systemd")

_STATUS_EVERY_S: Final = 10.0
_MICROSECOND: Final = 1e-6


class ServiceManager:
    """Tells the service manager how the node is.

    Attributes:
        watchdog_s: how long the manager waits for a sign of life before it kills the node [s]; None for ever.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Take the manager's address out of the environment, so that no child speaks for the node.

        Args:
            environment: `os.environ`.
        """
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            environment.pop(name, None)
        self._sign_at = 0.0
        self._ended = threading.Event()

    def ready(self) -> None:
        """The node does its work."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The node drains; no more signs of life will come, and the manager waits for none."""
        self._ended.set()
        self._send("STOPPING=1\nSTATUS=finishing what is in hand")

    def alive(self) -> None:
        """Everything turns; to be called often, sent twice in each period of the watchdog."""
        now = time.monotonic()
        if self.watchdog_s is not None and now >= self._sign_at:
            self._sign_at = now + self.watchdog_s / 2
            self._send("WATCHDOG=1")

    def keep_told(self, status: Callable[[], str]) -> None:
        """Send a line about the node's state every few seconds from a thread, since making it may take a while."""
        if self._address:
            work = partial(contextvars.copy_context().run, self._tell, status)
            threading.Thread(target=work, name="systemd-status", daemon=True).start()

    def _tell(self, status: Callable[[], str]) -> None:
        while not self._ended.is_set():
            line = status().replace("\n", " ")
            if not self._ended.is_set():
                self._send(f"STATUS={line}")
            self._ended.wait(_STATUS_EVERY_S)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)  # a manager that does not listen must not hold up the node
                channel.sendto(message.encode(), self._address)
        except OSError as problem:
            log.warning("service_manager_not_told", code=type(problem).__name__)


def _address(name: str) -> str:
    """Path of a socket, or its abstract name (unix(7)), which begins with a zero byte."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog_s(environment: MutableMapping[str, str]) -> float | None:
    """The period, unless it is meant for another process (sd_watchdog_enabled(3))."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with contextlib.suppress(KeyError, ValueError):
        period_s = int(environment["WATCHDOG_USEC"]) * _MICROSECOND
        return period_s if period_s > 0 else None
    return None
