"""What routing found in the original headers, as it may stand in a manifest: roles and captures, no free text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicom_node.config.rules import Rule
from dicom_node.contracts import InputSet
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms

_TOKENS: Final = frozenset({"polarity", "bin"})
"""Captures whose values may be words: the node's own names for them."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9+-]{1,8}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,8}(?:\.[0-9]{1,8})?")


@dataclass(frozen=True)
class Role:
    """A role that images of one series play in one input set.

    Attributes:
        rule: name of a rule that ships; `site-N` for the N-th of the configuration, whose name may tell the hospital.
        corrector: its name.
        role: its name.
        group: the same for all series of one input set, e.g. both polarities.
        captures: what was captured, by SOP Instance UID of the image.
    """

    rule: str
    corrector: str
    role: str
    group: str
    captures: Mapping[str, Mapping[str, str]]


def harmless(captures: Mapping[str, str]) -> dict[str, str]:
    """The captures that can be nothing but a number, a polarity or a bin."""
    return {
        name: value
        for name, value in captures.items()
        if _NUMBER.fullmatch(value) or (name in _TOKENS and _TOKEN.fullmatch(value))
    }


class RuleNames:
    """Names of rules for a manifest: those that ship keep theirs, which tell nothing.

    Args:
        own: rules of the configuration; their names may tell the hospital.
        shipped: the default rules.
    """

    def __init__(self, own: Sequence[Rule], shipped: Sequence[Rule]) -> None:
        numbered = {rule.name: f"site-{number}" for number, rule in enumerate(own, start=1)}
        self._names = {rule.name: rule.name for rule in shipped} | numbered

    def __getitem__(self, name: str) -> str:
        return self._names.get(name, "site")


def roles_by_series(
    input_sets: Sequence[InputSet], names: RuleNames, pseudonyms: Pseudonyms
) -> dict[tuple[str, str], list[Role]]:
    """The roles of each series, by Study and Series Instance UID.

    Args:
        input_sets: of one patient.
        names: of rules.
        pseudonyms: of the export.
    """
    found: dict[tuple[str, str], list[Role]] = {}
    for one in input_sets:
        headers = [item.header for items in one.roles.values() for item in items]
        series = sorted({(h.study_instance_uid, h.series_instance_uid) for h in headers})
        group = pseudonyms.digest("set", one.route, one.corrector, *(uid for pair in series for uid in pair))[:12]
        for role, items in sorted(one.roles.items()):
            for pair in series:
                own = {
                    item.header.sop_instance_uid: harmless(item.captures)
                    for item in items
                    if (item.header.study_instance_uid, item.header.series_instance_uid) == pair
                }
                if own:
                    found.setdefault(pair, []).append(Role(names[one.route], one.corrector, role, group, own))
    return found
