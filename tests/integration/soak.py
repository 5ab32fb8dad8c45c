"""Soak: nodes that are killed, stopped and refused at fault points, one after the other, each from a seed.

    python tests/integration/soak.py --seeds 1000 --jobs 2
    python tests/integration/soak.py --seed 4711

`make soak` runs it with SEEDS, FIRST, SEED and JOBS.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import faulty_node
import soak_plan
import soak_study
from peers import Orthanc, orthanc, wait_until
from postgresql import Server, run_server
from soak_checks import Sent, check, unrest
from soak_node import FaultyNode, faulty, kept_alive
from soak_plan import Plan, Push
from soak_push import push
from soak_study import Study
from soak_witness import Witness, watched

_REST_S = 90.0
_KEEP_S = 2.0
"""Where retention is on, images leave after this long."""
_ENOUGH = 10
"""After so many failures the remaining seeds tell nothing new."""
_JOURNAL_BYTES = 5000
"""Small enough that a journal is turned over in the middle of a push."""
QUICK = {
    "intake": {"quiet_s": 0.4, "poll_s": 0.05},
    "jobs": {"backoff_s": 0.1, "max_backoff_s": 1, "lease_s": 15, "max_attempts": 10, "delivery_attempts": 30},
}


@dataclass
class Outcome:
    """What came of a seed.

    Attributes:
        plan: what was done.
        failure: empty when all is right.
        seconds: how long it took [s].
        reached: (kind, point) that were passed.
        fired: names of the faults that struck.
        starts: how often the node was started.
    """

    plan: Plan
    failure: str = ""
    seconds: float = 0.0
    reached: set[tuple[str, str]] = field(default_factory=set)
    fired: set[str] = field(default_factory=set)
    starts: int = 0


def run(seed: int, folder: Path, pacs: Orthanc, server: Server | None) -> Outcome:
    """One seed: its plan carried out, and everything checked. What it leaves on disk stays only after a failure."""
    outcome = Outcome(soak_plan.make(seed))
    began = time.monotonic()
    node_folder = folder / f"seed{seed}"
    shutil.rmtree(node_folder, ignore_errors=True)
    database = server.create(f"seed{seed}") if server is not None and outcome.plan.postgresql else "sqlite"
    one = _node(outcome.plan, node_folder / "node", pacs, database)
    try:
        _carry_out(outcome.plan, one, node_folder, pacs)
    except Exception:  # noqa: BLE001  whatever it is, it is this seed's failure, and the next seed runs
        outcome.failure = f"{outcome.plan.describe()}\n{traceback.format_exc()}"
    finally:
        one.end_everything()
        outcome.starts = one.starts
        outcome.reached = set(faulty_node.reached(one.notes))
        outcome.fired = faulty_node.fired(one.notes)
        outcome.seconds = time.monotonic() - began
    if outcome.failure:
        outcome.failure += f"fired: {sorted(outcome.fired)}\n{one.folder / 'node.log'} ends with\n{one.log()[-1500:]}\n"
    else:
        shutil.rmtree(node_folder)
    return outcome


def _node(plan: Plan, folder: Path, pacs: Orthanc, database: str) -> FaultyNode:
    return faulty(
        folder,
        pacs,
        plan.faults,
        spawn=plan.spawn,
        journal_bytes=_JOURNAL_BYTES,
        route={"parameters": {"seconds": 0.05}},
        node={"receivers": plan.receivers, "drain_s": 20, "database": database},
        retention={"keep_days": _KEEP_S / 86_400} if plan.keeping else {},
        **QUICK,
    )


def _carry_out(plan: Plan, one: FaultyNode, folder: Path, pacs: Orthanc) -> None:
    studies = [_study(folder, plan.seed, number, how) for number, how in enumerate(plan.pushes)]
    witness = Witness(one.data_dir, {i.sop_instance_uid: i.data_set for study in studies for i in study.instances})
    with watched(witness), kept_alive(one), ThreadPoolExecutor(len(studies) + 1) as threads:
        kills = threads.submit(_kill, plan, one)
        pushes = [threads.submit(push, one.port, study, how) for study, how in zip(studies, plan.pushes, strict=True)]
        sent = [Sent(study, frozenset(one.result())) for study, one in zip(studies, pushes, strict=True)]
        kills.result()
        struck = wait_for_rest(one, sent, keeping=plan.keeping)
    check(one, pacs, sent, keeping=plan.keeping)
    stop(one, sent, struck, keeping=plan.keeping)
    check(one, pacs, sent, keeping=plan.keeping)


def stop(one: FaultyNode, sent: Sequence[Sent], struck: set[str], *, keeping: bool) -> None:
    """Stop it. Some points may be passed only at rest or while it drains: killed there, it is started once more.

    Args:
        one: the node, at rest.
        sent: what it was sent.
        struck: faults that had struck when it was last seen alive.
        keeping: see `wait_for_rest`.

    Raises:
        AssertionError: it ended otherwise than by SIGTERM or by a fault of the plan.
    """
    if faulty_node.fired(one.notes) - struck:  # it may be starting again, and knows no SIGTERM yet
        wait_until(lambda: one.dead or one.page("/readyz")[0] == 200, _REST_S, "node ready or down")
    while (status := one.stop()) != 0:
        since = {name.rpartition(".")[2] for name in faulty_node.fired(one.notes) - struck}
        assert status == -signal.SIGKILL and since & {"node", "supervisor"}, f"SIGTERM ended the node with {status}"
        with kept_alive(one):
            struck = wait_for_rest(one, sent, keeping=keeping)


def _study(folder: Path, seed: int, number: int, how: Push) -> Study:
    if how.poison:
        return soak_study.make_poison(seed, number)
    return soak_study.make(folder / f"study{number}", seed, number, how.slices)


def _kill(plan: Plan, one: FaultyNode) -> None:
    began = time.monotonic()
    for at, victim in plan.kills:
        time.sleep(max(0.0, began + at - time.monotonic()))
        one.strike(victim)


def wait_for_rest(
    one: FaultyNode, sent: Iterable[Sent], *, keeping: bool = False, limit_s: float = _REST_S
) -> set[str]:
    """Wait until nothing is left to do, seen twice in a row; returns the faults that had struck by then.

    Raises:
        AssertionError: it never came; says what was left.
    """
    sent = tuple(sent)
    end, quiet = time.monotonic() + limit_s, 0
    while quiet < 2:
        struck = faulty_node.fired(one.notes)  # before the look: what strikes behind our back is not in it
        why = unrest(one, sent, keeping=keeping)
        quiet = 0 if why else quiet + 1
        assert time.monotonic() < end, f"not at rest after {limit_s:g} s: {why}"
        time.sleep(0.05)
    return struck


def campaign(
    seeds: Iterable[int],
    folder: Path,
    jobs: int,
    *,
    postgresql: Path | None,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Many seeds against one PACS.

    Args:
        seeds: which.
        folder: everything goes there.
        jobs: so many at a time.
        postgresql: the programs of a PostgreSQL; without it every ledger is SQLite.
        tell: called with each outcome as it comes.
    """
    lock = threading.Lock()
    failed: list[int] = []

    def one(seed: int) -> Outcome:
        if len(failed) >= _ENOUGH:
            return Outcome(soak_plan.make(seed), f"not run: the seeds {failed} failed before it")
        outcome = run(seed, folder, pacs, server)
        with lock:
            tell(outcome)
            if outcome.failure:
                failed.append(seed)
        return outcome

    with contextlib.ExitStack() as stack:
        pacs = stack.enter_context(orthanc(folder / "orthanc"))
        server = stack.enter_context(run_server(postgresql)) if postgresql is not None else None
        return list(stack.enter_context(ThreadPoolExecutor(jobs)).map(one, seeds))


