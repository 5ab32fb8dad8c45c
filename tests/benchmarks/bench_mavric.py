"""Speed and memory of the MAVRIC methods, next to the exact image operator and plain root sums of squares.

    python tests/benchmarks/bench_mavric.py [--threads 2] [--weights best=PACKAGE]

24 spectral bins of both polarities, 20 slices of 256 x 128, read out along the columns. One slice is simulated and
repeated with other brightness and place. All take turns, so that other load on the machine hits all, and medians are
printed. A method without weights runs with new ones: they cost the same time. The operator moves the bins of one
polarity by its three ways. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.resources
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from correctors.mavric import best, paper
from correctors.mavric.best_network import MavricNetworks
from correctors.mavric.evidence import Acquired, mean_of_polarities
from correctors.mavric.infer import build
from correctors.mavric.paper_network import DualPolarityUnet
from correctors.mavric.plugin import SPEC
from dicom_node.contracts import Corrector, FloatArray, Geometry, TagValue, Units, Volume
from simulation.mavric import MavricAcquisition, SpectralBins, acquire
from simulation.mavric_scene import make_scene
from simulation.off_resonance import Splat, moved, shift_px

SLICES, READOUT, LINES = 20, 256, 128
METHODS = ("mean", "classical", "paper", "best")
ACQUISITION = MavricAcquisition(bandwidth_hz_px=600.0, noise=0.02)
PEAK_HZ, METAL_PX = 11000.0, 8.0
"""Off-resonance at the poles of a metal sphere, and its radius."""
MIB_PER_GIB = 1024.0
SEED = 1
EXACT, PLAIN = "operator, exact", "root sums of squares alone"
Call = Callable[[], object]


def scene() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Signal, share of metal and off-resonance [Hz] of one slice, (1, y, x), readout last."""
    y, x = np.mgrid[:LINES, :READOUT]
    y, x = y - LINES / 2, (x - READOUT / 2) / 2  # twice as fine along the readout
    texture = ndimage.gaussian_filter(np.random.default_rng(SEED).normal(0, 1, y.shape), 3)
    body = (x / 55) ** 2 + (y / 55) ** 2 < 1
    signal = np.where(body, 0.7 + 0.15 * texture / texture.std(), 0).clip(0, 1)
    radius = np.hypot(x, y)
    metal = (radius < METAL_PX).astype(np.float32)
    away = np.maximum(radius, METAL_PX)
    dipole = PEAK_HZ / 2 * (METAL_PX / away) ** 3 * (3 * (y / np.maximum(radius, 1)) ** 2 - 1)
    return signal[None].astype(np.float32), metal[None], dipole[None].astype(np.float32)


