"""What receiver processes share in memory: seats, so that limits hold for the whole node, and counters for metrics.

Each process writes its own row only; a row outlives its process until the supervisor clears it.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Final

from dicom_node.durable import storage_error

COUNTERS: Final = (
    "associations",
    "instances",
    "bytes",
    "rejected_limit",
    "rejected_access",
    "rejected_request",
    "refused_storage",
    "aborted",
    "timeouts",
)
"""Names of the counters, all since the start of the node."""
_SEAT: Final = 16
_FREE: Final = bytes(_SEAT)


@dataclass(frozen=True)
class Board:
    """Made by the supervisor, handed to every receiver.

    Attributes:
        receivers: how many rows there are.
        seats: of each row; as many as all receivers together may take, so that one alone can.
    """

    receivers: int
    seats: int
    _taken: Any
    _counts: Any
    _lock: Path

    @classmethod
    def create(cls, context: SpawnContext, receivers: int, seats: int, lock: Path) -> Board:
        """A board without anyone on it.

        Args:
            context: of the processes that it is handed to.
            receivers: how many share it.
            seats: the node's limit of associations.
            lock: a file for the lock that keeps two receivers from taking the last seat.
        """
        return cls(
            receivers,
            seats,
            context.RawArray("c", receivers * seats * _SEAT),
            context.RawArray("Q", receivers * len(COUNTERS)),
            lock,
        )

    def place(self, receiver: int) -> Place:
        """The row of one receiver, for that process only.

        Raises:
            StorageFull, StorageFailed: the lock file cannot be opened.
        """
        try:
            return Place(self, receiver, os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as problem:
            raise storage_error(problem, self._lock) from problem

    def clear_seats(self, receiver: int) -> None:
        """The process died: nobody sits there any more. Its counters stay."""
        start = receiver * self.seats * _SEAT
        self._taken[start : start + self.seats * _SEAT] = bytes(self.seats * _SEAT)

    def counters(self) -> list[dict[str, int]]:
        """Counts of each receiver by name."""
        width = len(COUNTERS)
        return [
            dict(zip(COUNTERS, self._counts[i * width : (i + 1) * width], strict=True)) for i in range(self.receivers)
        ]

    def seated(self) -> int:
        """Connections that hold a seat now."""
        return sum(1 for seat in self._all() if seat != _FREE)

    def _all(self) -> Iterator[bytes]:
        taken = self._taken[:]
        for at in range(0, len(taken), _SEAT):
            yield taken[at : at + _SEAT]


class Place:
    """One receiver's row."""

    def __init__(self, board: Board, receiver: int, lock: int) -> None:
        self._board = board
        self._receiver = receiver
        self._lock = lock  # open as long as the process lives: a disk that refuses turns nobody away
        self._sitting = threading.Lock()
        self._counting = threading.Lock()

    def sit(self, address: str, per_address: int) -> int | None:
        """Take a seat for a connection from this address; None when all, or all of this address, are taken."""
        board = self._board
        name = _packed(address)
        with self._alone():
            seats = list(board._all())
            if sum(1 for s in seats if s != _FREE) >= board.seats or seats.count(name) >= per_address:
                return None
            first = self._receiver * board.seats
            number = next(i for i in range(board.seats) if seats[first + i] == _FREE)
            start = (first + number) * _SEAT
            board._taken[start : start + _SEAT] = name
            return number

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._sitting:  # the file's lock belongs to the process, whichever of its threads took it
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def stand_up(self, seat: int) -> None:
        """Give a seat back."""
        start = (self._receiver * self._board.seats + seat) * _SEAT
        self._board._taken[start : start + _SEAT] = _FREE

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._counting:
            self._board._counts[self._receiver * len(COUNTERS) + COUNTERS.index(name)] += amount


def _packed(address: str) -> bytes:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + found.packed
    return found.packed
