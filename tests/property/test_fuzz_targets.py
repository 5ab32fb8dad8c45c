"""Every fuzz target takes its own seeds and what is made of them, without the fuzzer; what was found is kept here."""

from __future__ import annotations

import importlib
import struct
import zlib
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest

_TESTS = Path(__file__).parents[1]
NAMES = ("associations", "headers", "journals", "negotiation")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes a target by its name."""
    for folder in ("integration", "fuzz"):
        monkeypatch.syspath_prepend(str(_TESTS / folder))
    with ExitStack() as stack:
        fuzzing = importlib.import_module("fuzzing")
        yield lambda name: stack.enter_context(closing(fuzzing.make(name, tmp_path)))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_their_relatives_pass(make, name: str) -> None:
    target, random = make(name), Random(0)

    def mutate(part: bytes) -> bytes:
        at = random.randrange(len(part) + 1)
        return part[:at] + random.choice(target.words) + part[at + random.randrange(4) :]

    for seed in target.seeds():
        target.check(seed)
        for _ in range(5):
            seed = target.mutated(seed, random, mutate)[: target.longest]
            target.check(seed)


def record(document: bytes) -> bytes:
    """A journal's record with the right checksum."""
    return struct.pack("<II", len(document), zlib.crc32(document)) + document


FINDS = {"journals": (record(b"\xff\xfe\xfd"), record(b"[]"), record(b"7"), record(b"[" * 4000))}


@pytest.mark.parametrize("name", FINDS)
def test_what_was_found_once_is_not_found_again(make, name: str) -> None:
    target = make(name)
    for data in FINDS[name]:
        target.check(data)
