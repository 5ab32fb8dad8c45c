"""Checkpoints: everything that a continuation needs, to the last bit. Nothing is ever pickled.

A checkpoint is a folder `step-NNNNNNNN` with shards of safetensors (at most 15 MiB each, so that they can be carried)
and `state.json` with their digests. It appears whole by one rename; `LATEST` and `BEST` name folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dicom_node.errors import InputError
from training.files import storage_errors, write_atomically

SHARD_BYTES = 15 << 20
LATEST, BEST = "LATEST", "BEST"
_STATE = "state.json"
_KEPT = 2
_HEADER_ROOM = 1 << 16
"""Left free in a shard for the names and shapes of its tensors."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What is kept.

    Attributes:
        step: optimiser steps taken.
        tensors: by name, on the CPU.
        state: plain values: architecture, digests, numbers, best score.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint, *, best: bool, keep: int = -1) -> Path:
        """Write a checkpoint; older ones go once it is there, save the best and the one of step `keep`.

        Raises:
            StorageFull, StorageFailed: the disk refuses; what was there before is untouched.
        """
        name = _name(checkpoint.step)
        target, working = self.folder / name, self.folder / f".{name}.{os.getpid()}"
        advice = "the last checkpoint is whole: make room and continue with --resume"
        with storage_errors(self.folder, advice):
            shutil.rmtree(working, ignore_errors=True)
            try:
                working.mkdir(parents=True)
                digests = {}
                for number, shard in enumerate(_shards(checkpoint.tensors), start=1):
                    data = save(shard)
                    file = f"shard-{number:03d}.safetensors"
                    digests[file] = hashlib.sha256(data).hexdigest()
                    _write(working / file, data)
                document = {"step": checkpoint.step, "shards": digests, "state": checkpoint.state}
                _write(working / _STATE, json.dumps(document, indent=1).encode())
                if target.exists():
                    shutil.rmtree(target)
                working.rename(target)
            finally:
                shutil.rmtree(working, ignore_errors=True)
        write_atomically(self.folder / LATEST, name.encode())
        if best:
            write_atomically(self.folder / BEST, name.encode())
        self._tidy(_name(keep))
        return target

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, None when there is none.

        Raises:
            InputError: there are checkpoints, but all are damaged.
        """
        names = self._names()
        if (pointed := self._pointed(LATEST)) in names:
            names.remove(pointed)
            names.append(pointed)
        problems = []
        for name in reversed(names):
            try:
                return read_checkpoint(self.folder / name)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError("no checkpoint can be read: " + "; ".join(problems))
        return None

    def best(self) -> Checkpoint | None:
        """The best checkpoint so far, None when there is none that can be read."""
        name = self._pointed(BEST)
        try:
            return read_checkpoint(self.folder / name) if name else None
        except InputError:
            return None

    def point_to_best(self, step: int) -> None:
        """Say that the checkpoint of a step is the best; none is where it is not there."""
        if (self.folder / _name(step) / _STATE).is_file():
            write_atomically(self.folder / BEST, _name(step).encode())
        else:
            (self.folder / BEST).unlink(missing_ok=True)

    def _pointed(self, pointer: str) -> str:
        try:
            return (self.folder / pointer).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _names(self) -> list[str]:
        return sorted(p.name for p in self.folder.glob("step-*") if (p / _STATE).is_file())

    def _tidy(self, also: str) -> None:
        keep = {self._pointed(BEST), also, *self._names()[-_KEPT:]}
        for path in (*self.folder.glob("step-*"), *self.folder.glob(".step-*")):
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder and check every shard.

    Raises:
        InputError: a file is missing, cut or altered; names it.
    """
    try:
        document = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        step, shards, state = int(document["step"]), dict(document["shards"]), dict(document["state"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _STATE}: not a checkpoint ({type(error).__name__})") from error
    tensors: dict[str, Tensor] = {}
    for name, digest in shards.items():
        try:
            data = (folder / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise InputError(f"{folder / name}: altered or cut, its SHA-256 differs")
            tensors |= load(data)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{folder / name}: cannot be read ({type(error).__name__})") from error
    return Checkpoint(step, _whole(tensors), state)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _shards(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Group tensors into shards; one that is too large alone is cut along its flattened values."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    largest = SHARD_BYTES - _HEADER_ROOM
    for name, tensor in sorted(tensors.items()):
        size = tensor.numel() * tensor.element_size()
        if size <= largest:
            pieces = {name: tensor}
        else:
            flat = tensor.reshape(-1)
            length = largest // tensor.element_size()
            count = -(-flat.numel() // length)
            shape = "x".join(str(n) for n in tensor.shape)
            pieces = {f"{name}#{k}of{count}#{shape}": flat[k * length : (k + 1) * length].clone() for k in range(count)}
        for piece, values in pieces.items():
            size = values.numel() * values.element_size() + 256
            if shards[-1] and filled + size > largest:
                shards.append({})
                filled = 0
            shards[-1][piece] = values.contiguous()
            filled += size
    return shards


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    whole = {name: tensor for name, tensor in tensors.items() if "#" not in name}
    cut: dict[tuple[str, str], dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if "#" in name:
            stem, part, shape = name.split("#")
            cut.setdefault((stem, shape), {})[int(part.split("of")[0])] = tensor
    for (stem, shape), parts in cut.items():
        joined = torch.cat([parts[k] for k in sorted(parts)])
        whole[stem] = joined.reshape([int(n) for n in shape.split("x")])
    return whole


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
