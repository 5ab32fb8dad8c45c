"""Named captures: polarity, bin and the like, read from the tags of each instance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dicom_node.config.rules import Capture
from dicom_node.contracts import InstanceHeader
from dicom_node.routing.values import components, text

Captures = Mapping[str, str]


def capture_all(
    captures: Sequence[Capture], instances: Sequence[InstanceHeader]
) -> tuple[dict[str, Captures], tuple[str, ...]]:
    """Read the captures of every instance of a series.

    For each name the captures that give it are tried in order; the first that reads it in every instance is used.

    Returns:
        Captures by SOP Instance UID, and the names that no capture could read in every instance.
    """
    found: dict[str, dict[str, str]] = {i.sop_instance_uid: {} for i in instances}
    names = list(dict.fromkeys(name for capture in captures for name in capture.names))
    unread = []
    for name in names:
        column = next(
            (c for capture in captures if name in capture.names if (c := _column(capture, name, instances))), None
        )
        if column is None:
            unread.append(name)
            continue
        for instance, value in zip(instances, column, strict=True):
            found[instance.sop_instance_uid][name] = value
    return dict(found), tuple(unread)


def _column(capture: Capture, name: str, instances: Sequence[InstanceHeader]) -> list[str] | None:
    """One value for each instance from the first tag that gives all of them, None when no tag does."""
    for keyword in capture.tag:
        values = [_read(capture, name, keyword, i) for i in instances]
        known = [v for v in values if v is not None]
        if known and len(known) == len(values) and len(set(known)) >= capture.min_distinct:
            return known
    return None


def _read(capture: Capture, name: str, keyword: str, instance: InstanceHeader) -> str | None:
    for component in components(instance.get(keyword)):
        raw = text(component)
        if capture.pattern is not None:
            match = re.search(capture.pattern, raw)
            raw = (match.group(name) or "") if match else ""
        value = _canonical(capture, name, raw)
        if value is not None:
            return value
    return None


def _canonical(capture: Capture, name: str, raw: str) -> str | None:
    if name not in capture.map:
        return raw or None
    for canonical, spellings in capture.map[name].items():
        if any(raw.casefold() == text(s).casefold() for s in spellings):
            return canonical
    return None
