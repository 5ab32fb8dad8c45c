"""From the last instance's arrival to the first derived instance in the PACS, quiet period and corrector aside.

    python tests/benchmarks/bench_latency.py --slices 24 300 --runs 5

DCMTK's storescu is the scanner, Orthanc the PACS, both on loopback; the corrector only adds 10 HU. Times come from the
ledger and the node's log: when the last instance was acknowledged, and when Orthanc had acknowledged the first derived
one. Of a machine that does something else meanwhile this says nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sqlite3
import statistics
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import latency_corrector
import peers
from node import Node

from dicom_node.testing.series import SyntheticSeries

STAGES = ("settled", "leased", "read", "correct", "derive", "derived", "delivery", "first sent")


@dataclass(frozen=True)
class Run:
    """One study's way.

    Attributes:
        marks: when each stage began [s after the quiet period's end].
        own: the corrector's own time [s].
        rest: from the quiet period's end to the first derived instance in the PACS, the corrector's own time aside [s].
        last: the same to the last one.
    """

    marks: dict[str, float]
    own: float
    rest: float
    last: float


def rows(one: Node, query: str, *values: object) -> list[Any]:
    """Rows of the ledger."""
    with closing(sqlite3.connect(one.folder / "var" / "node.sqlite")) as ledger:
        return ledger.execute(query, values).fetchall()


def measure(one: Node, study: Path, slices: int, seed: int, quiet_s: float, done: int) -> Run:
    """Push one study and follow it."""
    series = SyntheticSeries(slices=slices, rows=512, columns=512, seed=seed)
    folder = study / str(seed)
    series.write(folder)
    push = peers.storescu(one.port, [folder])
    assert push.returncode == 0, push.stdout[-500:]
    one.wait_jobs("DELIVERED", done, limit_s=600)
    (arrival,) = rows(one, "SELECT max(received_at) FROM instances")[0]
    (job, metrics), *_ = rows(one, "SELECT job_id, metrics FROM job_documents ORDER BY rowid DESC")
    first, last = rows(
        one,
        "SELECT min(sent_at), max(sent_at) FROM delivery_instances i JOIN deliveries d ON d.id = i.delivery_id "
        "WHERE d.job_id = ?",
        job,
    )[0]
    begin = arrival + quiet_s

    def at(name: str, **fields: object) -> float:
        for line in one.events(name):
            if line["job"] == job and all(line.get(key) == value for key, value in fields.items()):
                return datetime.datetime.fromisoformat(line["timestamp"]).timestamp() - begin
        return float("nan")

    marks = {
        "settled": at("job_submitted"),
        "leased": at("job_started"),
        "read": at("job_step", step="read"),
        "correct": at("job_step", step="correct"),
        "derive": at("job_step", step="derive"),
        "derived": at("job_derived"),
        "delivery": at("delivery_started"),
        "first sent": first - begin,
    }
    own = json.loads(metrics)["own_seconds"]
    return Run(marks, own, first - begin - own, last - begin - own)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=[24, 300])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quiet", type=float, default=2.0, help="quiet period [s]; filing should be over by then")
    arguments = parser.parse_args()
    route = {"name": "latency", "when": {"Modality": "CT"}, "corrector": "latency"}
    with tempfile.TemporaryDirectory() as name, peers.orthanc(Path(name) / "orthanc") as pacs:
        folder = Path(name)
        peer = {"pacs": {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}}
        settings = {"intake": {"quiet_s": arguments.quiet}, "routes": [route], "defaults": False}
        environment = {"PYTHONPATH": latency_corrector.install(folder / "plugins")}
        one = Node(folder / "node", peer, settings, environment=environment)
        one.start()
        try:
            done = 0
            for slices in arguments.slices:
                runs = []
                for _ in range(arguments.runs):
                    done += 1
                    runs.append(measure(one, folder / "study", slices, done, arguments.quiet, done))
                report(slices, runs)
        finally:
            one.kill()


def report(slices: int, runs: list[Run]) -> None:
    """Print medians over the runs."""
    print(f"\n{slices} slices of 512 x 512, median of {len(runs)} [s after the end of the quiet period]")
    for stage in STAGES:
        values = [run.marks[stage] for run in runs]
        print(f"  {stage:12s} {statistics.median(values):8.3f}   ({min(values):.3f} to {max(values):.3f})")
    print(f"  corrector's own time {statistics.median(run.own for run in runs):8.3f}")
    for what, values in (("first", [run.rest for run in runs]), ("last", [run.last for run in runs])):
        middle = statistics.median(values)
        spread = f"{middle:8.3f}   ({min(values):.3f} to {max(values):.3f})"
        print(f"  {what} derived instance in the PACS, corrector aside {spread}")


if __name__ == "__main__":
    main()
