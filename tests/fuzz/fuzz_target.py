"""What a fuzz target is, and mutations that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import ClassVar, Protocol

Mutate = Callable[[bytes], bytes]
"""Bytes to other bytes, without any idea of what they mean."""


class Target(Protocol):
    """One door through which bytes of strangers come in.

    Attributes:
        longest: of an input [bytes].
        words: byte strings that mean something there.
    """

    longest: ClassVar[int]
    words: ClassVar[tuple[bytes, ...]]

    def __init__(self, folder: Path) -> None:
        """A target that may write into a folder."""

    def close(self) -> None:
        """Let go of what it holds."""

    def seeds(self) -> Iterable[bytes]:
        """Valid inputs to begin with."""

    def check(self, data: bytes) -> None:
        """Let the bytes in; any exception is a find."""

    def mutated(self, data: bytes, random: Random, mutate: Mutate) -> bytes:
        """Another input that keeps some of the structure."""


def shuffled(parts: list[bytes], strange: Iterable[bytes], random: Random, mutate: Mutate) -> list[bytes]:
    """One part changed, repeated, moved, left out, or joined by a strange one."""
    parts = list(parts) or [b""]
    at = random.randrange(len(parts))
    match random.randrange(6):
        case 0:
            parts[at] = mutate(parts[at])
        case 1:
            parts.insert(random.randrange(len(parts) + 1), parts[at])
        case 2:
            other = random.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 3 if len(parts) > 1:
            del parts[at]
        case 4:
            parts.insert(at, random.choice(list(strange)))
        case _:
            parts[at] = mutate(parts[at])
            parts.insert(random.randrange(len(parts) + 1), parts[at])
    return parts
