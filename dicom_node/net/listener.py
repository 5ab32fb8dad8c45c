"""The node's listening sockets, and the loop that accepts: it never waits for a peer, only for the next one."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicom_node import logs
from dicom_node.config import NodeSection
from dicom_node.errors import RequestError

log = logs.get("net.listener")

_BACKLOG: Final = 1024
_LOOK_S: Final = 0.2
"""How often the loop looks whether it should stop [s]."""
_TURN_S: Final = 0.002
"""Pause before the next connection for each one held [s]: a receiver that holds less is quicker."""
_LONGEST_TURN_S: Final = 0.02
_TIRED_S: Final = 0.1
_RELEASE_S: Final = 5.0
"""How long the port of a node that was killed may stay taken [s]."""


@dataclass(frozen=True)
class ListeningSocket:
    """A bound socket, shared by all receiver processes: when one dies, those that wait are taken by the others.

    Attributes:
        socket: listening.
        tls: whether callers speak TLS.
    """

    socket: socket.socket
    tls: bool


def bind(node: NodeSection) -> tuple[ListeningSocket, ...]:
    """Bind what the configuration asks for.

    Raises:
        RequestError: the address cannot be bound, e.g. because another program listens there.
    """
    if node.tls is None:
        return (ListeningSocket(_bound(node.host, node.port), False),)
    if node.tls.port is None:
        return (ListeningSocket(_bound(node.host, node.port), True),)
    plain = ListeningSocket(_bound(node.host, node.port), False)
    try:
        return (plain, ListeningSocket(_bound(node.host, node.tls.port), True))
    except RequestError:
        plain.socket.close()
        raise


def accept_until(
    stop: threading.Event,
    listening: ListeningSocket,
    held: Callable[[], int],
    take: Callable[[socket.socket, str, bool], None],
    turned: Callable[[], None] = lambda: None,
) -> None:
    """Accept connections until `stop`.

    Args:
        stop: ends the loop.
        listening: shared with other processes.
        held: how many connections this process holds.
        take: starts a thread for a connection; must not wait. Given the socket, the peer's address, and whether it
            speaks TLS.
        turned: called at each turn of the loop, as a sign of life.
    """
    listening.socket.settimeout(_LOOK_S)
    while not stop.is_set():
        turned()
        try:
            connected, address = listening.socket.accept()
        except TimeoutError:
            continue
        except OSError as problem:
            # A peer that has already gone, or no descriptors left: both pass.
            if problem.errno in (errno.ECONNABORTED, errno.EAGAIN, errno.EINTR):
                continue
            if problem.errno != errno.EINVAL:  # else the supervisor has shut the socket down: we are about to stop
                log.error("accept_failed", code=errno.errorcode.get(problem.errno or 0, "unknown"))
            stop.wait(_TIRED_S)
            continue
        take(connected, str(address[0]), listening.tls)
        stop.wait(min(_TURN_S * held(), _LONGEST_TURN_S))
    # The socket lives on in the supervisor: it is the successor's.
    with contextlib.suppress(OSError):
        listening.socket.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    give_up = time.monotonic() + _RELEASE_S
    while True:
        listening = socket.socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError as problem:
            listening.close()
            # Processes of a node that was just killed let go of the port within moments.
            if problem.errno != errno.EADDRINUSE or time.monotonic() > give_up:
                raise RequestError(f"cannot listen on {host}:{port}: {problem.strerror}") from problem
            time.sleep(_TIRED_S)
        else:
            return listening
