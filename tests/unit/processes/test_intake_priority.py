"""Intake steps back: receivers have senders waiting for them, intake has nobody."""

from __future__ import annotations

import os
import subprocess
import sys

LOOK = """
import os
from dicom_node.processes.intake import _step_back
_step_back()
print(os.nice(0), os.sched_getscheduler(0) if hasattr(os, "SCHED_BATCH") else "none")
"""


def test_intake_runs_behind_the_others() -> None:
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60, check=True)
    nice, scheduler = found.stdout.split()
    assert int(nice) == min(19, os.nice(0) + 10)
    assert scheduler == (str(os.SCHED_BATCH) if hasattr(os, "SCHED_BATCH") else "none")
