"""Several jobs in one process: each at its own pace, and none stopped by another's trouble."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dicom_node import logs
from dicom_node.errors import NodeError

log = logs.get("keeping")

_TROUBLED_S: Final = 5.0
_LONGEST_NAP_S: Final = 1.0
"""The supervisor wants a sign of life more often than most steps have something to do [s]."""


@dataclass(frozen=True)
class Step:
    """Something that is done again and again.

    Attributes:
        name: for the log.
        run: given the time (UTC [s]), does a small piece of work and says how long to wait before the next [s].
    """

    name: str
    run: Callable[[float], float]


def repeat_all(steps: Sequence[Step], stop: threading.Event, beat: Callable[[], None]) -> None:
    """Repeat the steps until told to stop.

    Args:
        steps: independent of each other.
        stop: ends the loop after the step in hand.
        beat: called at each turn.
    """
    due = dict.fromkeys(range(len(steps)), 0.0)
    while not stop.is_set():
        beat()
        for number, step in enumerate(steps):
            if time.monotonic() >= due[number] and not stop.is_set():
                due[number] = time.monotonic() + _pause(step)
        nap = min(due.values(), default=_LONGEST_NAP_S + time.monotonic()) - time.monotonic()
        stop.wait(min(max(nap, 0.0), _LONGEST_NAP_S))


def _pause(step: Step) -> float:
    try:
        return step.run(time.time())
    except NodeError as error:
        log.error("step_failed", step=step.name, code=error.code, error=str(error))
        return _TROUBLED_S
