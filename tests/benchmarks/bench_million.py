"""The hot path's statements on a ledger with a million rows and a million indexed instances, beside an empty one.

    python tests/benchmarks/bench_million.py --instances 1000000

Each figure is the median time of a whole transaction, commit and its sync included. SQLite always; PostgreSQL too where
its programs are installed. Nothing should grow with the tables.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, text

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Arrival, AssociationClosed, AssociationOpened, Received
from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.database.engine import Database
from dicom_node.jobs import JobInput, JobLedger, JobState, NewJob, OutputInstance, OutputSeries, RetryPolicy
from dicom_node.keeping.holds import Study, hold
from dicom_node.keeping.leaving import forget
from dicom_node.keeping.survey import survey

TESTS = Path(__file__).parents[1]
NOW = 2_000_000_000.0
BATCH = 64
TAGS = '{"Modality":"CT","Rows":512,"Columns":512,"filler":"' + "x" * 900 + '"}'
PER_STUDY = 200

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})",
    "postgresql": "WITH n AS (SELECT generate_series(0, {last}) AS i)",
}
KEY = {
    "sqlite": "printf('%032x%032x', {x} * 2654435761 % 4294967296, {x})",
    "postgresql": "lpad(to_hex({x}::bigint * 2654435761 % 4294967296), 32, '0') || lpad(to_hex({x}), 32, '0')",
}


def fill(database: Database, instances: int, data_dir: Path) -> None:
    """Finished work of years: instances, their studies and jobs, all delivered; a few jobs that wait."""
    with database.begin() as tx:
        name = tx.dialect.name

        def numbers(count: int) -> str:
            return NUMBERS[name].format(last=count - 1)

        def key(expression: str) -> str:
            return KEY[name].format(x=f"({expression})")

        def run(statement: str) -> None:
            tx.execute(text(statement.replace(":", "\\:")))

        patients, jobs = instances // PER_STUDY, instances // 8
        if name == "sqlite":
            run("PRAGMA cache_size=-400000")
        head = "INSERT INTO"
        run(f"{head} patients {numbers(patients)} SELECT {key('i')}, {PER_STUDY}, {PER_STUDY}, 1e9 + i, NULL FROM n")
        for table, columns, values in (
            ("studies", "patient_key, study_instance_uid, last_arrival", f"{key('i')}, '2.25.' || i, 1e9 + i"),
            (
                "series",
                "patient_key, study_instance_uid, series_instance_uid, instances",
                f"{key('i')}, '2.25.' || i, '2.25.' || i || '.1', {PER_STUDY}",
            ),
            (
                "explanations",
                "patient_key, series_instance_uid, generation, explained_at, document",
                f"{key('i')}, '2.25.' || i || '.1', 1, 1e9, '{{}}'",
            ),
        ):
            run(f"{head} {table} ({columns}) {numbers(patients)} SELECT {values} FROM n")
        run(
            f"{head} instances (sop_instance_uid, sop_class_uid, series_instance_uid, study_instance_uid, "
            "transfer_syntax_uid, patient_key, tags, path, sha256, own_output, association_id, received_at) "
            f"{numbers(instances)} SELECT '2.25.9.' || i, '1.2.840.10008.5.1.4.1.1.2', "
            f"'2.25.' || (i / {PER_STUDY}) || '.1', '2.25.' || (i / {PER_STUDY}), '1.2.840.10008.1.2.1', "
            f"{key(f'i / {PER_STUDY}')}, '{TAGS}', 'archive/aa/' || {key('i')} || '.dcm', {key('i')}, "
            "FALSE, 'a', 1e9 + i FROM n"
        )
        run(
            f"{head} associations (id, calling_ae, called_ae, address, receiver, opened_at, closed_at, how) "
            f"{numbers(jobs)} SELECT 'old' || i, 'CT', 'NODE', '10.0.0.1', 'r', 1e9 + i, 1e9 + i, 'released' FROM n"
        )
        run(
            f"{head} jobs (id, state, version, route, corrector, method, set_key, input_digest, recipe, attempts, "
            "setbacks, lost, created_at, updated_at, not_before, token, derived_token) "
            f"{numbers(jobs)} SELECT 'old' || i, 'DELIVERED', 1, 'hip', 'hipct', 'li', {key('i')}, {key('i')}, '', "
            "0, 0, 0, 1e9 + i, 1e9 + i, 1e9 + i, 1, 1 FROM n"
        )
        run(
            f"{head} job_documents {numbers(jobs)} SELECT 'old' || i, '{{}}', '[\"pacs\"]', '[]', '[]', '[]', '{{}}' "
            "FROM n"
        )
        run(f"{head} job_series {numbers(jobs)} SELECT '2.25.' || (i % {patients}) || '.1', 'old' || i FROM n")
        run(
            f"{head} deliveries (job_id, derived_token, peer, state, attempts, setbacks, lost, updated_at, not_before, "
            f"token, verified) {numbers(jobs)} "
            "SELECT 'old' || i, 1, 'pacs', 'DONE', 0, 0, 0, 1e9 + i, 1e9 + i, 1, 'ct: c-find 1 of 1' FROM n"
        )
        run(
            f"{head} job_events (job_id, at, target, code, message) {numbers(5 * jobs)} "
            "SELECT 'old' || (i / 5), 1e9 + i, 'DELIVERED', 'Delivered', '' FROM n"
        )


@dataclass
class Bench:
    """One database, and the statements of the hot path on it."""

    database: Database
    data_dir: Path
    index: ArchiveIndex = field(init=False)
    ledger: JobLedger = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.index = ArchiveIndex(self.data_dir)
        self.ledger = JobLedger(RetryPolicy(), data_dir=self.data_dir)

    def arrivals(self, numbers: list[int]) -> list[Arrival]:
        """Instances of a patient of their own."""
        found = []
        for at, number in enumerate(numbers):
            uid = f"1.2.{self.count}.{at}"
            path = self.data_dir / f"archive/aa/{uid}.dcm"
            header = InstanceHeader(
                uid, "4", f"1.2.{self.count}", f"1.{self.count}", "5", f"new{self.count}", {"Modality": "CT"},
                FileRef(path), "b" * 64,
            )  # fmt: skip
            found.append(Arrival(Received(number, path, f"new{self.count}", NOW + self.count), header))
        return found

    def job(self) -> NewJob:
        """A job over the newest series."""
        inputs = tuple(
            JobInput("ct", f"1.2.{self.count}.{n}", f"1.2.{self.count}", FileRef(self.data_dir / "x"), "b" * 64, {})
            for n in range(BATCH)
        )
        return NewJob("hip", "hipct", "li", {}, ("pacs",), inputs, f"set{self.count}", "d")

    def cycle(self) -> dict[str, float]:
        """A study's life once; seconds by statement."""
        self.count += 1
        times: dict[str, float] = {}
        name, now = f"new{self.count}", NOW + self.count

        @contextmanager
        def timed(what: str, *, write: bool = True) -> Iterator[Connection]:
            started = time.perf_counter()
            with self.database.begin() if write else self.database.read() as tx:
                yield tx
            times[what] = time.perf_counter() - started

        def do(what: str, call: Callable[[Connection], object], *, write: bool = True) -> object:
            with timed(what, write=write) as tx:
                return call(tx)

        opened = AssociationOpened(name, "CT", "NODE", "10.0.0.1", now)
        received = [Received(0, self.data_dir / f"spool/files/{name}-{n}", name, now) for n in range(BATCH)]
        closed = AssociationClosed(name, "released", now)
        do(
            f"absorb {BATCH}",
            lambda tx: self.index.absorb(
                tx, name, 0, 1, receiver="r", opened=[opened], received=received, closed=[closed]
            ),
        )
        waiting = do("unfiled", lambda tx: self.index.unfiled(tx, 128), write=False)
        arrivals = self.arrivals([one.id for one in waiting])  # type: ignore[attr-defined]
        uids = [one.header.sop_instance_uid for one in arrivals]
        do(f"known {BATCH}", lambda tx: self.index.known(tx, uids), write=False)
        do(f"file {BATCH}", lambda tx: self.index.file(tx, arrivals, now))
        do("next_settling", lambda tx: self.index.next_settling(tx, 30, now), write=False)
        (settled,) = do("settled_patients", lambda tx: self.index.settled_patients(tx, 0, now, 1), write=False)  # type: ignore[misc]
        do("series_of_patient", lambda tx: self.index.series_of_patient(tx, settled.patient_key), write=False)
        with timed("submit and mark_routed") as tx:
            self.ledger.submit(tx, self.job(), now)
            self.index.mark_routed(tx, settled.patient_key, settled.generation, [], now)
        lease = do("lease", lambda tx: self.ledger.lease(tx, "w", 60, now))
        do("heartbeat", lambda tx: self.ledger.heartbeat(tx, lease, 60, now))  # type: ignore[arg-type]
        output = [OutputSeries("ct", "9", ("4",), (OutputInstance(f"9.{self.count}", "4", "1.dcm"),))]
        do("derived", lambda tx: self.ledger.derived(tx, lease, output, (), {}, now))  # type: ignore[arg-type]
        sending = do("lease_delivery", lambda tx: self.ledger.lease_delivery(tx, "d", 60, now))
        do("instance_sent", lambda tx: self.ledger.instance_sent(tx, sending, f"9.{self.count}", 0, now))  # type: ignore[arg-type]
        do("delivery_done", lambda tx: self.ledger.delivery_done(tx, sending, "ct: c-find 1 of 1", now))  # type: ignore[arg-type]
        do("jobs list", lambda tx: self.ledger.find(tx, limit=50), write=False)
        do("jobs list --state", lambda tx: self.ledger.find(tx, state=JobState.DEAD, limit=50), write=False)
        do("counts", lambda tx: (self.index.counts(tx), self.ledger.counts(tx)), write=False)
        do("status", lambda tx: survey(tx, self.ledger), write=False)
        study = Study(0, settled.patient_key, f"1.{self.count}", now)
        do("retention: why not", lambda tx: hold(tx, study, ()), write=False)
        do("retention: pick", pick, write=False)
        with timed(f"retention: mark and forget {BATCH}") as tx:
            mark = "UPDATE instances SET leaving_since = 1 WHERE patient_key = '{}' RETURNING id"
            forget(tx, list(tx.execute(text(mark.format(settled.patient_key))).scalars()))
        return times


