"""Pushing a series into a node that may be dead, dying or full, and remembering what it acknowledged."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from light_sender import Gone, LightSender, store_all
from peers import storescu_command
from soak_plan import Push
from soak_study import Study

_PATIENCE_S = 60.0
_PAUSE_S = 0.1
_SENT = re.compile(r"Sending file: (?P<file>.+)|Received Store Response \((?P<status>[^)]*)\)")


class NeverTaken(AssertionError):
    """The node did not take a series although it was pushed again and again."""


def push(port: int, study: Study, how: Push) -> set[str]:
    """Push as told; returns the SOP Instance UIDs that were acknowledged at least once.

    Raises:
        NeverTaken: it was to be repeated until all is acknowledged, and that never came.
    """
    time.sleep(how.delay_s)
    if not how.repeat:
        return _once(port, study, how)
    attempt: Callable[[int, Study], set[str]] = _storescu if how.tool == "storescu" else _light
    acknowledged: set[str] = set()
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        taken = attempt(port, study)
        acknowledged |= taken
        if taken == study.uids:
            return acknowledged
        time.sleep(_PAUSE_S)
    raise NeverTaken(f"{study.patient_id}: {len(acknowledged)} of {len(study.uids)} acknowledged, never all at once")


def _light(port: int, study: Study) -> set[str]:
    try:
        with LightSender(port, study.instances[0].sop_class_uid) as sender:
            taken = store_all(sender, study.instances)
            sender.release()
            return taken
    except Gone:
        return set()


def _storescu(port: int, study: Study) -> set[str]:
    result = subprocess.run(
        storescu_command(port, study.files), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        check=False, env={"PATH": "/usr/bin:/bin", "TCP_NODELAY": "1"},
    )  # fmt: skip
    uids = {str(path): one.sop_instance_uid for path, one in zip(study.files, study.instances, strict=True)}
    return {uids[str(path)] for path in acknowledged_files(result.stdout)}


def acknowledged_files(output: str) -> list[Path]:
    """Files that a verbose storescu says were stored."""
    found, current = [], None
    for match in _SENT.finditer(output):
        if match["file"]:
            current = Path(match["file"].strip())
        elif match["status"] == "Success" and current is not None:
            found.append(current)
    return found


def _once(port: int, study: Study, how: Push) -> set[str]:
    """One association, never repeated; only the connection is tried until somebody listens."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            sender = LightSender(port, study.instances[0].sop_class_uid)
        except Gone:
            time.sleep(_PAUSE_S)
            continue
        with sender:
            taken = store_all(sender, study.instances[: how.cut_after])
            if how.ending == "half":
                sender.half(study.instances[-1])
            else:
                getattr(sender, how.ending)()
            return taken
    raise NeverTaken(f"{study.patient_id}: no association within {_PATIENCE_S:g} s")
