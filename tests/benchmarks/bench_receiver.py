"""How fast the node receives, beside Orthanc and DCMTK's storescp on the same files: rates, ratios, peak memory.

    python tests/benchmarks/bench_receiver.py                        everything, five rounds: about a quarter of an hour
    python tests/benchmarks/bench_receiver.py --parts rates --rounds 1 --ct 200 --mr 800                  under a minute

Sender is DCMTK's storescu; files are dealt out to as many of them as there are associations, started together, and the
time runs until the last has ended. Receivers take turns, each time with an empty folder; that everything arrived is
checked after every run. Orthanc and the node fsync, storescp does not. The node is whole: receivers, intake, worker,
delivery. All of DCMTK and Orthanc runs with TCP_NODELAY=1, on both sides; in the part `stock` none of it does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import peers
from bulk import Bulk, write_enhanced_mr
from node import node

PARTS = ("rates", "stock", "large")
_ARRIVAL_LIMIT_S = 600


@dataclass(frozen=True)
class Receiver:
    """A running receiver.

    Attributes:
        port: its DICOM port on loopback.
        ae_title: what senders call it.
        count: how many instances it holds.
        processes: pids by name.
    """

    port: int
    ae_title: str
    count: Callable[[], int]
    processes: Callable[[], Mapping[str, int]]


@dataclass
class Runs:
    """What one receiver did with one load.

    Attributes:
        instances: of each round.
        seconds: of each round, until the last sender ended.
        settled_s: of each round, from then until the receiver had filed everything.
    """

    instances: int
    seconds: list[float] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Instances per second of each round."""
        return [self.instances / seconds for seconds in self.seconds]

    @property
    def rate(self) -> float:
        """Their median."""
        return statistics.median(self.rates)


@dataclass
class Results:
    """Everything measured.

    Attributes:
        runs: by load, then receiver.
        peak_mib: highest resident memory, by process name over all loads.
        large_peak_mib: the same while taking the large instance alone.
    """

    runs: dict[str, dict[str, Runs]] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    large_peak_mib: dict[str, float] = field(default_factory=dict)


@contextmanager
def orthanc(folder: Path, stock: bool) -> Iterator[Receiver]:
    """Orthanc as it comes: SQLite, fsync on."""
    with peers.orthanc(folder, stock=stock, SyncStorageArea=True) as one:
        yield Receiver(one.port, one.ae_title, one.count_instances, lambda: {"orthanc": _child("Orthanc")})


@contextmanager
def storescp(folder: Path, stock: bool) -> Iterator[Receiver]:
    """storescp as it comes; it never fsyncs."""
    with peers.storescp(folder, stock=stock) as one:
        yield Receiver(one.port, one.ae_title, lambda: len(one.files()), lambda: {"storescp": one.process.pid})


@contextmanager
def whole_node(folder: Path, stock: bool) -> Iterator[Receiver]:
    """Our node with its defaults; the quiet period keeps routing out of the measurement."""
    del stock  # it never needs the hint
    with node(folder, {}, intake={"quiet_s": 600}) as one:

        def processes() -> dict[str, int]:
            assert one.process is not None
            return {**one.pids(), "supervisor": one.process.pid}

        yield Receiver(one.port, "CORRECTOR", lambda: int(one.gauge('dicom_node_archive{kind="instances"}')), processes)


RECEIVERS: dict[str, Callable[[Path, bool], AbstractContextManager[Receiver]]] = {
    "orthanc": orthanc, "storescp": storescp, "node": whole_node,
}  # fmt: skip


def _child(name: str) -> int:
    return next(p.pid for p in psutil.Process().children(recursive=True) if p.name() == name)


def dcmtk(program: str) -> str:
    """A DCMTK program: pynetdicom's of the same name may lie beside this interpreter."""
    beside = Path(sys.executable).parent
    path = os.pathsep.join(p for p in os.environ.get("PATH", "").split(os.pathsep) if p and Path(p) != beside)
    found = shutil.which(program, path=path)
    if found is None:
        raise SystemExit(f"{program} is missing: apt-get install dcmtk")
    return found


def push(receiver: Receiver, folders: Sequence[Path], *, stock: bool) -> float:
    """One storescu for each folder, all at once; seconds until the last has ended."""
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | ({} if stock else {"TCP_NODELAY": "1"})
    command = [dcmtk("storescu"), "-aec", receiver.ae_title, "+sd", "127.0.0.1", str(receiver.port)]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        senders = [
            subprocess.Popen([*command, str(folder)], env=environment, stdout=output, stderr=output)
            for folder in folders
        ]
        failed = [sender for sender in senders if sender.wait()]
        seconds = time.perf_counter() - started
        output.seek(0)
        assert not failed, output.read()[-2000:].decode(errors="replace")
    return seconds


def measure(
    results: Results, load: str, parts: Mapping[str, Sequence[Path]], rounds: int, *, stock: bool = False
) -> None:
    """Let the receivers take turns, each with its folders."""
    runs = results.runs.setdefault(load, {name: Runs(_count(folders)) for name, folders in parts.items()})
    names = list(parts)
    for number in range(rounds):
        # Every round begins with another receiver, so that none always runs on a machine that another has warmed.
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            peaks = _run(runs[name], RECEIVERS[name], parts[name], stock=stock)
            for peak in (results.peak_mib, *((results.large_peak_mib,) if load == "large" else ())):
                peak.update({child: max(mib, peak.get(child, 0)) for child, mib in peaks.items()})
            print(f"{load}, round {number + 1}, {name}: {runs[name].rates[-1]:.1f} instances/s", file=sys.stderr)


