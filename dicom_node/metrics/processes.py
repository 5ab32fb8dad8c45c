"""The node's processes: as their supervisor sees them, and as the kernel does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ChildState:
    """A process as its supervisor sees it.

    Attributes:
        pid: None while it is dead.
        ready: whether it can do its work.
        restarts: since the node's start.
        silent_s: time since its loop last turned [s].
    """

    pid: int | None
    ready: bool
    restarts: int
    silent_s: float = 0.0


@dataclass(frozen=True)
class Usage:
    """What a process uses.

    Attributes:
        resident_bytes: memory [bytes].
        cpu_s: time on a processor since its start, user and system [s].
    """

    resident_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """What a process uses, None when it is gone (proc(5): fields 14, 15 and 24 of stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # the second field is the program's name in brackets, and may hold spaces
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Usage(int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))