def simulated() -> tuple[SpectralBins, Tensor]:
    """All slices, (bin, z, y, x), and the off-resonance of one, (y, x) [Hz]; the readout is last."""
    signal, metal, off_hz = scene()
    made = make_scene(signal, metal, off_hz)
    generator = torch.Generator().manual_seed(SEED)
    one = acquire(made.signal, made.off_resonance_hz, ACQUISITION, generator, splat=Splat.SINC)
    both = [
        torch.cat([(0.9 + 0.01 * z) * torch.roll(images, z - SLICES // 2, dims=-2) for z in range(SLICES)], dim=1)
        for images in (one.plus, one.minus)
    ]
    return SpectralBins(*both), torch.from_numpy(off_hz[0])


def volumes(bins: SpectralBins) -> Mapping[str, Volume]:
    """What a corrector gets: phase encoding along the rows, so that the readout is along the columns."""
    origins = tuple((0.0, 0.0, 4.0 * z) for z in range(SLICES))
    geometry = Geometry((1, 0, 0), (0, 1, 0), (1.0, 2.0), origins, READOUT, LINES, 4.0)
    tags: dict[str, TagValue] = {"PixelBandwidth": ACQUISITION.bandwidth_hz_px, "InPlanePhaseEncodingDirection": "ROW"}

    def volume(images: Tensor) -> Volume:
        pixels = np.rint(1000 * images.transpose(-1, -2).numpy()).astype(np.float32)
        return Volume(np.ascontiguousarray(pixels), Units.MR_SIGNAL, geometry, axes="bzyx", tags=tags)

    return {"plus": volume(bins.plus), "minus": volume(bins.minus)}


def weights_of(method: str, given: Mapping[str, Path], folder: Path) -> tuple[Path | None, str]:
    """A weights package as given, as installed, or else new with random weights; and which it is."""
    if method in given:
        return given[method], "given weights"
    if method in SPEC.weights:
        installed = SPEC.weights[method]
        return Path(str(importlib.resources.files(installed.package) / installed.directory)), "installed weights"
    torch.manual_seed(SEED)
    widths = {"field_widths": [32, 64, 96], "image_widths": [32, 64, 96]}
    if method == "best":
        return _packed(folder / method, MavricNetworks(**widths), widths, best.INPUTS), "new weights"
    if method == "paper":
        return _packed(folder / method, DualPolarityUnet(width=8), {"width": 8}, paper.INPUTS), "new weights"
    return None, "no weights"


def _packed(folder: Path, network: nn.Module, arguments: object, inputs: Mapping[str, object]) -> Path:
    """The parts of a weights package that a corrector reads."""
    folder.mkdir()
    architecture = {"name": type(network).__name__, "arguments": arguments}
    (folder / "model.yaml").write_text(yaml.safe_dump({"architecture": architecture, "inputs": dict(inputs)}))
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, folder / "model.safetensors")
    return folder


def built(method: str, device: str, given: Mapping[str, Path]) -> tuple[Corrector, str]:
    """A corrector, and which weights it has."""
    values = {name: parameter.default for name, parameter in SPEC.parameters.items()}
    with tempfile.TemporaryDirectory() as folder:
        weights, which = weights_of(method, given, Path(folder))
        return build(method=method, weights=weights, device=device, parameters=values), which


def operator(images: Tensor, off_hz: Tensor, splat: Splat) -> None:
    """Move the bins of one polarity, one bin after the other."""
    for image, centre in zip(images, ACQUISITION.bins.centres_hz, strict=True):
        moved(image, shift_px(off_hz, centre, ACQUISITION.bandwidth_hz_px), splat)
    if images.is_cuda:
        torch.cuda.synchronize()


def plain(acquired: Acquired) -> None:
    """The mean of MAVRIC(+) and MAVRIC(-) and nothing else: no checks, no maps."""
    mean_of_polarities(acquired).cpu()


def calls_on(device: str, given: Mapping[str, Path]) -> dict[str, Call]:
    """What is timed on a device, by its name in the table."""
    bins, field = simulated()
    inputs = volumes(bins)
    plus, minus, off_hz = (one.to(device) for one in (bins.plus, bins.minus, field))
    acquired = Acquired(plus, minus, ACQUISITION.bandwidth_hz_px, ACQUISITION.bins)
    calls: dict[str, Call] = {
        f"operator, {splat}": lambda splat=splat: operator(plus, off_hz, splat)  # type: ignore[misc]
        for splat in Splat
    }
    calls[PLAIN] = lambda: plain(acquired)
    for method in METHODS:
        corrector, which = built(method, device, given)
        calls[f"{method}, {which}"] = lambda corrector=corrector: corrector.correct(inputs)  # type: ignore[misc]
    return calls


def seconds(call: Call) -> float:
    """Wall-clock time of a call that leaves nothing running."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def timed(device: str, given: Mapping[str, Path], repeats: int) -> None:
    """Print seconds, and how many times those of both baselines they are."""
    calls = calls_on(device, given)
    if device == "cuda":
        for call in calls.values():  # kernels are loaded and chosen once
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(own) for name, own in times.items()}
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    count = ACQUISITION.bins.count
    print(f"{where}: {count} bins x {SLICES} slices of {READOUT} x {LINES}, median of {repeats}")
    print(f"{'':30s}{'s':>9s}{'this / exact':>15s}{'this / plain':>15s}")
    for name, own in medians.items():
        print(f"{name:30s}{own:9.3f}{own / medians[EXACT]:15.2f}{own / medians[PLAIN]:15.1f}")


def peak_gib(method: str, given: Mapping[str, Path]) -> float:
    """Peak memory of this process after a correction on the CPU, inputs and simulation in it [GiB]."""
    corrector, _ = built(method, "cpu", given)
    inputs = volumes(simulated()[0])
    corrector.correct(inputs)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / MIB_PER_GIB


def main() -> None:
    """Print what the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: all cores")
    parser.add_argument("--weights", nargs="*", default=[], metavar="METHOD=DIR", help="instead of those installed")
    parser.add_argument("--peak", choices=METHODS, help="correct once by one method and print the peak memory only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    given = {name: Path(folder) for name, _, folder in (item.partition("=") for item in arguments.weights)}
    if arguments.peak:
        print(f"peak memory of a process that runs {arguments.peak}: {peak_gib(arguments.peak, given):.2f} GiB")
        return
    # First: a process that a large one starts counts the memory of that one as its own peak.
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peak", "best"], check=True)
    timed("cpu", given, arguments.repeats)
    if torch.cuda.is_available():
        timed("cuda", given, arguments.repeats)
    else:
        print("no CUDA device here: CPU only")


if __name__ == "__main__":
    main()
