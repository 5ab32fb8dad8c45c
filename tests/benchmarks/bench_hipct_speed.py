"""Speed of the hip CT methods, next to textbook NMAR through scikit-image in the same run.

    python tests/benchmarks/bench_hipct_speed.py [--threads 2] [--weights best=PACKAGE]
    python tests/benchmarks/bench_hipct_speed.py --series [--device cuda]

Slices of 512 x 512 and 480 angles, metal from `dicom-node simulate`'s physics in a procedural pelvis. Methods and
textbook take turns, so that other load on the machine hits all, and medians are printed; building of the projection
matrices is told apart. `--series` corrects a whole series of 300 slices, 60 of them with metal, by one method, and
tells the peak memory of the process.
"""

from __future__ import annotations

import argparse
import importlib.resources
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from textbook_mar import textbook

from correctors.hipct.infer import build
from correctors.hipct.plugin import SPEC
from dicom_node.contracts import Corrector, Volume
from dicom_node.errors import WeightsError
from training.subjects.hipct import SUBJECT

SERIES, METAL = 300, 60
SEED = 1


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock time of a call that leaves nothing running."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stack(volume: Volume, slices: list[int], spacing_mm: float = 1.0) -> Volume:
    """Some slices of a volume, in that order, one above the other."""
    origins = tuple((0.0, 0.0, spacing_mm * z) for z in range(len(slices)))
    geometry = replace(volume.geometry, slice_origins_mm=origins)
    return replace(volume, pixels=np.ascontiguousarray(volume.pixels[slices]), geometry=geometry)


def metal_slices(seed: int) -> tuple[Volume, list[int]]:
    """A procedural pelvis with an implant, and its slices with metal."""
    case = SUBJECT.simulate(SUBJECT.procedural(seed), scenario="physics", seed=seed)
    print(f"procedural pelvis, seed {seed}: {case.description}")
    return case.artefact["ct"], list(case.slices)


def built(method: str, device: str, given: dict[str, Path]) -> Corrector:
    """A corrector with the weights given, or those installed.

    Raises:
        WeightsError: it needs some, and there are none.
    """
    weights = given.get(method)
    if weights is None and method in SPEC.weights:
        installed = SPEC.weights[method]
        weights = Path(str(importlib.resources.files(installed.package) / installed.directory))
    values = {name: parameter.default for name, parameter in SPEC.parameters.items()}
    return build(method=method, weights=weights, device=device, parameters=values)


def each_method(arguments: argparse.Namespace, weights: dict[str, Path]) -> None:
    """Print seconds for each slice, and how many times the textbook's they are."""
    volume, slices = metal_slices(SEED)
    volume = stack(volume, slices[: arguments.slices])
    count = volume.shape[0]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if len(devices) == 1:
        print("no CUDA device here: CPU only")
    else:
        print(f"cuda: {torch.cuda.get_device_name()}")
    calls: dict[str, Callable[[], object]] = {
        "textbook NMAR, scikit-image": lambda: textbook(volume.pixels[0], prior=True, full=False)
    }
    per_call = {"textbook NMAR, scikit-image": 1}
    for device in devices:
        for method in SPEC.methods:
            try:
                corrector = built(method, device, weights)
            except WeightsError as error:
                print(f"{method} is left out: {error}")
                continue
            name = f"{method}, {device}"
            first = seconds(lambda corrector=corrector: corrector.correct({"ct": volume}))
            print(f"{name}: first call {first:.2f} s for {count} slices, matrices built")
            calls[name] = lambda corrector=corrector: corrector.correct({"ct": volume})
            per_call[name] = count
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.repeats):
        for name, call in calls.items():
            times[name].append(seconds(call) / per_call[name])
    baseline = statistics.median(times["textbook NMAR, scikit-image"])
    print(f"{count} slices of {volume.shape[1]} x {volume.shape[2]}, median of {arguments.repeats}")
    print(f"{'':30s}{'s per slice':>12s}{'scikit-image / this':>22s}")
    for name, own in times.items():
        median = statistics.median(own)
        print(f"{name:30s}{median:12.3f}{baseline / median:22.1f}")
    print(f"peak memory of the process: {peak_mib():.0f} MiB")


def whole_series(arguments: argparse.Namespace, weights: dict[str, Path]) -> None:
    """Correct 300 slices, 60 with metal, and print seconds and peak memory."""
    volume, slices = metal_slices(SEED)
    clean = [z for z in range(volume.shape[0]) if z not in slices]
    below = (SERIES - METAL) // 2
    order = [clean[z % len(clean)] for z in range(below)]
    order += [slices[z % len(slices)] for z in range(METAL)]
    order += [clean[z % len(clean)] for z in range(SERIES - len(order))]
    series = stack(volume, order)
    corrector = built(arguments.method, arguments.device, weights)
    before = peak_mib()
    took = seconds(lambda: corrector.correct({"ct": series}))
    print(
        f"{arguments.method} on {arguments.device}, {torch.get_num_threads()} threads: {SERIES} slices of "
        f"{series.shape[1]} x {series.shape[2]}, {METAL} with metal: {took:.1f} s, matrices built in it"
    )
    print(f"peak memory of the process: {before:.0f} MiB before, {peak_mib():.0f} MiB after")


def main() -> None:
    """Print what the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=4, help="with metal, at most 10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", nargs="*", default=[], metavar="METHOD=DIR", help="instead of those installed")
    parser.add_argument("--series", action="store_true", help=f"a whole series of {SERIES} slices by one method")
    parser.add_argument("--method", default="best", choices=list(SPEC.methods), help="of --series")
    parser.add_argument("--device", default="cpu", help="of --series: cpu or cuda")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    weights = {name: Path(folder) for name, _, folder in (item.partition("=") for item in arguments.weights)}
    if not arguments.series:
        each_method(arguments, weights)
        return
    try:
        whole_series(arguments, weights)
    except WeightsError as error:
        print(f"{arguments.method} is left out: {error}")


if __name__ == "__main__":
    main()
