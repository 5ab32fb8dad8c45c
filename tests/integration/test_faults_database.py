"""The ledger cannot be written for a while: receiving goes on without it, and the rest follows when it is back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import peers
import psutil
import pytest
from fault_case import Case, fault_case
from peers import Orthanc, wait_until
from postgresql import Server, run_server

LOCKED_S = 20.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[..., Path]) -> Iterator[Orthanc]:
    need_program("Orthanc", "storescu")
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@contextmanager
def locked(case: Case) -> Iterator[float]:
    """Another process's hand on the database; gives the time when it lets go."""
    with closing(sqlite3.connect(case.node.data_dir / "node.sqlite", timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield time.monotonic() + LOCKED_S
        connection.execute("ROLLBACK")


def test_a_database_locked_for_long_delays_no_sender(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, node={"receivers": 2}) as case:
        case.push()
        with locked(case) as until:
            pushes = [case.push(tool=tool) for tool in ("light", "storescu", "light")]
            assert all(future.result(timeout=15) for future in pushes)
            assert time.monotonic() < until, "taken while the database was locked"
            time.sleep(max(0.0, until - time.monotonic()))
        case.finish()


def test_a_receiver_that_dies_meanwhile_is_replaced_at_once(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs) as case:
        with locked(case):
            before = case.node.pids()
            for name in ("worker-0", "receiver-0"):
                psutil.Process(before[name]).kill()
            assert case.push().result(timeout=10)
            assert case.node.pids()["receiver-0"] != before["receiver-0"]
        case.finish()


@pytest.fixture(scope="module")
def postgresql(need_program: Callable[..., Path]) -> Iterator[Server]:
    with run_server(need_program("initdb").resolve().parent) as server:
        yield server


def test_postgresql_is_stopped_and_started_again_during_a_push(
    tmp_path: Path, pacs: Orthanc, postgresql: Server
) -> None:
    with fault_case(tmp_path, pacs, node={"database": postgresql.create("stopped")}) as case:
        case.push()
        wait_until(lambda: case.jobs("DELIVERED"), what="first job done")
        pushes = [case.push(8, tool=tool) for tool in ("light", "storescu")]
        postgresql.stop()
        pushes.append(case.push())
        try:
            assert all(future.result(timeout=20) for future in pushes), "taken without the server"
            time.sleep(3)
        finally:
            postgresql.start()
        case.finish()


def test_postgresql_is_killed_during_a_push(tmp_path: Path, pacs: Orthanc, postgresql: Server) -> None:
    with fault_case(tmp_path, pacs, node={"database": postgresql.create("killed")}) as case:
        pushes = [case.push(8, tool=tool) for tool in ("light", "storescu")]
        time.sleep(0.3)
        postgresql.kill()
        try:
            assert all(future.result(timeout=20) for future in pushes)
        finally:
            postgresql.start()
        case.finish()
