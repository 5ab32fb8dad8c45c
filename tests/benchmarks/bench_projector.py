"""Speed of our CT projector against scikit-image, in one run on the same machine.

Runs the two in turn, so that other load on the machine hits both, and prints medians.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from skimage.transform import iradon, radon

from simulation.projector import ParallelGeometry, ParallelProjector


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (np.hypot(x, y) < 0.4 * size).astype(np.float32) * 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="side of the image")
    parser.add_argument("--angles", type=int, default=360)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    before = peak_mib()
    projector = ParallelProjector(ParallelGeometry(arguments.size, 1.0, arguments.angles))
    image = disc(arguments.size)
    tensor = torch.from_numpy(image)[None]
    build_forward = seconds(lambda: projector.forward(tensor))
    sinogram = projector.forward(tensor)
    build_fbp = seconds(lambda: projector.fbp(sinogram))
    print(f"{arguments.size} x {arguments.size}, {arguments.angles} angles, {torch.get_num_threads()} threads")
    print(f"first call, with building: forward {build_forward:.2f} s, fbp {build_fbp:.2f} s")
    print(f"peak memory of the process: {before:.0f} MiB before, {peak_mib():.0f} MiB with both operators")

    degrees = np.arange(arguments.angles) * 180 / arguments.angles
    theirs_sinogram = radon(image, theta=degrees, circle=True)
    calls: dict[str, Callable[[], object]] = {
        "forward ours": lambda: projector.forward(tensor),
        "forward scikit-image": lambda: radon(image, theta=degrees, circle=True),
        "fbp ours": lambda: projector.fbp(sinogram),
        "fbp scikit-image": lambda: iradon(theirs_sinogram, theta=degrees, circle=True),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:22s} {median * 1e3:8.1f} ms")
    for kind in ("forward", "fbp"):
        print(f"{kind}: {medians[kind + ' scikit-image'] / medians[kind + ' ours']:.1f} times faster than scikit-image")

    images = tensor.repeat(arguments.batch, 1, 1)
    sinograms = sinogram.repeat(arguments.batch, 1, 1)
    batched: dict[str, Callable[[], object]] = {
        "forward": lambda: projector.forward(images),
        "fbp": lambda: projector.fbp(sinograms),
    }
    for name, call in batched.items():
        median = statistics.median(seconds(call) for _ in range(arguments.repeats))
        print(f"batch {arguments.batch}: {name} {median / arguments.batch * 1e3:.1f} ms for each slice")
    print(f"peak memory of the process at the end: {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