def _run(
    runs: Runs, start: Callable[[Path, bool], AbstractContextManager[Receiver]], folders: Sequence[Path], *, stock: bool
) -> dict[str, float]:
    """One push into a fresh receiver; peak memory by process."""
    with tempfile.TemporaryDirectory() as work:
        os.sync()  # what the run before left to be written is not this one's burden
        with start(Path(work), stock) as receiver:
            runs.seconds.append(push(receiver, folders, stock=stock))
            ended = time.perf_counter()
            peers.wait_until(lambda: receiver.count() >= runs.instances, _ARRIVAL_LIMIT_S, "all instances arrived")
            runs.settled_s.append(time.perf_counter() - ended)
            assert receiver.count() == runs.instances
            return {child: peak_mib(pid) for child, pid in receiver.processes().items()}


def _count(folders: Sequence[Path]) -> int:
    return sum(1 for folder in folders for _ in folder.iterdir())


def peak_mib(pid: int) -> float:
    """Highest resident memory that the kernel has seen for a process [MiB]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def table(results: Results, names: Sequence[str]) -> list[str]:
    """The measurements as a Markdown table: instances per second, median and range, and ratios of medians."""
    loads = [load for load in results.runs if load != "large"]
    lines = ["| receiver | " + " | ".join(loads) + " |", "|---|" + "---|" * len(loads)] if loads else []
    for name in names if loads else ():
        cells = [_cell(results.runs[load][name].rates) for load in loads if name in results.runs[load]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for other in [name for name in names if name != "node" and "node" in names and loads]:
        cells = [f"{ratio:.2f}" if (ratio := _ratio(results, load, other)) else "–" for load in loads]
        lines.append(f"| node / {other} | " + " | ".join(cells) + " |")
    if "large" in results.runs:
        lines += ["", "| one large Enhanced MR | seconds | peak RSS MiB of each process |", "|---|---|---|"]
        for name, runs in results.runs["large"].items():
            own = {
                c: mib for c, mib in results.large_peak_mib.items() if c == name or (name == "node" and c not in names)
            }
            memory = ", ".join(f"{child} {mib:.0f}" for child, mib in sorted(own.items()))
            lines.append(f"| {name} | {_cell(runs.seconds, 2)} | {memory} |")
    if "node" in names and results.runs:
        settled = max(s for runs in results.runs.values() if "node" in runs for s in runs["node"].settled_s)
        lines += ["", f"longest wait until the node had filed everything, after the last sender: {settled:.1f} s"]
    lines += ["", "| process | peak RSS MiB over all runs |", "|---|---|"]
    return [*lines, *(f"| {child} | {mib:.0f} |" for child, mib in sorted(results.peak_mib.items()))]


def _cell(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _ratio(results: Results, load: str, other: str) -> float | None:
    runs = results.runs[load]
    return runs["node"].rate / runs[other].rate if other in runs and "node" in runs else None


def document(results: Results, names: Sequence[str]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "cores": os.cpu_count(),
        "runs": {
            load: {name: {**asdict(runs), "rates": runs.rates, "rate": runs.rate} for name, runs in by_name.items()}
            for load, by_name in results.runs.items()
        },
        "node_ratio": {
            load: {other: _ratio(results, load, other) for other in by_name if other != "node" and "node" in names}
            for load, by_name in results.runs.items()
        },
        "peak_mib": results.peak_mib,
        "large_peak_mib": results.large_peak_mib,
    }


def dealt(source: Path, associations: int, most: int) -> list[Path]:
    """Hard links to the first `most` files of a folder, dealt out in turn to one folder for each association."""
    folders = [source.with_name(f"{source.name}-{most}-{associations}-{k}") for k in range(associations)]
    for target in folders:
        target.mkdir(exist_ok=True)
    for number, file in enumerate(sorted(source.iterdir())[:most]):
        link = folders[number % associations] / file.name
        if not link.exists():
            link.hardlink_to(file)
    return folders


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--receivers", nargs="+", choices=sorted(RECEIVERS), default=list(RECEIVERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--ct", type=int, default=600, help="CT slices of 525 KB; 0 leaves them out")
    parser.add_argument("--mr", type=int, default=4000, help="MR slices of 35 KB; 0 leaves them out")
    parser.add_argument("--few-ct", type=int, default=120, help="of these, for Orthanc and storescp in `stock`")
    parser.add_argument("--few-mr", type=int, default=120, help="of these, for Orthanc and storescp in `stock`")
    parser.add_argument("--large-mb", type=int, default=300, help="size of the Enhanced MR [MB]")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for, and print."""
    arguments = _arguments()
    names, results = arguments.receivers, Results()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kinds = {"525 KB": (Bulk("CT", arguments.ct, 512), arguments.few_ct),
                 "35 KB": (Bulk("MR", arguments.mr, 130), arguments.few_mr)}  # fmt: skip
        for size, (bulk, few) in kinds.items():
            if not bulk.count:
                continue
            bulk.write([folder / bulk.modality])
            for count in arguments.associations:
                every = dealt(folder / bulk.modality, count, bulk.count)
                if "rates" in arguments.parts:
                    measure(results, f"{size}, {count}", dict.fromkeys(names, every), arguments.rounds)
                if "stock" in arguments.parts:
                    # Who answers a stock sender in tens a second gets fewer: what counts are instances per second.
                    first = dealt(folder / bulk.modality, count, few)
                    shares = {name: every if name == "node" else first for name in names}
                    measure(results, f"stock {size}, {count}", shares, arguments.rounds, stock=True)
        if "large" in arguments.parts:
            (folder / "large").mkdir()
            write_enhanced_mr(folder / "large" / "enhanced.dcm", arguments.large_mb * 1_000_000)
            measure(results, "large", {name: [folder / "large"] for name in names}, arguments.rounds)
    print(json.dumps(document(results, names)) if arguments.json else "\n".join(table(results, names)))


if __name__ == "__main__":
    main()
