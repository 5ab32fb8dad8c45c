"""`kill -9` of any process at any moment: after a restart the end state is the same."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import hip_study
import psutil
import pytest
from node import Node, node
from peers import Orthanc, storescu_command, wait_until

SLICES = 24
QUICK = {
    "name": "hip",
    "when": {"Modality": "CT"},
    "corrector": "hipct",
    "method": "li",
    "parameters": {"n_angles": 180},
}
VICTIMS = ("receiver-0", "receiver-1", "intake-0", "worker-0", "delivery-0", "supervisor")


def push_until_taken(one: Node, folder: Path) -> None:
    """Push as a scanner does: again, until every instance was acknowledged in one association."""
    for _ in range(20):
        if one.dead:
            one.start()
        one.wait_ready()
        result = subprocess.run(storescu_command(one.port, [folder]), capture_output=True, timeout=60, check=False)
        if result.returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError("the node never took the study")


@pytest.mark.parametrize("victim", VICTIMS)
def test_the_end_state_is_the_same(
    tmp_path: Path, orthanc: Orthanc, victim: str, need_program: Callable[..., Path]
) -> None:
    need_program("storescu")
    rng = random.Random(victim)
    study = tmp_path / "study"
    hip_study.write(study, slices=SLICES, metal_slices=tuple(range(6, 18)))
    pacs = {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.port}
    with node(tmp_path / "node", {"pacs": pacs}, routes=[QUICK]) as one:
        push = subprocess.Popen(
            storescu_command(one.port, [study]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        kills = 0
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and kills < 3:
            time.sleep(rng.uniform(0.05, 1.2))
            if victim == "supervisor":
                one.kill()
                one.start()
                kills += 1
            elif (pid := one.pids().get(victim)) is not None and psutil.pid_exists(pid):
                psutil.Process(pid).kill()
                kills += 1
        assert kills
        push.wait(60)
        push_until_taken(one, study)
        one.wait_jobs("DELIVERED")
        wait_until(
            lambda: all(j["state"] == "DELIVERED" or j["state"] == "CANCELLED" for j in one.jobs()),
            60,
            "all jobs settled",
        )
        newest = max(one.jobs(), key=lambda j: j["version"])
        assert newest["state"] == "DELIVERED"
        corrected = [s for s in orthanc.series() if s["MainDicomTags"]["Modality"] == "CT"]
        complete = [s for s in corrected if len(s["Instances"]) == SLICES]
        assert len(complete) == 1, "exactly one complete derived series"
        assert len(corrected) <= newest["version"]
        assert one.stop() == 0
        leftovers = [p for p in (one.folder / "var" / "outbox").iterdir() if p.name.startswith(".")]
        assert not leftovers
        assert not list((one.folder / "var" / "spool" / "ready").glob("*"))
