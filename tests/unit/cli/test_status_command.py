"""What `dicom-node status` says, and when it asks for a person; `repair` as a command."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection

from dicom_node.archive import tables as archive
from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import load_config
from dicom_node.contracts import FileRef
from dicom_node.errors import GuardViolation
from dicom_node.jobs import JobInput, NewJob, OutputInstance, OutputSeries
from dicom_node.jobs import tables as jobs
from dicom_node.keeping import lock, milestones
from dicom_node.keeping.health import duration
from dicom_node.keeping.processes_page import ProcessState, read_processes
from dicom_node.metrics import ChildState, MetricsServer, NodeStatus

Run = Callable[..., Any]
NOW = time.time()


class Place:
    """A node's folder and configuration."""

    def __init__(self, folder: Path) -> None:
        self.config, self.data = folder / "node.yaml", folder / "var"
        self.settings: dict[str, Any] = {
            "node": {"data_dir": str(self.data), "min_free_mb": 0},
            "peers": {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}},
        }
        self.write()

    def write(self, **sections: dict[str, Any]) -> None:
        for name, values in sections.items():
            self.settings[name] = {**self.settings.get(name, {}), **values}
        self.config.write_text(yaml.safe_dump(self.settings))

    def change(self, change: Callable[[Connection], object] = lambda tx: None) -> None:
        with closing(open_database(load_config(self.config))) as database, database.begin() as tx:
            change(tx)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A node with an empty ledger, running as far as anybody can see."""
    one = Place(tmp_path)
    one.change()
    with lock.take(one.data):
        yield one


@pytest.fixture
def status(run: Run, place: Place) -> Callable[[], Any]:
    return lambda: run("status", "--config", place.config, "--json")


def submit(tx: Connection, place: Place) -> str:
    new = NewJob("hip", "hipct", "li", {}, ("pacs",), (JobInput("ct", "1.2", "1", FileRef(Path("a")), "a"),), "s", "d")
    job = make_ledger(load_config(place.config)).submit(tx, new, NOW - 7200)
    assert job is not None
    return job.id


def test_a_healthy_node(status: Callable[[], Any], run: Run, place: Place) -> None:
    result = status()
    assert result.status == 0, result.out
    document = result.document
    assert document["healthy"] is True and document["problems"] == []
    assert document["archive"] == {"bytes": 0, "instances": 0, "series": 0, "patients": 0}
    assert document["retention"] is document["repair"] is None
    shown = run("status", "--config", place.config)
    assert shown.status == 0
    assert "nothing needs a person" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


def test_a_stopped_node_is_told_all_the_same(run: Run, tmp_path: Path) -> None:
    one = Place(tmp_path)
    unknown = run("status", "--config", one.config)
    assert unknown.status == 2
    assert "has the node run" in unknown.err
    one.change(lambda tx: milestones.note(tx, milestones.REPAIR, NOW, {"entered": 7, "lost": 0}))
    result = run("status", "--config", one.config, "--json")
    assert result.status == 1
    assert result.document["problems"] == ["the node is not running"]
    assert result.document["repair"]["entered"] == 7
    assert "7 entered" in run("status", "--config", one.config).out


def test_what_waits_and_what_is_dead(status: Callable[[], Any], run: Run, place: Place) -> None:
    place.write(notify={"unreachable_after_s": 600})

    def trouble(tx: Connection) -> None:
        ledger = make_ledger(load_config(place.config))
        dead = submit(tx, place)
        lease = ledger.lease(tx, "w", 60, NOW - 7200)
        assert lease is not None
        ledger.failed(tx, lease, GuardViolation("corrector hipct: values are not finite"), NOW - 7200)
        assert dead == lease.job.id
        ledger.retry(tx, dead, NOW - 7200)
        lease = ledger.lease(tx, "w", 60, NOW - 7200)
        assert lease is not None
        output = OutputSeries("ct", "9", ("4",), (OutputInstance("9.1", "4", "1.dcm"),))
        ledger.derived(tx, lease, [output], (), {}, NOW - 7200)
        tx.execute(jobs.peers.insert().values(name="pacs", unreachable_since=NOW - 7200))
        other = NewJob("hip", "hipct", "li", {}, ("pacs",), (), "t", "d")
        ledger.submit(tx, other, NOW - 60)
        lease = ledger.lease(tx, "w", 60, NOW - 60)
        assert lease is not None
        ledger.failed(tx, lease, GuardViolation("corrector hipct: values are not finite"), NOW - 60)
        reason = "x.dcm: truncated at byte 12"
        tx.execute(
            archive.quarantine.insert().values(
                path="quarantine/x.dcm", reason=reason, association_id="a", received_at=NOW, quarantined_at=NOW
            )
        )
        row = {"path": "spool/files/x", "association_id": "a", "received_at": NOW - 7200}
        tx.execute(archive.received.insert().values(**row))

    place.change(trouble)
    result = status()
    assert result.status == 1
    said = "\n".join(result.document["problems"])
    assert "1 dead jobs" in said
    assert "peer pacs has taken nothing for 2 h" in said
    assert "received files wait to be filed for 2 h" in said
    assert "1 files were set aside" in said
    assert result.document["dead"][0]["why"] == "corrector hipct: values are not finite"
    assert result.document["peers"][0]["waiting"] == 1
    assert result.document["waiting_s"]["filing"] >= 7200
    assert result.document["quarantine"]["newest"][0]["reason"] == "x.dcm: truncated at byte 12"
    shown = run("status", "--config", place.config)
    assert shown.status == 1
    assert "not finite" in shown.out and "truncated" in shown.out
    place.settings["peers"] = {}
    place.write()
    assert "no peer of the configuration" in "\n".join(status().document["problems"])


def test_the_disk_and_what_retention_may_not_delete(status: Callable[[], Any], place: Place) -> None:
    place.write(node={"min_free_mb": 1e12})
    assert "senders are answered 0xA700" in status().document["problems"][0]
    place.write(node={"min_free_mb": 0}, retention={"start_below_free_mb": 1e12})
    assert status().document["healthy"] is True, "retention has not looked yet"
    held = {"studies": 0, "held": {"a job or delivery is dead": 4}}
    place.change(lambda tx: milestones.note(tx, milestones.RETENTION, NOW, held))
    (problem,) = status().document["problems"]
    assert "4 because a job or delivery is dead" in problem
    place.write(node={"min_free_mb": 10}, retention={"start_below_free_mb": 10})
    assert "before anything is deleted" in status().document["problems"][0]


def test_a_ledger_that_is_gone_or_damaged(run: Run, tmp_path: Path) -> None:
    one = Place(tmp_path)
    one.change()
    for path in one.data.glob("node.sqlite*"):
        path.unlink()
    (one.data / "archive").mkdir()
    lost = run("status", "--config", one.config, "--json")
    assert lost.status == 1
    assert "dicom-node repair" in lost.document["problems"][-1]
    (one.data / "node.sqlite").write_bytes(b"no ledger" * 1000)
    damaged = run("status", "--config", one.config, "--json")
    assert damaged.status == 1
    assert "not a database" in damaged.document["problems"][-1]
    assert "cannot be read" in run("status", "--config", one.config).out


def test_repair_is_for_stopped_nodes_and_says_what_it_did(run: Run, place: Place, tmp_path: Path) -> None:
    refused = run("repair", "--config", place.config, "--json")
    assert refused.status == 2
    assert "is running" in refused.document["error"]
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    nothing = run("repair", "--config", other.config)
    assert nothing.status == 2
    assert "nothing to repair" in nothing.err
    other.data.mkdir()
    (other.data / "node.sqlite").write_bytes(b"no ledger" * 1000)
    (other.data / "archive" / "ab").mkdir(parents=True)
    (other.data / "archive" / "ab" / f"ab{'0' * 62}.dcm").write_bytes(b"no image")
    done = run("repair", "--config", other.config, "--json")
    assert done.status == 0, done.err
    assert done.document["set_aside"] == 1
    assert Path(done.document["damaged_ledger"]).read_bytes() == b"no ledger" * 1000
    assert "ledger and files agree" in run("repair", "--config", other.config, "--verify").out


def test_the_processes_are_those_of_the_page(tmp_path: Path, place: Place) -> None:
    with closing(open_database(load_config(place.config))) as database:
        states = {"worker-0": ChildState(None, True, 3, 0.0), "intake-0": ChildState(None, False, 0, 0.0)}
        node = NodeStatus(database=database, data_dir=place.data, min_free_mb=0, processes=lambda: states)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = MetricsServer("127.0.0.1", port, node)
        server.start()
        try:
            found = read_processes("0.0.0.0", port)
        finally:
            server.stop()
    assert found == (ProcessState("intake-0", False, 0), ProcessState("worker-0", True, 3))
    assert read_processes("127.0.0.1", port) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_times_are_said_in_two_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_nothing_of_a_patient_is_in_it(status: Callable[[], Any]) -> None:
    assert "patient_key" not in json.dumps(status().document)