def coverage(outcomes: Iterable[Outcome]) -> str:
    """For people: how often each point was reached, and how often something struck there."""
    outcomes = list(outcomes)
    reached = Counter(pair for outcome in outcomes for pair in outcome.reached)
    struck = Counter(
        (fault.kind, fault.point)
        for outcome in outcomes
        for fault in outcome.plan.faults
        if fault.name in outcome.fired
    )
    return "\n".join(
        f"{kind:10} {point:28} seeds that passed it: {reached[kind, point]:4}, struck there: {struck[kind, point]:4}"
        for kind, point in soak_plan.points()
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill nodes at every point and see that nothing is lost.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its plan")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    if given.seed is not None:
        print(soak_plan.make(given.seed).describe(), flush=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))

    def tell(outcome: Outcome) -> None:
        verdict = "FAILED" if outcome.failure else "ok"
        print(f"seed {outcome.plan.seed}: {verdict}, {outcome.seconds:.1f} s, {outcome.starts} starts, "
              f"struck: {', '.join(sorted(outcome.fired)) or 'nothing'}", flush=True)  # fmt: skip
        if outcome.failure:
            print(outcome.failure, flush=True)

    outcomes = campaign(seeds, folder, given.jobs, postgresql=_postgresql(), tell=tell)
    failed = [outcome.plan.seed for outcome in outcomes if outcome.failure]
    print(coverage(outcomes))
    if failed:
        print(f"{len(failed)} of {len(outcomes)} seeds failed or were not run: {failed}; see {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{len(outcomes)} seeds, all right")
    return 0


def _postgresql() -> Path | None:
    """Where the newest PostgreSQL has its programs."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *map(Path, filter(None, [shutil.which("initdb")]))]
    if not found:
        print("no PostgreSQL here: every ledger is SQLite", flush=True)
        return None
    return found[-1].resolve().parent


if __name__ == "__main__":
    sys.exit(main())
