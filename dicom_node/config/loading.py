"""One YAML file -> `Config`; every error says `file:line:column:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dicom_node.config.rules import Rule
from dicom_node.config.sections import Config, Section
from dicom_node.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


class RuleFile(Section):
    """A file of nothing but routing rules, such as the default ones."""

    routes: tuple[Rule, ...]


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: with the file, line and column of every mistake, one a line.
    """
    return _load(path, Config)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read and check a file whose only section is `routes`.

    Raises:
        ConfigError: as `load_config`.
    """
    return _load(path, RuleFile).routes


def _load(path: Path, model: type[Model]) -> Model:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}:1:1: cannot read the configuration: {reason}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _refuse_double_keys(path, root)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise ConfigError(f"{path}:{where}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:1:1: not valid YAML") from error
    except RecursionError as error:
        raise ConfigError(f"{path}:1:1: nested too deep, or an anchor that holds itself") from error
    except ValueError as error:  # a scalar that looks like a date or number and is none
        raise ConfigError(f"{path}:1:1: not valid YAML: {error}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1:1: the configuration must be a mapping of sections")
    _yaml_off_as_false(data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = []
        items = error.errors()
        misspelt = [item["loc"] for item in items if item["type"] == "dicom_keyword"]
        for item in items:
            # Below a key that is no keyword at all, complaints about its value would only lead astray.
            if any(item["loc"][: len(loc)] == loc and item["type"] != "dicom_keyword" for loc in misspelt):
                continue
            line, column, where = _position(root, item["loc"])
            lines.append(f"{path}:{line}:{column}: {where}: {_sentence(item)}")
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _yaml_off_as_false(data: dict[Any, Any]) -> None:
    """`defaults: off` may arrive as the text `off` when quoted."""
    if isinstance(data.get("defaults"), str) and data["defaults"].lower() in ("off", "on"):
        data["defaults"] = data["defaults"].lower() == "on"


def _refuse_double_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            mark = key.start_mark
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{path}:{mark.line + 1}:{mark.column + 1}: a key must be a text")
            if key.value in seen:
                raise ConfigError(f"{path}:{mark.line + 1}:{mark.column + 1}: the key {key.value!r} is given twice")
            seen.add(key.value)
            _refuse_double_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_double_keys(path, item)


def _position(root: yaml.Node | None, loc: tuple[int | str, ...]) -> tuple[int, int, str]:
    """Line and column (from 1) of the deepest node of `loc` that the file really holds, and its dotted name."""
    node, mark = root, root.start_mark if root is not None else None
    names: list[str] = []
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                continue
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
        else:
            continue
        names.append(str(part))
    # Words in brackets are marks of the grammar (`<tag>` forms of a condition, `[key]`), not keys of the file.
    missing = [p for p in loc[-1:] if isinstance(p, str) and p not in names and p[0] not in "<["]
    where = ".".join(names + missing) or "configuration"
    return (mark.line + 1, mark.column + 1, where) if mark else (1, 1, where)


def _sentence(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key; see docs/configuration.md for the known ones"
    if item["type"] == "missing":
        return "this key is required"
    return str(item["msg"]).removeprefix("Value error, ")
