"""Fuzz the doors through which bytes of strangers come in.

    python tests/fuzz/fuzzing.py --seconds 120                      every target, two minutes in all: what CI does
    python tests/fuzz/fuzzing.py --seconds 14400 --corpus ~/corpus associations            one for four hours; it learns
    python tests/fuzz/fuzzing.py associations --input fuzz-finds/associations-crash-0123           a find once more

A find is an exception that the target does not expect, an input that takes longer than ten seconds, or memory beyond a
limit. Its input is saved, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from fuzz_target import Target

TARGETS = {
    "associations": ("fuzz_associations:Associations", ["dicom_node.net", "dicom_node.dicom.file_meta"]),
    "headers": ("fuzz_headers:Headers", ["dicom_node.dicom", "pydicom.charset", "pydicom.values"]),
    "journals": ("fuzz_journals:Journals", ["dicom_node.net.journal", "dicom_node.archive.model"]),
    "negotiation": (
        "fuzz_negotiation:Negotiation",
        ["dicom_node.net", "pynetdicom.pdu", "pynetdicom.pdu_items", "pynetdicom.presentation"],
    ),
}
"""By name: the class, and the packages whose branches guide the fuzzer."""
_SLOWEST_S = 10
_MOST_RSS_MB = 700
_ADDRESS_SPACE_BYTES = 1 << 30
_TAIL = 6_000
_START_S = 10
"""What a target takes before its first input: imports, instrumentation, seeds."""


def make(name: str, folder: Path) -> Target:
    """A target by its name, with a folder of its own."""
    module, _, kind = TARGETS[name][0].partition(":")
    target: Target = getattr(importlib.import_module(module), kind)(folder)
    return target


def fuzz(name: str, seconds: int, corpus: Path, finds: Path, scratch: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=TARGETS[name][1]):
        target = make(name, scratch)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    words = scratch / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words))

    def other(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return target.mutated(data, random, lambda part: bytes(atheris.Mutate(part, len(part) + 64)))[:most]

    options = [
        f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-timeout={_SLOWEST_S}",
        f"-rss_limit_mb={_MOST_RSS_MB}", f"-artifact_prefix={finds}/{name}-", f"-dict={words}", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.check, custom_mutator=other)
    # Memory that a length field asks for must fail even where nobody touches it.
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + _ADDRESS_SPACE_BYTES,) * 2)
    atheris.Fuzz()


def _run(name: str, arguments: argparse.Namespace, seconds: int, scratch: Path) -> bool:
    """One target in a process of its own; whether it found nothing."""
    scratch.mkdir()
    corpus = arguments.corpus / name if arguments.corpus else scratch / "corpus"
    command = [sys.executable, __file__, name, "--here", str(scratch), "--seconds", str(seconds)]
    command += ["--corpus", str(corpus), "--finds", str(arguments.finds)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    peak = re.search(r"peak_rss_mb: +(\d+)", done.stdout)
    if done.returncode == 0 and inputs and peak:
        print(f"{name}: {inputs[1]} inputs, nothing found, peak memory {peak[1]} MB", flush=True)
        return True
    print(
        done.stdout[-_TAIL:], f"{name}: status {done.returncode}; finds are in {arguments.finds}", sep="\n", flush=True
    )
    return False


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=120, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at once")
    parser.add_argument("--corpus", type=Path, help="folder for what is learnt; thrown away without it")
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="folder for the inputs of finds")
    parser.add_argument("--input", type=Path, help="let one target see this file, once")
    parser.add_argument("--here", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    targets = list(dict.fromkeys(arguments.targets)) or list(TARGETS)
    if arguments.input is not None:
        with tempfile.TemporaryDirectory() as scratch, closing(make(targets[0], Path(scratch))) as target:
            target.check(arguments.input.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: it has wheels for Linux on x86-64 and CPython 3.11 to 3.13 only")
    arguments.finds.mkdir(parents=True, exist_ok=True)
    if arguments.here is not None:
        fuzz(targets[0], arguments.seconds, arguments.corpus, arguments.finds, arguments.here)
    jobs = min(arguments.jobs, len(targets))
    each = max(1, arguments.seconds * jobs // len(targets) - _START_S)
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None) as scratch,
        ThreadPoolExecutor(jobs) as pool,
    ):
        well = list(pool.map(lambda name: _run(name, arguments, each, Path(scratch, name)), targets))
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
