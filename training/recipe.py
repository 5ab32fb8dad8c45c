"""Recipes: one YAML file for each corrector, method and size. Unknown keys fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from correctors.common.fitting import FittingPlan, Precision, ScheduleKind
from dicom_node.errors import RequestError


class Section(BaseModel):
    """A part of a recipe: frozen, and without room for misspelt keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Made(Section):
    """Something that the recipe makes: `factory` is `module:callable`, called with `arguments`."""

    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the callable."""
        return self.factory.partition(":")[2]


class DataSection(Section):
    """Which patients the examples come from.

    Attributes:
        real_weight, procedural_weight: how often an example comes from a real and from a procedural patient.
        procedural_patients: procedural patients that are made.
        validation_share, test_share: shares of the real patients kept out of training; at least one each where there
            are three or more.
    """

    real_weight: float = Field(default=3.0, ge=0)
    procedural_weight: float = Field(default=1.0, ge=0)
    procedural_patients: int = Field(default=12, ge=3, le=10_000)
    validation_share: float = Field(default=0.15, ge=0, lt=1)
    test_share: float = Field(default=0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _something_is_drawn(self) -> DataSection:
        if self.real_weight + self.procedural_weight <= 0:
            raise ValueError("real_weight and procedural_weight must not both be 0")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on")
        return self


class FitSection(Section):
    """How long and how fast; see `correctors.common.fitting.FittingPlan`.

    Attributes:
        batch: examples of one optimiser step, over all processes.
        accumulate: parts in which each process takes its share of the batch, to save memory.
    """

    steps: int = Field(ge=1)
    batch: int = Field(default=16, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: ScheduleKind = "cosine"
    decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    final_share: float = Field(default=0.0, ge=0, le=1)
    ema: float = Field(default=0.0, ge=0, lt=1)
    clip: float = Field(default=0.0, ge=0)
    precision: Precision = "float32"

    def plan(self) -> FittingPlan:
        """What the fitter needs of this."""
        return FittingPlan(**self.model_dump(exclude={"batch", "accumulate"}))


class ValidationSection(Section):
    """How often the network is tried on the validation patients, and on how many fixed cases."""

    every: int = Field(default=200, ge=1)
    cases: int = Field(default=8, ge=1)


class EvaluationSection(Section):
    """The evaluation that goes into the model card: `dicom-node evaluate` with these arguments on the test patients."""

    scenario: str
    methods: tuple[str, ...]
    cases: int = Field(default=6, ge=1)


class PackageSection(Section):
    """What the weights package says about itself beside figures.

    Attributes:
        dtype: precision on disk.
        intended_use: one sentence.
        limits: one sentence each.
    """

    dtype: Literal["float16", "float32"] = "float16"
    intended_use: str
    limits: tuple[str, ...]


class SearchedValue(Section):
    """A value that `--search` tries: a range (`log` for orders of magnitude) or a choice."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _range_or_choice(self) -> SearchedValue:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give either choices, or low and high")
        return self


class SearchSection(Section):
    """What `--search` varies, by dotted key of the recipe, and how long each trial runs."""

    steps: int = Field(ge=1)
    values: Mapping[str, SearchedValue] = Field(min_length=1)


class Recipe(Section):
    """One recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    corrector: str
    method: str
    size: Literal["paper", "compact"]
    seed: int = Field(default=1, ge=0, lt=2**31)
    network: Made
    task: Made
    data: DataSection = DataSection()
    fit: FitSection
    validation: ValidationSection = ValidationSection()
    evaluation: EvaluationSection | None = None
    package: PackageSection
    search: SearchSection | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the recipe says."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def fitting_digest(self) -> str:
        """SHA-256 of what decides about the weights; a run goes on only with the same."""
        deciding = self.model_dump(mode="json", include={"seed", "network", "task", "data", "fit", "validation"})
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def as_yaml(self) -> str:
        """The recipe as a file that `read_recipe` takes."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        RequestError: it cannot be read, or a key is unknown, missing or out of range; names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read: {type(error).__name__}") from error
    except RecursionError as error:
        raise RequestError(f"{path}: nested too deep for a recipe") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise RequestError(f"{path}{where}: not valid YAML") from error
    if not isinstance(document, dict):
        raise RequestError(f"{path}: a recipe is a mapping of keys, see docs/training.md")
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        lines = [_told(path, tree, problem["loc"], problem["msg"]) for problem in error.errors()]
        raise RequestError("\n".join(lines)) from None


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some values replaced.

    Args:
        recipe: what to change.
        values: new values by dotted key, e.g. `fit.learning_rate`.

    Raises:
        RequestError: a key is unknown, or a value out of range.
    """
    document = recipe.model_dump(mode="json")
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        place: Any = document
        for key in parents:
            place = place.get(key) if isinstance(place, dict) else None
        if not isinstance(place, dict) or (last not in place and parents[-1:] != ["arguments"]):
            raise RequestError(f"the recipe {recipe.name} has no key {dotted}")
        place[last] = value
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise RequestError(f"the recipe {recipe.name} cannot be changed so: {told}") from None


def _told(path: Path, tree: yaml.Node | None, location: tuple[int | str, ...], message: str) -> str:
    mark = None
    node = tree
    for key in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == str(key):
                    mark, child = name.start_mark, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            child = node.value[key]
            mark = child.start_mark
        if child is None:
            break
        node = child
    where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    said = "unknown key" if message == "Extra inputs are not permitted" else message
    return f"{path}{where}: {'.'.join(map(str, location)) or 'recipe'}: {said}"
