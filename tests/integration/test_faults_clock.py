"""The clock jumps by hours while the node works: quiet periods, leases, waits and retention end when they should."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import peers
import psutil
import pytest
from fault_case import fault_case
from faulty_node import turn_clock
from peers import Orthanc, wait_until

HOUR_S = 3600.0
JUMPS = pytest.mark.parametrize("hours", [-3, 3], ids=["back", "ahead"])


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[..., Path]) -> Iterator[Orthanc]:
    need_program("Orthanc")
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@JUMPS
def test_a_study_within_its_quiet_period_is_corrected_soon(tmp_path: Path, pacs: Orthanc, hours: int) -> None:
    with fault_case(tmp_path, pacs, clock=True, intake={"quiet_s": 1.5}) as case:
        case.push().result()
        turn_clock(case.node.notes, hours * HOUR_S)
        case.push()
        case.finish(limit_s=30)


@JUMPS
def test_a_job_that_waits_for_a_worker_is_done_soon(tmp_path: Path, pacs: Orthanc, hours: int) -> None:
    with fault_case(tmp_path, pacs, clock=True, routes=[slow_route(2.0)]) as case:
        case.push()
        case.push()
        wait_until(lambda: case.jobs("LEASED") and case.jobs("QUEUED"), what="one job in work, one waiting")
        turn_clock(case.node.notes, hours * HOUR_S)
        case.finish(limit_s=30)


@JUMPS
def test_the_lease_of_a_worker_that_is_gone_ends(tmp_path: Path, pacs: Orthanc, hours: int) -> None:
    with fault_case(tmp_path, pacs, clock=True, routes=[slow_route(1.5)], jobs={"lease_s": 3}) as case:
        case.push()
        wait_until(lambda: case.jobs("LEASED"), what="job in work")
        turn_clock(case.node.notes, hours * HOUR_S)
        psutil.Process(case.node.pids()["worker-0"]).kill()
        case.finish(limit_s=30)


@JUMPS
def test_a_delivery_that_waits_after_a_failure_is_tried_again_soon(tmp_path: Path, pacs: Orthanc, hours: int) -> None:
    absent = Orthanc(pacs.ae_title, peers.free_port(), pacs.http_port)
    with fault_case(tmp_path, absent, clock=True) as case:
        case.push()
        wait_until(
            lambda: case.node.query("SELECT count(*) FROM deliveries WHERE setbacks > 1")[0][0], what="two failures"
        )
        turn_clock(case.node.notes, hours * HOUR_S)
        with peers.orthanc(tmp_path / "late", port=absent.port) as late:
            case.pacs = late
            case.finish(limit_s=30)


def test_the_node_is_restarted_with_a_clock_that_is_behind(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, clock=True, intake={"quiet_s": 1.5}) as case:
        case.push().result()
        case.node.end_everything()
        turn_clock(case.node.notes, -3 * HOUR_S)
        case.node.start()
        case.finish(limit_s=30)


def test_retention_forgets_nothing_undelivered_when_the_clock_is_ahead(tmp_path: Path, pacs: Orthanc) -> None:
    absent = Orthanc(pacs.ae_title, peers.free_port(), pacs.http_port)
    with fault_case(tmp_path, absent, clock=True, retention={"keep_days": 1}) as case:
        case.push()
        wait_until(lambda: case.jobs("DERIVED"), what="derived")
        turn_clock(case.node.notes, 48 * HOUR_S)
        time.sleep(5)  # two rounds of retention at least
        assert not case.node.events("study_leaves")
        turn_clock(case.node.notes, 0)
        with peers.orthanc(tmp_path / "late", port=absent.port) as late:
            case.pacs = late
            case.finish(limit_s=30)


def slow_route(seconds: float) -> dict[str, object]:
    return {"name": "soak", "when": {"Modality": "CT"}, "corrector": "soak", "parameters": {"seconds": seconds}}
