"""The main job at full size: push, correct, send back. Prints times and the peak memory of every process.

    python tests/benchmarks/bench_main_job.py --slices 300 --metal 60

DCMTK's storescu is the scanner, Orthanc the PACS, both on loopback. The study is synthetic (512 x 512, one metal head).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import hip_study
import peers
from node import node


def peak_mib(pid: int) -> float:
    """Highest resident memory that the kernel has seen for a process [MiB]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--metal", type=int, default=60, help="slices that hold metal")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--method", default="classical")
    arguments = parser.parse_args()
    first = (arguments.slices - arguments.metal) // 2
    metal = tuple(range(first, first + arguments.metal))
    route = {"name": "hip", "when": {"Modality": "CT"}, "corrector": "hipct", "method": arguments.method}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hip_study.write(folder / "study", slices=arguments.slices, metal_slices=metal, rows=arguments.rows)
        with peers.orthanc(folder / "orthanc") as pacs:
            peer = {"pacs": {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}}
            with node(folder / "node", peer, routes=[route]) as one:
                started = time.monotonic()
                push = peers.storescu(one.port, [folder / "study"])
                assert push.returncode == 0, push.stdout[-500:]
                pushed = time.monotonic()
                one.wait_jobs("DELIVERED", limit_s=1800)
                done = time.monotonic()
                steps = {e["step"]: e["timestamp"] for e in one.events("job_step")}
                job = one.events("job_derived")[0]
                memory = {child: peak_mib(pid) for child, pid in sorted(one.pids().items())}
                memory["supervisor"] = peak_mib(one.process.pid)
                came = pacs.count_instances()
    print(
        f"{arguments.slices} slices of {arguments.rows} x {arguments.rows}, "
        f"{arguments.metal} with metal, {arguments.method}"
    )
    print(f"push               {pushed - started:8.1f} s  ({arguments.slices / (pushed - started):.0f} images/s)")
    print(f"until delivered    {done - pushed:8.1f} s after the push (quiet period 0.5 s included)")
    print(f"read+correct+derive{job['seconds']:8.1f} s  (steps begun: {steps})")
    print(f"instances in PACS  {came:8d}")
    for child, mib in memory.items():
        print(f"peak memory        {mib:8.0f} MiB  {child}")


if __name__ == "__main__":
    main()
