"""Do the keywords in rules exist? The configuration's grammar cannot know; the DICOM dictionary does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

from dicom_node.config.conditions import DistinctTest, SpanTest, StepTest, TagTest, Where
from dicom_node.config.rules import Capture, ExpectedCount, Rule
from dicom_node.errors import ConfigError


def check_keywords(rules: Sequence[Rule], path: Path | None = None) -> None:
    """Refuse rules that name a tag that DICOM does not have: such a condition could never hold.

    Args:
        rules: the rules.
        path: the configuration file that they came from, to tell line and column.

    Raises:
        ConfigError: every unknown keyword with its rule and the nearest known one.
    """
    known = [row[4] for row in DicomDictionary.values() if row[4]]
    problems = []
    for rule in rules:
        for keyword in sorted(set(_keywords(rule))):
            for part in () if "," in keyword else keyword.split("."):
                if tag_for_keyword(part) is None:
                    near = difflib.get_close_matches(part, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    where = "" if path is None else _where(path, part)
                    problems.append(f"{where}route {rule.name!r}: {part!r} is no DICOM keyword{hint}")
    if problems:
        raise ConfigError("\n".join(problems))


def _where(path: Path, word: str) -> str:
    """`file:line:column: ` of the first place where the word stands in the file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if found := re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", line):
            return f"{path}:{number}:{found.start() + 1}: "
    return f"{path}:1:1: "


def _keywords(node: object) -> Iterator[str]:
    """Every keyword below a node of the grammar."""
    if isinstance(node, Where):
        yield from node.tags
    if isinstance(node, TagTest | Capture):
        yield from node.tag
    if isinstance(node, DistinctTest):
        yield node.distinct
    if isinstance(node, SpanTest):
        yield node.span
    if isinstance(node, StepTest):
        yield node.step
    if isinstance(node, ExpectedCount):
        yield node.tag
        if node.of not in ("instances", "position"):
            yield node.of
    yield from (keyword for child in _children(node) for keyword in _keywords(child))


def _children(node: object) -> Iterable[object]:
    if isinstance(node, BaseModel):
        return [getattr(node, name) for name in type(node).model_fields]
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, tuple) else ()
