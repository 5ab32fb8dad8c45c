"""What a process takes of the machine, and whether it has given it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import psutil
from nodes import ReceiverNode
from peers import wait_until


@dataclass(frozen=True)
class Footprint:
    """What one process takes."""

    rss_mib: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Self:
        process = psutil.Process(pid)
        return cls(process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())


def footprints(node: ReceiverNode) -> list[Footprint]:
    """Of each receiver."""
    return [Footprint.of(process.pid or 0) for process in node.processes]


def wait_for_rest(node: ReceiverNode, before: Sequence[Footprint]) -> None:
    """Wait until no receiver has a thread or a descriptor more than before."""

    def at_rest() -> bool:
        now = footprints(node)
        return all(n.threads <= b.threads and n.descriptors <= b.descriptors for n, b in zip(now, before, strict=True))

    wait_until(at_rest, 30, f"as few threads and descriptors as {before}")
