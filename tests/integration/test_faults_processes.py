"""Processes that are told to stop, hang, or die again and again: the others go on, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import peers
import psutil
import pytest
import soak_study
from fault_case import fault_case
from faulty_node import Fault
from light_sender import SUCCESS, LightSender
from peers import Orthanc, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[..., Path]) -> Iterator[Orthanc]:
    need_program("Orthanc", "storescu")
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


def route(name: str, description: str, **parameters: object) -> dict[str, object]:
    return {"name": name, "when": {"SeriesDescription": description}, "corrector": "soak", "parameters": parameters}


def test_sigterm_lets_a_push_finish_and_takes_no_other(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs) as case:
        study = soak_study.make(tmp_path / "study", case.seed, 0, 6)
        with LightSender(case.node.port, study.instances[0].sop_class_uid) as sender:
            assert sender.store(study.instances[0]) == SUCCESS
            case.node.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
            wait_until(lambda: case.node.events("draining"), what="draining")
            wait_until(lambda: not peers.accepts_connections(case.node.port), 5, "others are refused at once")
            assert [sender.store(one) for one in study.instances[1:]] == [SUCCESS] * 5
            sender.release()
        assert case.node.process.wait(30) == 0  # type: ignore[union-attr]
        case.node.start()
        case.sent(study, study.uids)
        case.finish()


def test_without_the_supervisor_nobody_stays_and_the_port_is_free_at_once(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, node={"receivers": 2}) as case:
        future = case.push(8)
        children = psutil.Process(case.node.process.pid).children(recursive=True)  # type: ignore[union-attr]
        case.node.strike("supervisor")
        case.node.process.wait()  # type: ignore[union-attr]
        case.node.start()
        assert not psutil.wait_procs(children, timeout=5)[1]
        future.result()
        case.finish()


@pytest.mark.parametrize("victim", ["receiver-1", "intake-0", "worker-0"])
def test_a_process_that_stands_still_holds_up_no_sender(tmp_path: Path, pacs: Orthanc, victim: str) -> None:
    with fault_case(tmp_path, pacs, node={"receivers": 2}) as case:
        pid = case.node.pids()[victim]
        os.kill(pid, signal.SIGSTOP)
        try:
            # A stopped receiver accepts nothing more; what waits in its queue goes to the sender's next attempt.
            assert case.push().result(timeout=30)
            assert case.push(tool="storescu").result(timeout=30)
        finally:
            os.kill(pid, signal.SIGCONT)
        case.finish()


def test_a_corrector_that_hangs_holds_up_neither_receiving_nor_other_workers(tmp_path: Path, pacs: Orthanc) -> None:
    routes = [route("hangs", "HANGS", seconds=3600.0), route("soak", "SYNTHETIC SERIES")]
    with fault_case(tmp_path, pacs, routes=routes, node={"workers": 2, "drain_s": 1}) as case:
        hung = soak_study.make(tmp_path / "hung", case.seed, 10**6 + 1, 3, description="HANGS")
        store(case.node.port, hung)
        wait_until(lambda: case.jobs("LEASED"), what="the hanging job is in work")
        case.push()
        wait_until(lambda: case.jobs("DELIVERED"), what="another job is delivered")
        assert case.jobs("LEASED") == 1


def test_an_input_that_kills_its_worker_ends_dead_and_others_go_on_meanwhile(tmp_path: Path, pacs: Orthanc) -> None:
    routes = [route("deadly", "DEADLY", deadly=True), route("soak", "SYNTHETIC SERIES")]
    with fault_case(tmp_path, pacs, routes=routes) as case:
        deadly = soak_study.make(tmp_path / "deadly", case.seed, 10**6 + 1, 3, description="DEADLY")
        store(case.node.port, deadly)
        wait_until(lambda: case.node.query("SELECT count(*) FROM jobs WHERE lost > 0")[0][0], what="one death")
        began = time.monotonic()
        case.push()
        wait_until(lambda: case.jobs("DELIVERED"), 30, "another job is delivered")
        others_took = time.monotonic() - began
        wait_until(lambda: case.jobs("DEAD"), 60, "the deadly job is given up")
        ((error, code),) = case.node.query("SELECT error, error_code FROM jobs WHERE state = 'DEAD'")
        assert code == "WorkerLost"
        assert "worker" in error
        # After it was given up the next job must not wait for a restart that grew with every death.
        began = time.monotonic()
        case.push()
        wait_until(lambda: case.jobs("DELIVERED") == 2, 30, "the next job is delivered")
        print(f"others took {others_took:.1f} s and {time.monotonic() - began:.1f} s")


def store(port: int, study: soak_study.Study) -> None:
    with LightSender(port, study.instances[0].sop_class_uid) as sender:
        assert [sender.store(one) for one in study.instances] == [SUCCESS] * len(study.instances)
        sender.release()


def test_a_worker_that_comes_back_after_its_job_was_given_away_changes_nothing(tmp_path: Path, pacs: Orthanc) -> None:
    """Stopped just before it publishes, while the supervisor dies and another worker publishes."""
    plan = [Fault("worker", "outbox.synced", 1, "stop", seconds=6.0)]
    with fault_case(tmp_path, pacs, plan) as case:
        case.push(6).result()
        wait_until(lambda: list((case.node.notes / "fired").iterdir()), what="the worker stands still")
        case.node.strike("supervisor")
        case.node.process.wait()  # type: ignore[union-attr]
        case.node.start()
        wait_until(lambda: case.jobs("DELIVERED"), what="another worker has done it")
        time.sleep(4)
        case.finish()


def test_every_process_of_the_node_stands_still_for_a_while(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs) as case:
        future = case.push(8)
        group = case.node.process.pid  # type: ignore[union-attr]
        os.killpg(group, signal.SIGSTOP)
        time.sleep(2)
        os.killpg(group, signal.SIGCONT)
        future.result()
        case.finish()