def pick(tx: Connection) -> object:
    """The page of studies that retention looks at."""
    page = "SELECT * FROM studies WHERE (last_arrival, id) > (0, 0) AND last_arrival < 1.5e9 ORDER BY last_arrival, id"
    return tx.execute(text(f"{page} LIMIT 50")).all()


def measure(bench: Bench, cycles: int) -> dict[str, float]:
    """Median seconds by statement."""
    found = [bench.cycle() for _ in range(cycles + 5)][5:]
    return {what: statistics.median(one[what] for one in found) for what in found[0]}


def compare(empty_url: str, full_url: str, instances: int, cycles: int, folder: Path) -> None:
    """Measure both and print."""
    empty, full = Database.open(empty_url), Database.open(full_url)
    started = time.monotonic()
    fill(full, instances, folder)
    if not full_url.startswith("sqlite"):
        with full.begin() as tx:
            tx.execute(text("ANALYZE"))
    print(f"  filled in {time.monotonic() - started:.0f} s")
    # In turns, so that what else the machine does falls on both.
    benches = {"empty": Bench(empty, folder), "full": Bench(full, folder)}
    times: dict[str, list[dict[str, float]]] = {which: [] for which in benches}
    for _ in range(3):
        for which, bench in benches.items():
            times[which].append(measure(bench, cycles))
    print(f"  {'statement':32} {'empty':>10} {'full':>10} {'ratio':>7}")
    for what in times["empty"][0]:
        one, other = (statistics.median(run[what] for run in times[which]) for which in ("empty", "full"))
        print(f"  {what:32} {one * 1e3:7.2f} ms {other * 1e3:7.2f} ms {other / one:7.2f}")
    empty.close()
    full.close()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--cycles", type=int, default=40)
    parser.add_argument("--engine", choices=("both", "sqlite", "postgresql"), default="both")
    arguments = parser.parse_args()
    rows = arguments.instances // 8 * 9 + arguments.instances
    print(f"{arguments.instances} instances, {rows - arguments.instances} rows of associations, jobs and deliveries")
    if arguments.engine != "postgresql":
        with tempfile.TemporaryDirectory() as name:
            print("SQLite")
            files = (f"sqlite:///{name}/{which}.sqlite" for which in ("empty", "full"))
            compare(*files, arguments.instances, arguments.cycles, Path(name))
    if arguments.engine != "sqlite":
        on_server(arguments.instances, arguments.cycles)


def on_server(instances: int, cycles: int) -> None:
    """The same on PostgreSQL, where its programs are installed."""
    sys.path[:0] = [str(TESTS), str(TESTS / "integration")]
    from conftest import find_program
    from postgresql import run_server

    initdb = find_program("initdb")
    if initdb is None:
        print("PostgreSQL is not installed")
        return
    with run_server(initdb.resolve().parent) as server, tempfile.TemporaryDirectory() as name:
        print("PostgreSQL (no fsync)")
        compare(server.url(), server.create("full_one"), instances, cycles, Path(name))


if __name__ == "__main__":
    main()
