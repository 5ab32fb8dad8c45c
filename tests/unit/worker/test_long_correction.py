"""A correction that takes many times as long as a lease, as fitting to a patient does, keeps its job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from test_worker_process import SPEC, Bench, Toy, brighter

from dicom_node.contracts import Correction, Volume
from dicom_node.database.engine import Database
from dicom_node.jobs.states import JobState
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.worker.process import Worker

LEASE_S = 0.5


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database.open(f"sqlite:///{tmp_path / 'node.sqlite'}")) as database:
        yield Bench(tmp_path, database)


def test_nobody_else_gets_the_job_meanwhile(bench: Bench) -> None:
    others: list[object] = []

    def slow(volume: Volume) -> Correction:
        until = time.monotonic() + 4 * LEASE_S
        while time.monotonic() < until:
            # Expired leases are taken back by whoever asks next.
            with bench.database.begin() as tx:
                others.append(bench.ledger.lease(tx, "other", LEASE_S, time.time()))
            time.sleep(0.02)
        return brighter(volume)

    worker = Worker(
        owner="w", device="cpu", lease_s=LEASE_S, database=bench.database, ledger=bench.ledger, outbox=bench.outbox,
        catalogue=Catalogue({"toy": SPEC}), build=lambda *_: Toy(slow),
    )  # fmt: skip
    assert worker.step()
    assert others
    assert set(others) == {None}
    assert bench.job.state is JobState.DERIVED
