"""Loading of weights packages into networks. The host has verified the files; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dicom_node.errors import WeightsError

TENSORS = "model.safetensors"
DESCRIPTION = "model.yaml"


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """A network with its weights, in evaluation mode, and what its package says about inputs.

    Attributes:
        network: on its device, in single precision whatever the precision on disk.
        inputs: the package's conventions for what goes in and comes out.
        description: all of `model.yaml`.
    """

    network: nn.Module
    inputs: Mapping[str, Any]
    description: Mapping[str, Any]


def package_digest(package: Path) -> str:
    """SHA-256 of a package's tensors, lower-case hex.

    Raises:
        OSError: they cannot be read.
    """
    return hashlib.sha256((package / TENSORS).read_bytes()).hexdigest()


def read_tensors(package: Path) -> dict[str, Tensor]:
    """A package's tensors, in single precision whatever the precision on disk.

    Raises:
        OSError, SafetensorError: they cannot be read.
    """
    return {n: t.float() if t.is_floating_point() else t for n, t in load_file(package / TENSORS).items()}


def load_network(package: Path, networks: Mapping[str, type[nn.Module]], device: str) -> LoadedWeights:
    """Build a package's network and load its weights.

    Args:
        package: directory with `model.yaml` and `model.safetensors`.
        networks: classes that the caller can use, by the name that `architecture` gives.
        device: torch device string.

    Raises:
        WeightsError: the package is for another network, or its tensors do not fit; says how.
    """
    path = package / DESCRIPTION
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        name, arguments = description["architecture"]["name"], description["architecture"]["arguments"]
        inputs = description["inputs"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} does not describe a network ({type(error).__name__})") from error
    if not isinstance(name, str) or name not in networks:
        raise WeightsError(f"{path}: the architecture is {name!r}, but this method takes {', '.join(sorted(networks))}")
    try:
        network = networks[name](**arguments)
        network.load_state_dict(read_tensors(package))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        said = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise WeightsError(f"{path}: the weights do not fit {name} with its arguments: {said}") from error
    # Channels last is the faster order for convolutions on every device that we know.
    network = network.to(device).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedWeights(network, inputs, description)
