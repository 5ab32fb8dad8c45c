"""A running node deletes what is delivered and verified, and nothing else; `status` tells."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import hip_study
import peers
import psutil
from node import Node, node
from peers import wait_until

QUICK = {
    "name": "hip",
    "when": {"Modality": "CT"},
    "corrector": "hipct",
    "method": "li",
    "parameters": {"n_angles": 180},
}
SECOND = 1 / 86400


def archived(one: Node) -> int:
    return len(list((one.folder / "var" / "archive").rglob("*.dcm")))


def retention(one: Node) -> str:
    """What the last round noted; looked up often, so not by the command."""
    with closing(sqlite3.connect(one.folder / "var" / "node.sqlite")) as ledger:
        return str(ledger.execute("SELECT group_concat(document) FROM milestones WHERE name = 'retention'").fetchone())


def status(one: Node) -> tuple[int, dict[str, object]]:
    result = one.run("status")
    return result.returncode, dict(json.loads(result.stdout))


def test_a_study_stays_until_it_is_delivered_and_then_leaves(tmp_path: Path, storescu: Callable[..., object]) -> None:
    port = peers.free_port()
    pacs = {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": port}}
    with node(tmp_path / "node", pacs, routes=[QUICK], retention={"keep_days": SECOND}) as one:
        hip_study.write(tmp_path / "study")
        assert storescu(one.port, [tmp_path / "study"]).returncode == 0
        (job,) = one.wait_jobs("DERIVED")
        wait_until(lambda: '"a job is not done":1' in retention(one), what="retention holding the study")
        assert archived(one) == 8
        code, told = status(one)
        assert code == 0, told["problems"]
        assert told["retention"]["held"] == {"a job is not done": 1}
        assert told["running"] is True
        assert {"keeper-0", "receiver-0"} <= {process["name"] for process in told["processes"]}
        assert told["deliveries"]["PENDING"] + told["deliveries"]["LEASED"] == 1
        # Killed now and then: the next keeper goes on.
        psutil.Process(one.pids()["keeper-0"]).kill()
        with peers.orthanc(tmp_path / "orthanc", port=port) as orthanc:
            one.wait_jobs("DELIVERED")
            wait_until(lambda: archived(one) == 0, what="the archive empty")
            wait_until(lambda: not list((one.folder / "var" / "outbox").iterdir()), what="the outbox empty")
            derived = orthanc.sop_instance_uids()
            # The same study again: it is known, so nothing is made anew, and it leaves again.
            assert storescu(one.port, [tmp_path / "study"]).returncode == 0
            wait_until(lambda: len(one.events("study_leaves")) == 2, what="the study leaving again")
            wait_until(lambda: archived(one) == 0, what="the archive empty again")
            assert [j["id"] for j in one.jobs()] == [job["id"]]
            assert orthanc.sop_instance_uids() == derived
        assert one.stop() == 0
    code, told = status(one)
    assert (code, told["problems"]) == (1, ["the node is not running"])
    assert told["archive"] == {"bytes": 0, "instances": 0, "series": 0, "patients": 0}
