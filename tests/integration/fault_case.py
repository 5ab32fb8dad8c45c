"""One node under a fault, one PACS, and a few series: what the tests of single faults share."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faulty_disk
import soak_study
from faulty_node import Fault
from peers import Orthanc
from soak import QUICK, wait_for_rest
from soak_checks import Sent, check
from soak_node import FaultyNode, faulty
from soak_plan import Push
from soak_push import push

_NUMBERS = itertools.count(1)


@dataclass
class Case:
    """A running node and what it was sent.

    Attributes:
        node: under the faulty launcher, not revived when it dies.
        pacs: where derived series go.
    """

    node: FaultyNode
    pacs: Orthanc
    folder: Path
    seed: int
    threads: ThreadPoolExecutor
    _pushes: list[tuple[soak_study.Study, Future[set[str]]]] = field(default_factory=list)

    def push(self, slices: int = 4, *, tool: str = "light") -> Future[set[str]]:
        """Begin to push one more series, again and again until all of it is acknowledged."""
        number = len(self._pushes)
        study = soak_study.make(self.folder / f"study{number}", self.seed, number, slices)
        how = Push(slices, tool, repeat=True, cut_after=slices, ending="release", delay_s=0.0)
        future = self.threads.submit(push, self.node.port, study, how)
        self._pushes.append((study, future))
        return future

    def sent(self, study: soak_study.Study, acknowledged: set[str]) -> None:
        """Note that somebody else pushed this."""
        future: Future[set[str]] = Future()
        future.set_result(acknowledged)
        self._pushes.append((study, future))

    def extra_study(self) -> soak_study.Study:
        """One instance that `finish` does not ask for: it must not be acknowledged."""
        return soak_study.make(self.folder / f"extra{next(_NUMBERS)}", self.seed, 10**6, 1)

    def finish(self, limit_s: float = 60.0) -> None:
        """Everything pushed was taken; wait for rest, and check all that the soak checks.

        Raises:
            AssertionError: something is lost, double, half-written, or never comes to rest.
        """
        sent = [Sent(study, frozenset(future.result())) for study, future in self._pushes]
        wait_for_rest(self.node, sent, limit_s=limit_s)
        check(self.node, self.pacs, sent)

    def jobs(self, state: str) -> int:
        """How many jobs are in a state."""
        return int(self.node.query(f"SELECT count(*) FROM jobs WHERE state = '{state}'")[0][0])


@contextmanager
def fault_case(
    folder: Path,
    pacs: Orthanc,
    plan: Sequence[Fault] = (),
    *,
    clock: bool = False,
    disk: bool = False,
    tmpfs_mb: int = 0,
    **settings: Any,
) -> Iterator[Case]:
    """A node that is ready; everything of it is gone afterwards.

    Args:
        folder: its own.
        pacs: where derived series go.
        plan: faults at points.
        clock: whether its clock can be turned.
        disk: whether its disk can be made to refuse.
        tmpfs_mb: size of a file system of its own for its data [MiB]; 0 for none.
        settings: sections of the configuration, over the soak's.
    """
    sections = {**QUICK, "node": {"receivers": 1, "drain_s": 20}}
    for name, values in settings.items():
        sections[name] = {**sections.get(name, {}), **values} if isinstance(values, dict) else values
    node = faulty(folder / "node", pacs, plan, clock=clock, **sections)
    if disk:
        faulty_disk.prepare(node.notes)
    node.tmpfs_mb = tmpfs_mb
    try:
        node.start()
        with ThreadPoolExecutor(8) as threads:
            yield Case(node, pacs, folder, 10**7 + next(_NUMBERS), threads)
    finally:
        node.end_everything()


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    """Do something after a while, in a thread."""
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer
