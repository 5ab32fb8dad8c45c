"""Whether an input set is complete: the evidence beside the quiet period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from dicom_node.config.rules import Evidence, ExpectedCount
from dicom_node.contracts import InstanceHeader, RoleInstance
from dicom_node.routing.conditions import at_positions
from dicom_node.routing.stack import position, same_places
from dicom_node.routing.values import components, distinct, number

_UNEVEN = 1.5
"""A step so many times the smallest one is a gap."""
Roles = Mapping[str, Sequence[RoleInstance]]


def missing_evidence(evidence: Evidence, roles: Roles) -> list[str]:
    """What is missing before the roles are complete, one sentence each; empty when nothing is."""
    found = []
    for role, instances in roles.items():
        headers = [i.header for i in instances]
        if len(headers) < evidence.min_instances:
            found.append(f"{role} has {len(headers)} instances, the rule wants at least {evidence.min_instances}")
        for expected in evidence.expected:
            if expected.demand:
                found += [f"{role}: {sentence}" for sentence in _shortfall(expected, headers)]
        if evidence.equal_counts:
            counts = {len(group) for group in at_positions(headers)}
            if len(counts) > 1:
                found.append(f"{role} has between {min(counts)} and {max(counts)} instances at a slice position")
    for name in evidence.same_captures:
        sets = {role: {i.captures.get(name, "") for i in instances} for role, instances in roles.items()}
        if len({frozenset(s) for s in sets.values()}) > 1:
            shown = ", ".join(f"{role} has {len(s)}" for role, s in sets.items())
            found.append(f"the roles have different sets of {name} ({shown})")
    for name in evidence.equal_captures:
        numbers = {role: len({i.captures.get(name, "") for i in instances}) for role, instances in roles.items()}
        if len(set(numbers.values())) > 1:
            shown = ", ".join(f"{role} has {n}" for role, n in numbers.items())
            found.append(f"the roles have different numbers of {name} ({shown})")
        else:
            found += _gaps(name, roles)
    if evidence.same_positions:
        places = {role: {position(i.header) for i in instances} for role, instances in roles.items()}
        first = next(iter(places.values()), set())
        if not all(same_places(first, other) for other in places.values()):
            shown = ", ".join(f"{role} has {len(p)}" for role, p in places.items())
            found.append(f"the roles cover different slice positions ({shown})")
    return found


def _gaps(name: str, roles: Roles) -> list[str]:
    """What is missing of captures that count: one between others, or other ones in each role."""
    counted: dict[str, list[float]] = {}
    for role, instances in roles.items():
        values = {number(i.captures.get(name)) for i in instances}
        numbers = sorted(value for value in values if value is not None)
        if None in values or len(numbers) < 2:
            return []
        steps = [after - before for before, after in pairwise(numbers)]
        for before, step in zip(numbers, steps, strict=False):
            if step > _UNEVEN * min(steps):
                return [f"{role} lacks a {name}: after {before:g} comes {before + step:g}"]
        counted[role] = numbers
    (first, mine), *others = counted.items()
    step = (mine[-1] - mine[0]) / (len(mine) - 1)
    for role, theirs in others:
        apart = abs(theirs[0] - mine[0])
        # Scanners retune a little between the roles, or count on from one to the other.
        if step / 2 < apart < mine[-1] - mine[0] + step / 2:
            return [
                f"{first} and {role} have different {name}s: "
                f"{mine[0]:g} to {mine[-1]:g}, {theirs[0]:g} to {theirs[-1]:g}"
            ]
    return []


def doubts(evidence: Evidence, roles: Roles) -> list[str]:
    """Counts that the headers promise and that are short, where the rule only wants it told."""
    return [
        f"note: {sentence}"
        for instances in roles.values()
        for expected in evidence.expected
        if not expected.demand
        for sentence in _shortfall(expected, [i.header for i in instances])
    ]


def _shortfall(expected: ExpectedCount, headers: Sequence[InstanceHeader]) -> list[str]:
    """A sentence for what is short in each series of a role; zero promises nothing (GE writes 0)."""
    sentences = []
    for uid in sorted({h.series_instance_uid for h in headers}):
        series = [h for h in headers if h.series_instance_uid == uid]
        promises = (number(c) for h in series for c in components(h.get(expected.tag)))
        promised = max((p for p in promises if p is not None), default=0.0)
        there = _count(expected.of, series)
        if there < promised:
            what = {"instances": "instances", "position": "instances at each slice position"}.get(
                expected.of, f"values of {expected.of}"
            )
            sentences.append(f"{expected.tag} promises {promised:g} {what}, {there} are there")
    return sentences


def _count(of: str, series: Sequence[InstanceHeader]) -> int:
    if of == "instances":
        return len(series)
    if of == "position":
        return min(len(group) for group in at_positions(series))
    return len(distinct(series, of))
