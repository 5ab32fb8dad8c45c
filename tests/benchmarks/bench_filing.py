"""How fast intake takes a full spool into the archive and index. Prints rate, processor time and peak memory.

    python tests/benchmarks/bench_filing.py --count 1200 --runs 3

The spool is filled as receivers fill it, with CT of 525 KB (headers of 56 and of about 170 elements) and MR of 35 KB;
then one intake works until it is empty. A machine that does something else meanwhile shows in the rate, less in the
processor time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "net"))

from pydicom.dataset import FileDataset
from spool_room import Room, make_room, work

from dicom_node.archive.model import AssociationOpened, InstanceReceived
from dicom_node.net.spool import SpoolNames
from dicom_node.testing.series import SyntheticSeries, mr_series

_IN_A_JOURNAL_STRETCH = 500


def vendor_like(dataset: FileDataset) -> None:
    """As many elements as scanners write."""
    for group in (0x0019, 0x0021, 0x0029):
        block = dataset.private_block(group, f"VENDOR {group:04X}", create=True)
        for element in range(0x10, 0x36):
            block.add_new(element, "DS" if element % 2 else "LO", "1.25" if element % 2 else "SOMETHING")
        block.add_new(0xA0, "OB", bytes(6000))


def fill(room: Room, series: SyntheticSeries, count: int, rich: bool) -> int:
    """Put `count` instances with UIDs of their own into the spool; returns the size of one [bytes]."""
    receiver, names, entries = room.receiver, SpoolNames(room.receiver.spool), []
    scratch = room.folder / "scratch.dcm"
    dataset = series.dataset(0)
    if rich:
        vendor_like(dataset)
    dataset.save_as(scratch, enforce_file_format=True)
    pattern, old = scratch.read_bytes(), str(dataset.SOPInstanceUID).encode()
    for number in range(count):
        uid = str(10 ** (len(old) - 1) + number).encode()
        file = names.create()
        file.write(pattern.replace(old, uid))
        entries.append(InstanceReceived(receiver.association, file.path.name, uid.decode(), len(pattern), time.time()))
        if number % _IN_A_JOURNAL_STRETCH == 0:
            file.sync()
    os.sync()
    receiver.spool.record([AssociationOpened(receiver.association, "BENCH", "NODE", "127.0.0.1", time.time())])
    for at in range(0, count, _IN_A_JOURNAL_STRETCH):
        receiver.spool.record(entries[at : at + _IN_A_JOURNAL_STRETCH])
    return len(pattern)


def measure(series: SyntheticSeries, count: int, rich: bool) -> tuple[int, float, float]:
    """Size of an instance [bytes], wall time and processor time of one run [s]."""
    with tempfile.TemporaryDirectory() as name, make_room(Path(name)) as room:
        size = fill(room, series, count, rich)
        intake = room.intake()
        wall, processor = time.perf_counter(), time.process_time()
        work(intake, time.time())
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        assert room.counts() | {"instances": count, "unfiled": 0, "quarantined": 0} == room.counts()
    return size, wall, processor


def report(title: str, runs: Sequence[tuple[int, float, float]], count: int) -> None:
    """Print medians."""
    rates = [count / wall for _, wall, _ in runs]
    cost = statistics.median(processor / count for *_, processor in runs)
    rate = f"{statistics.median(rates):6.0f}/s ({min(rates):.0f} to {max(rates):.0f})"
    print(f"{title:34s} {runs[0][0] / 1000:6.0f} KB  {rate}  {cost * 1000:.2f} ms of a processor each")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    ct, mr = SyntheticSeries(slices=1, rows=512, columns=512), mr_series(slices=1, rows=128, columns=128)
    for title, series, rich, count in (
        ("CT, 56 elements", ct, False, arguments.count),
        ("CT, about 170 elements", ct, True, arguments.count),
        ("MR, about 60 elements", mr, False, 3 * arguments.count),
    ):
        report(title, [measure(series, count, rich) for _ in range(arguments.runs)], count)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
