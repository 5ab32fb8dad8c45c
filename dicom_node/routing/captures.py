"""Named captures: polarity, bin and the like, read from the tags of each instance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dicom_node.config.rules import Capture
from dicom_node.contracts import InstanceHeader
from dicom_node.routing.stack import position
from dicom_node.routing.values import components, text

Captures = Mapping[str, str]


def capture_all(
    captures: Sequence[Capture], instances: Sequence[InstanceHeader]
) -> tuple[dict[str, Captures], tuple[str, ...]]:
    """Read the captures of every instance of a series.

    For each name the captures that give it are tried in order; the first that reads it in every instance is used.

    Returns:
        Captures by SOP Instance UID, and the names that no capture could read in every instance, though they must be.
    """
    found: dict[str, dict[str, str]] = {i.sop_instance_uid: {} for i in instances}
    names = list(dict.fromkeys(name for capture in captures for name in capture.names))
    unread = []
    for name in names:
        giving = [capture for capture in captures if name in capture.names]
        together = _together(instances, found)
        column = next((c for capture in giving if (c := _column(capture, name, instances, together))), None)
        if column is not None:
            for instance, value in zip(instances, column, strict=True):
                found[instance.sop_instance_uid][name] = value
        elif not any(capture.tells_apart for capture in giving) or any(len(group) > 1 for group in together):
            unread.append(name)
    return dict(found), tuple(unread)


def _together(instances: Sequence[InstanceHeader], found: Mapping[str, Captures]) -> list[list[int]]:
    """Indices of the instances that lie at one position and have the same captures so far."""
    groups: dict[object, list[int]] = {}
    for index, instance in enumerate(instances):
        captured = tuple(sorted(found[instance.sop_instance_uid].items()))
        groups.setdefault((position(instance), captured), []).append(index)
    return list(groups.values())


def _column(
    capture: Capture, name: str, instances: Sequence[InstanceHeader], together: Sequence[Sequence[int]]
) -> list[str] | None:
    """One value for each instance from the first tag that gives all of them, None when no tag does."""
    for keyword in capture.tag:
        values = [_read(capture, name, keyword, i) for i in instances]
        known = [v for v in values if v is not None]
        if not known or len(known) < len(values):
            continue
        if capture.tells_apart:
            counts = [len({known[index] for index in group}) for group in together]
            apart = all(n == len(group) for n, group in zip(counts, together, strict=True))
            if apart and max(counts) >= capture.min_distinct:
                return known
        elif len(set(known)) >= capture.min_distinct:
            return known
    return None


def _read(capture: Capture, name: str, keyword: str, instance: InstanceHeader) -> str | None:
    for component in components(instance.get(keyword)):
        raw = text(component)
        if capture.pattern is None:
            spelt = [raw]
        else:
            spelt = [match.group(name) or "" for match in re.finditer(capture.pattern, raw)]
            if name not in capture.map:
                spelt = spelt[:1]
        values = {value for s in spelt if (value := _canonical(capture, name, s)) is not None}
        if len(values) == 1:  # a text that says two things says nothing
            return values.pop()
    return None


def _canonical(capture: Capture, name: str, raw: str) -> str | None:
    if name not in capture.map:
        return raw or None
    for canonical, spellings in capture.map[name].items():
        if any(raw.casefold() == text(s).casefold() for s in spellings):
            return canonical
    return None
