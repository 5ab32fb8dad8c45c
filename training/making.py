"""Making what a recipe names: networks and tasks."""

from __future__ import annotations

import importlib
from typing import Any, cast

from torch import nn

from dicom_node.errors import RequestError
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
