"""Weights packages: directories whose every file is accounted for. Nothing is ever unpickled.

A package holds `model.safetensors`, `model.yaml`, `MODEL_CARD.md` and `SHA256SUMS` (the format of `sha256sum`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dicom_node.contracts import CorrectorSpec, WeightsRef
from dicom_node.errors import WeightsError
from dicom_node.plugins.catalogue import Catalogue

TENSORS = "model.safetensors"
DESCRIPTION = "model.yaml"
CARD = "MODEL_CARD.md"
SUMS = "SHA256SUMS"
REQUIRED_KEYS = (
    "architecture",
    "inputs",
    "outputs",
    "training_data",
    "recipe",
    "commit",
    "metrics",
    "intended_use",
    "limits",
)
"""Keys that `model.yaml` must have; `architecture` is a mapping with `name` and `arguments`."""

_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9._-]+)")
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class WeightsPackage:
    """A package that `verify` found whole, or `look` only looked at.

    Attributes:
        directory: where it lies.
        sha256: digest of `model.safetensors`.
        description: contents of `model.yaml`.
        tensor_shapes: shape of each tensor by name.
    """

    directory: Path
    sha256: str
    description: Mapping[str, Any]
    tensor_shapes: Mapping[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(math.prod(shape) for shape in self.tensor_shapes.values())


def list_packages(catalogue: Catalogue) -> list[tuple[str, str, WeightsRef]]:
    """Corrector name, method and reference of every package that the installed correctors name."""
    return [
        (name, method, ref)
        for name, spec in sorted(catalogue.specs.items())
        for method, ref in sorted(spec.weights.items())
    ]


def verify(ref: WeightsRef) -> WeightsPackage:
    """Check every file of a package.

    Raises:
        WeightsError: something is missing, altered, not listed, or is not what it should be; names the file.
    """
    directory = locate(ref)
    sums = _sums(directory)
    for name in (TENSORS, DESCRIPTION, CARD):
        if name not in sums:
            raise WeightsError(f"weights package {directory}: {SUMS} does not list {name}")
    present = {p.name for p in directory.iterdir() if p.name != SUMS}
    if extra := sorted(present - set(sums)):
        raise WeightsError(f"weights package {directory}: {extra[0]} is not listed in {SUMS}")
    for name, expected in sums.items():
        if name not in present:
            raise WeightsError(f"weights package {directory}: {name} is missing; install the package again")
        if _digest(directory / name) != expected:
            raise WeightsError(f"weights package {directory}: {name} was altered (its SHA-256 differs from {SUMS})")
    if sums[TENSORS] != ref.sha256:
        raise WeightsError(
            f"weights package {directory}: {TENSORS} is not the one that the corrector was released with"
        )
    return look(ref)


def look(ref: WeightsRef) -> WeightsPackage:
    """What a package says about itself; no digest is checked.

    Raises:
        WeightsError: it cannot be read.
    """
    directory = locate(ref)
    try:
        return WeightsPackage(directory, ref.sha256, _description(directory), _tensor_shapes(directory / TENSORS))
    except OSError as error:
        raise WeightsError(f"weights package {directory}: cannot be read: {type(error).__name__}") from error


def weights_from(folder: Path) -> WeightsRef:
    """Reference to a package that lies in a folder of its own, as its `SHA256SUMS` tells; `verify` checks it.

    Raises:
        WeightsError: the folder is no weights package.
    """
    if not folder.is_dir():
        raise WeightsError(f"weights: {folder} is no folder")
    if not (folder / SUMS).is_file():
        raise WeightsError(f"weights: {folder} is no weights package: it holds no {SUMS}")
    sums = _sums(folder)
    if TENSORS not in sums:
        raise WeightsError(f"weights package {folder}: {SUMS} does not list {TENSORS}")
    return WeightsRef("", str(folder.resolve()), sums[TENSORS])


def with_weights(spec: CorrectorSpec, method: str, folder: Path) -> CorrectorSpec:
    """The same corrector with the weights of one method from a folder, whether or not the method came with some.

    Verification, derived UIDs and provenance follow the reference, so nothing else needs to know.

    Raises:
        WeightsError: the folder is no weights package.
    """
    return replace(spec, weights={**spec.weights, method: weights_from(folder)})


def locate(ref: WeightsRef) -> Path:
    """Directory of a package, without importing the code beside it.

    Raises:
        WeightsError: the import package or the directory is not there.
    """
    if not ref.package:
        directory = Path(ref.directory)
        if not directory.is_absolute() or not directory.is_dir():
            raise WeightsError(f"weights: there is no folder {ref.directory}")
        return directory
    try:
        found = importlib.util.find_spec(ref.package)
    except (ImportError, ValueError) as error:
        raise WeightsError(f"weights: the package {ref.package} cannot be found: {type(error).__name__}") from error
    for root in (found.submodule_search_locations or ()) if found is not None else ():
        directory = Path(root) / ref.directory
        if directory.is_dir():
            return directory
    raise WeightsError(f"weights: there is no directory {ref.directory} in the package {ref.package}")


def _sums(directory: Path) -> dict[str, str]:
    try:
        lines = (directory / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"weights package {directory}: cannot read {SUMS}: {type(error).__name__}") from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise WeightsError(f"weights package {directory}: {SUMS}:{number} is not `sha256  name`")
        sums[match[2]] = match[1]
    return sums


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights: cannot read {path}: {type(error).__name__}") from error


def _description(directory: Path) -> Mapping[str, Any]:
    path = directory / DESCRIPTION
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} is not valid YAML") from error
    if not isinstance(data, dict):
        raise WeightsError(f"{path} must be a mapping")
    if missing := [key for key in REQUIRED_KEYS if key not in data]:
        raise WeightsError(f"{path} lacks {', '.join(missing)}")
    architecture = data["architecture"]
    if not isinstance(architecture, dict) or not {"name", "arguments"} <= set(architecture):
        raise WeightsError(f"{path}: architecture must give name and arguments")
    return data


def _tensor_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes from the header of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else _LONGEST_HEADER + 1
        text = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header = json.loads(text)
        shapes = {n: tuple(int(s) for s in t["shape"]) for n, t in header.items() if n != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is not a safetensors file") from error
    if not shapes:
        raise WeightsError(f"{path} holds no tensors")
    return shapes
