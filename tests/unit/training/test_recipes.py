"""Recipes: what is unknown, missing or without meaning is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_task
import torch
import yaml

from correctors.hipct.network import SinogramCnn
from dicom_node.errors import RequestError
from training.making import make_network, make_task
from training.package import parameter_count
from training.recipe import Recipe, changed, read_recipe

SHIPPED = sorted((Path(__file__).parents[3] / "training" / "recipes").rglob("*.yaml"))


def written(folder: Path, **values: object) -> Path:
    """The small recipe as a file, with values replaced."""
    document = small_task.recipe().model_dump(mode="json", exclude_none=True) | values
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_makes_its_network_and_task(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.stem == recipe.name.removeprefix(f"{recipe.corrector}-")
    assert isinstance(make_network(recipe), torch.nn.Module)
    assert make_task(recipe).modality in ("CT", "MR")


def test_the_full_width_network_has_the_parameters_of_the_paper() -> None:
    recipe = next(read_recipe(p) for p in SHIPPED if p.parent.name == "hipct" and p.stem == "paper")
    network = make_network(recipe)
    # Six 5x5 convolutions of width 64 with biases, and five batch normalisations.
    convolutions = (25 + 1) * 64 + 4 * (25 * 64 + 1) * 64 + 25 * 64 + 1
    assert parameter_count(network.state_dict()) == convolutions + 5 * 2 * 64 == 413_761
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Conv2d", "LeakyReLU", "BatchNorm2d"] * 5 + ["Conv2d"]
    assert {layer.negative_slope for layer in network.layers if hasattr(layer, "negative_slope")} == {0.2}
    assert recipe.fit.learning_rate == 5e-3
    assert (recipe.fit.schedule, recipe.fit.decay, recipe.fit.batch) == ("inverse", 2.5e-5, 16)


def test_the_network_keeps_the_size_of_its_input() -> None:
    network = SinogramCnn(width=2, kernel=(3, 5))
    assert network(torch.zeros(2, 1, 20, 31)).shape == (2, 1, 20, 31)
    assert network.reach == (6, 12)


@pytest.mark.parametrize("arguments", [{"width": 0}, {"layers": 1}, {"kernel": (4, 5)}, {"kernel": (5,)}])
def test_networks_without_meaning_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be positive and kernels odd"):
        SinogramCnn(**arguments)  # type: ignore[arg-type]


def test_a_recipe_survives_being_written(tmp_path: Path) -> None:
    recipe = small_task.recipe()
    path = tmp_path / "again.yaml"
    path.write_text(recipe.as_yaml())
    assert read_recipe(path) == recipe
    assert read_recipe(path).digest == recipe.digest


def test_an_unknown_key_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text().replace("  steps: 20\n", "  steps: 20\n  stpes: 30\n")
    path.write_text(text)
    line = text.splitlines().index("  stpes: 30") + 1
    with pytest.raises(RequestError, match=rf"recipe\.yaml:{line}:3: fit\.stpes: unknown key"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"fit": {"steps": 0}}, r"fit\.steps: .*greater than or equal to 1"),
        ({"size": "huge"}, "size: "),
        ({"network": {"factory": "no colon"}}, r"network\.factory"),
        ({"data": {"real_weight": 0, "procedural_weight": 0}}, "must not both be 0"),
        ({"data": {"validation_share": 0.5, "test_share": 0.6}}, "leave nothing to train on"),
    ],
)
def test_values_without_meaning_are_told(values: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=told):
        read_recipe(written(tmp_path, **values))


@pytest.mark.parametrize(("text", "told"), [("a: [", "not valid YAML"), ("- 1", "is a mapping"), ("", "is a mapping")])
def test_what_is_no_recipe_is_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=told):
        read_recipe(path)


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_values_can_be_changed_by_dotted_key() -> None:
    recipe = changed(small_task.recipe(), {"fit.steps": 7, "network.arguments.width": 9})
    assert recipe.fit.steps == 7
    assert recipe.network.arguments["width"] == 9


@pytest.mark.parametrize("key", ["fit.stpes", "nothing.steps", "fit.steps.more"])
def test_a_dotted_key_that_is_not_there_is_told(key: str) -> None:
    with pytest.raises(RequestError, match="has no key"):
        changed(small_task.recipe(), {key: 1})


@pytest.mark.parametrize(
    ("section", "factory", "told"),
    [
        ("network", "nowhere.at_all:Net", "cannot be imported"),
        ("network", "small_task:Missing", "cannot be imported"),
        ("network", "small_task:Blur", r"made no torch\.nn\.Module"),
    ],
)
def test_a_factory_that_does_not_serve_is_told(section: str, factory: str, told: str) -> None:
    recipe = small_task.recipe(**{section: {"factory": factory}})
    with pytest.raises(RequestError, match=told):
        make_network(recipe)


def test_arguments_that_the_factory_does_not_take_are_told() -> None:
    recipe: Recipe = small_task.recipe(network={"arguments": {"depth": 3}})
    with pytest.raises(RequestError, match="cannot be made"):
        make_network(recipe)


def test_a_recipe_that_is_nested_without_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 5000)
    with pytest.raises(RequestError, match=r"nested too deep|not valid YAML"):
        read_recipe(path)
