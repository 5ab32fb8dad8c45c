"""A child that cannot be started again right now leaves the node running."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from dicom_node.archive.tables import notices
from dicom_node.config import Config, NodeSection
from dicom_node.database import Database
from dicom_node.errors import LedgerError
from dicom_node.processes.life import Life
from dicom_node.supervisor import Child, Supervisor


class Exhausted(SpawnContext):
    """A machine that makes no more processes."""

    def Process(self, *_: Any, **__: Any) -> Any:
        raise BlockingIOError("Resource temporarily unavailable")


def test_a_machine_that_refuses_delays_the_restart(tmp_path: Path) -> None:
    supervisor = Supervisor(Config(node=NodeSection(data_dir=tmp_path)))
    child = Child("worker", 0, pause_s=5.0)
    supervisor._restart(Exhausted(), child)
    assert child.process is None
    assert child.restart_at > time.monotonic()


class Dead:
    """A process that has ended."""

    exitcode = 1

    def close(self) -> None:
        pass


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(f"sqlite:///{tmp_path / 'node.sqlite'}")) as opened:
        yield opened


def die(supervisor: Supervisor, child: Child, database: Database, times: int, lived_s: float = 1.0) -> None:
    for _ in range(times):
        child.process = Dead()  # type: ignore[assignment]
        child.started_at = time.monotonic() - lived_s
        supervisor._died(child, database)
        wait_for_notice_threads()


def wait_for_notice_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "notice":
            thread.join()


def told(database: Database) -> list[dict[str, Any]]:
    with database.read() as tx:
        return [json.loads(document) for document in tx.execute(select(notices.c.document)).scalars()]


def test_a_process_that_dies_again_and_again_is_told_once(tmp_path: Path, database: Database) -> None:
    supervisor, child = Supervisor(Config(node=NodeSection(data_dir=tmp_path))), Child("worker", 0)
    die(supervisor, child, database, 4)
    assert told(database) == []
    die(supervisor, child, database, 8)
    (notice,) = told(database)
    assert (notice["event"], notice["child"], notice["count"]) == ("process_dying", "worker-0", 5)
    die(supervisor, child, database, 1, lived_s=3600)
    die(supervisor, child, database, 5)
    assert len(told(database)) == 2


def test_a_process_that_dies_now_and_then_is_no_notice(tmp_path: Path, database: Database) -> None:
    supervisor, child = Supervisor(Config(node=NodeSection(data_dir=tmp_path))), Child("worker", 0)
    die(supervisor, child, database, 9, lived_s=3600)
    assert told(database) == []


def test_a_ledger_that_refuses_loses_no_notice(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, child = Supervisor(Config(node=NodeSection(data_dir=tmp_path))), Child("worker", 0)

    def locked(_: Database) -> Any:
        raise LedgerError("the database refused: database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "begin", locked)
        die(supervisor, child, database, 6)
    assert told(database) == []
    die(supervisor, child, database, 1)
    assert [notice["count"] for notice in told(database)] == [7]


def pauses(supervisor: Supervisor, *, ready: bool, deaths: int) -> list[float]:
    """How long the supervisor waits after each of so many deaths, one soon after the other [s]."""
    child, found = Child("worker", 0), []
    for _ in range(deaths):
        child.process = Dead()  # type: ignore[assignment]
        child.started_at = time.monotonic()
        child.ready = Life(multiprocessing.get_context("spawn"))
        if ready:
            child.ready.set()
        supervisor._died(child, cast(Database, None))
        child.deaths = 0
        found.append(child.restart_at - time.monotonic())
    return found


def test_a_process_that_did_its_work_is_back_soon_however_often_it_dies(tmp_path: Path) -> None:
    """A series that kills every worker, a caller that kills receivers: others must not wait for it."""
    assert max(pauses(Supervisor(Config(node=NodeSection(data_dir=tmp_path))), ready=True, deaths=20)) <= 2.0


def test_a_process_that_cannot_even_start_is_tried_ever_less_often(tmp_path: Path) -> None:
    found = pauses(Supervisor(Config(node=NodeSection(data_dir=tmp_path))), ready=False, deaths=20)
    assert found[0] < 1
    assert found[-1] > 20
