"""Fifty nodes killed, stopped and refused at every fault point: nothing acknowledged is lost, nothing arrives twice.

The seeds are new in each run; `make soak SEED=n` does one of them again. `SOAK_FIRST` names the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

import pytest
import soak
import soak_plan
from faulty_node import Fault
from peers import orthanc
from soak_node import faulty

SEEDS = 50
FIRST = int(os.environ.get("SOAK_FIRST") or SystemRandom().randrange(1, 10**6))
JOBS = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[..., Path]) -> dict[int, soak.Outcome]:
    """All seeds, two at a time: a node that waits for a quiet period leaves the machine to the other."""
    need_program("Orthanc", "storescu")
    programs = need_program("initdb").resolve().parent
    folder = tmp_path_factory.mktemp("soak")
    outcomes = soak.campaign(range(FIRST, FIRST + SEEDS), folder, JOBS, postgresql=programs)
    return {one.plan.seed: one for one in outcomes}


@pytest.mark.parametrize("number", range(SEEDS))
def test_the_end_state_is_right(outcomes: dict[int, soak.Outcome], number: int) -> None:
    outcome = outcomes[FIRST + number]
    assert not outcome.failure, f"make soak SEED={outcome.plan.seed}\n{outcome.failure}"


def test_every_fault_point_was_passed_and_most_were_struck(outcomes: dict[int, soak.Outcome]) -> None:
    """A point that no seed passes protects nothing: it is dead, or the soak must learn how to get there."""
    report = soak.coverage(outcomes.values())
    print(report)
    known = set(soak_plan.points())
    passed = set[tuple[str, str]]().union(*(one.reached for one in outcomes.values()))
    assert known <= passed, f"never passed: {sorted(known - passed)}\n{report}"
    struck = {
        (fault.kind, fault.point) for one in outcomes.values() for fault in one.plan.faults if fault.name in one.fired
    }
    assert len(struck) >= 0.9 * len(known), f"never struck: {sorted(known - struck)}\n{report}"


def test_a_seed_makes_the_same_plan_again() -> None:
    assert soak_plan.make(4711) == soak_plan.make(4711)
    assert soak_plan.make(4711) != soak_plan.make(4712)


def test_as_many_seeds_as_points_kill_at_every_point() -> None:
    known = soak_plan.points()
    assert len(known) <= SEEDS, "more points than seeds in CI: raise SEEDS"
    first = {(plan.faults[0].kind, plan.faults[0].point) for plan in map(soak_plan.make, range(len(known)))}
    assert first == set(known)


@pytest.mark.parametrize("action", ["supervisor", "node"])
def test_a_node_that_is_killed_while_it_drains_is_started_and_stopped_once_more(
    action: str, tmp_path: Path, need_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a point is passed then is a matter of milliseconds: the fault strikes here by the test's own hand."""
    need_program("Orthanc")
    fault = Fault("intake", "intake.journal_removed", nth=1, action=action)
    with orthanc(tmp_path / "orthanc") as pacs:
        one = faulty(tmp_path / "node", pacs, [], node={}, **soak.QUICK)
        really_stop = one.stop

        def stop() -> int:
            noted = one.notes / "fired" / fault.name
            if noted.exists():
                return really_stop()
            noted.touch()
            one.strike(action)
            return really_stop()

        monkeypatch.setattr(one, "stop", stop)
        one.start()
        try:
            soak.stop(one, [], set(), keeping=False)
            assert one.dead
            assert one.starts == 2
        finally:
            one.end_everything()


def test_a_node_that_ends_badly_without_a_fault_is_a_failure(
    tmp_path: Path, need_program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_program("Orthanc")
    with orthanc(tmp_path / "orthanc") as pacs:
        one = faulty(tmp_path / "node", pacs, [])
    monkeypatch.setattr(one, "stop", lambda: -9)
    with pytest.raises(AssertionError, match="ended the node with -9"):
        soak.stop(one, [], set(), keeping=False)
