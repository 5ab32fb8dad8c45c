"""Making what a recipe names, networks and tasks, and what a network starts from."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import yaml
from safetensors import SafetensorError
from torch import nn

from correctors.common.weights import DESCRIPTION, package_digest, read_tensors
from dicom_node.errors import InputError, RequestError
from training.anatomy import Split
from training.recipe import Made, Recipe
from training.task import Task


def make_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with random weights, drawn from torch's generator.

    Raises:
        RequestError: it cannot be imported or made, or is no network.
    """
    network = _make(recipe, recipe.network, "network")
    if not isinstance(network, nn.Module):
        raise RequestError(f"the recipe {recipe.name}: {recipe.network.factory} made no torch.nn.Module")
    return network


def start_from(network: nn.Module, package: Path, split: Split) -> str:
    """Take over the weights of a package.

    Args:
        network: whose weights are replaced.
        package: folder of the weights package.
        split: of the run: nobody may be judged on whom the package was trained.

    Returns:
        SHA-256 of its tensors.

    Raises:
        InputError: it cannot be read, is of another network, or saw patients that the run keeps out of training.
    """
    try:
        document = yaml.safe_load((package / DESCRIPTION).read_text(encoding="utf-8"))
        learnt_from = set(document["training_data"]["training"]["series"])
        network.load_state_dict(read_tensors(package))
        digest = package_digest(package)
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{package}: not the weights of {type(network).__name__} ({type(error).__name__}): name a package of a "
            "recipe with the same network"
        ) from error
    kept = {a.series for part in (split.validation, split.test) for a in part}
    if seen := learnt_from & kept:
        raise InputError(
            f"{package} was trained on {len(seen)} series that this run keeps for judging: start with the recipe's "
            "seed and data that the package was trained with"
        )
    return digest


def make_task(recipe: Recipe) -> Task:
    """The recipe's task.

    Raises:
        RequestError: it cannot be imported or made.
    """
    return cast(Task, _make(recipe, recipe.task, "task"))


def _make(recipe: Recipe, made: Made, what: str) -> Any:
    module_name, _, attribute = made.factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"the recipe {recipe.name}: {what} {made.factory} cannot be imported: {error}") from error
    try:
        return factory(**made.arguments)
    except (TypeError, ValueError) as error:
        raise RequestError(f"the recipe {recipe.name}: {what} {made.factory} cannot be made: {error}") from error
