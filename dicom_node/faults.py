"""Named points between two system calls, where a test may stop, delay or fail the process.

`reach("receiver.file_synced")` does nothing unless a test has armed a hook in this very process; there is no setting,
argument or environment variable that could do so. Tests start the node through a launcher of their own, which arms the
hook when it is imported, in the supervisor as in every spawned child.
"""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]

_hook: Hook | None = None  # the one global of the host: a point must cost nothing where no test runs


def reach(point: str) -> None:
    """Pass a point, named `room.what_has_just_happened`."""
    if _hook is not None:
        _hook(point)


def arm(hook: Hook | None) -> None:
    """Call `hook` at every point from now on; None disarms. For tests only."""
    global _hook
    _hook = hook
