"""What the conditions of `config.conditions` mean for a set of instances. Pure; names tags, never their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from dicom_node.config.conditions import (
    AtLeast,
    Condition,
    CountTest,
    DistinctTest,
    FractionTest,
    GeometryTest,
    Range,
    SpanTest,
    TagOperators,
    TagTest,
    Where,
)
from dicom_node.contracts import InstanceHeader
from dicom_node.routing.stack import position, stack_geometry
from dicom_node.routing.values import Component, components, distinct, number, same, text


@dataclass(frozen=True)
class Verdict:
    """Outcome of a condition.

    Attributes:
        holds: whether it is true.
        reason: what made it so, by tag keyword.
        cues: names of the cues inside it that hold.
    """

    holds: bool
    reason: str
    cues: tuple[str, ...] = ()


def evaluate(condition: Condition, instances: Sequence[InstanceHeader]) -> Verdict:
    """Whether a condition holds for the instances of a series, taken together.

    An empty set of instances satisfies no test of a tag, count or geometry.
    """
    if isinstance(condition, Where):
        verdict = _where(condition, instances)
    elif isinstance(condition, TagTest):
        verdict = _tag_test(condition.tag, condition, instances)
    elif isinstance(condition, GeometryTest):
        verdict = _geometry(condition, instances)
    elif isinstance(condition, CountTest):
        counted = (
            instances if condition.where is None else [i for i in instances if evaluate(condition.where, (i,)).holds]
        )
        verdict = _range("number of instances", condition, [float(len(counted))])
    elif isinstance(condition, FractionTest):
        fitting = sum(evaluate(condition.fraction, (i,)).holds for i in instances)
        verdict = _range("fraction of instances", condition, [fitting / len(instances)] if instances else [])
    elif isinstance(condition, DistinctTest):
        verdict = _each(condition, condition.distinct, condition.per, "distinct values", _n_distinct, instances)
    elif isinstance(condition, SpanTest):
        verdict = _each(condition, condition.span, condition.per, "span", _span, instances)
    else:
        verdict = _each(condition, condition.step, condition.per, "step", _step, instances)
    if condition.cue is None:
        return verdict
    return Verdict(verdict.holds, condition.cue, (condition.cue, *verdict.cues) if verdict.holds else ())


def at_positions(instances: Sequence[InstanceHeader]) -> list[list[InstanceHeader]]:
    """Instances grouped by slice position; those without geometry form one group."""
    groups: dict[object, list[InstanceHeader]] = {}
    for instance in instances:
        groups.setdefault(position(instance), []).append(instance)
    return list(groups.values())


def _where(condition: Where, instances: Sequence[InstanceHeader]) -> Verdict:
    parts = [_tag_test((keyword,), operators, instances) for keyword, operators in condition.tags.items()]
    parts += [evaluate(part, instances) for part in condition.all_of or ()]
    if condition.any_of is not None:
        parts.append(_any(condition.any_of, instances))
    if condition.none_of is not None:
        denied = evaluate(condition.none_of, instances)
        parts.append(Verdict(not denied.holds, f"excluded: {denied.reason}" if denied.holds else ""))
    if condition.at_least is not None:
        parts.append(_at_least(condition.at_least, instances))
    failed = [p.reason for p in parts if not p.holds]
    reasons = failed or [p.reason for p in parts if p.reason]
    holds = not failed
    return Verdict(holds, "; ".join(reasons), tuple(c for p in parts for c in p.cues) if holds else ())


def _any(conditions: Sequence[Condition], instances: Sequence[InstanceHeader]) -> Verdict:
    verdicts = [evaluate(c, instances) for c in conditions]
    holding = [v for v in verdicts if v.holds]
    if holding:
        return Verdict(True, holding[0].reason, tuple(c for v in holding for c in v.cues))
    return Verdict(False, "none of [" + ", ".join(v.reason for v in verdicts) + "]")


def _at_least(condition: AtLeast, instances: Sequence[InstanceHeader]) -> Verdict:
    verdicts = [evaluate(c, instances) for c in condition.of]
    found = [v.reason for v in verdicts if v.holds]
    missing = [v.reason for v in verdicts if not v.holds]
    cues = tuple(c for v in verdicts for c in v.cues)
    if len(found) >= condition.n:
        return Verdict(True, "agreeing cues: " + ", ".join(found), cues)
    return Verdict(
        False,
        f"{len(found)} of {condition.n} agreeing cues: found [{', '.join(found)}], not found [{', '.join(missing)}]",
    )


def _tag_test(keywords: Sequence[str], operators: TagOperators, instances: Sequence[InstanceHeader]) -> Verdict:
    name = " or ".join(keywords)
    if not instances:
        return Verdict(False, "no instances")
    if operators.wants_absence:
        filled = [k for k in keywords if any(components(i.get(k)) for i in instances)]
        return Verdict(not filled, f"{' or '.join(filled)} is present" if filled else f"{name} is absent")
    over = any if operators.instances == "any" else all
    if over(any(_fits(i, k, operators) for k in keywords) for i in instances):
        return Verdict(True, f"{name} {_asked(operators)}")
    missing = not any(components(i.get(k)) for i in instances for k in keywords)
    return Verdict(False, f"{name} is missing" if missing else f"{name} {_denied(operators)}")


def _fits(instance: InstanceHeader, keyword: str, operators: TagOperators) -> bool:
    parts = components(instance.get(keyword))
    if not parts:
        return False
    over = any if operators.values == "any" else all
    return over(_component_fits(p, operators) for p in parts)


def _component_fits(part: Component, operators: TagOperators) -> bool:
    if operators.equals is not None and not same(operators.equals, part):
        return False
    if operators.one_of is not None and not any(same(e, part) for e in operators.one_of):
        return False
    if operators.matches is not None and re.search(operators.matches, text(part)) is None:
        return False
    if operators.min is None and operators.max is None:
        return True
    value = number(part)
    return value is not None and not (
        (operators.min is not None and value < operators.min) or (operators.max is not None and value > operators.max)
    )


def _asked(operators: TagOperators) -> str:
    """What the rule asks for, in its own words, which the operator wrote: no header value."""
    words = []
    if operators.equals is not None:
        words.append(f"is {operators.equals}")
    if operators.one_of is not None:
        shown = ", ".join(str(v) for v in operators.one_of[:4])
        words.append(f"is one of {shown}{', …' if len(operators.one_of) > 4 else ''}")
    if operators.matches is not None:
        words.append("matches the rule's pattern")
    if operators.min is not None:
        words.append(f"is at least {operators.min:g}")
    if operators.max is not None:
        words.append(f"is at most {operators.max:g}")
    return " and ".join(words) or "is present"


def _denied(operators: TagOperators) -> str:
    """The contrary of `_asked`."""
    asked = _asked(operators)
    if " and " in asked:
        return f"does not fit ({asked})"
    if asked.startswith("matches"):
        return asked.replace("matches", "does not match", 1)
    return asked.replace("is ", "is not ", 1)


def _geometry(condition: GeometryTest, instances: Sequence[InstanceHeader]) -> Verdict:
    geometry = stack_geometry(instances)
    if geometry is None:
        return Verdict(
            False, f"{condition.geometry} is unknown: ImageOrientationPatient or ImagePositionPatient is missing"
        )
    if condition.equals is not None:
        wanted = " or ".join(condition.equals)
        holds = geometry.orientation in condition.equals
        return Verdict(holds, f"orientation is {geometry.orientation}" + ("" if holds else f", not {wanted}"))
    value: float | None = getattr(geometry, condition.geometry)
    window = Range(min=condition.min, max=condition.max)
    return _range(condition.geometry, window, [] if value is None else [float(value)])


def _range(name: str, window: Range, values: Sequence[float]) -> Verdict:
    """Whether there are values and all of them lie in the window."""
    ends = [f"at least {window.min:g}"] if window.min is not None else []
    ends += [f"at most {window.max:g}"] if window.max is not None else []
    asked = f"{name} is {' and '.join(ends)}"
    if not values:
        return Verdict(False, f"{name} is unknown")
    outside = [v for v in values if not window.holds(v)]
    return Verdict(not outside, f"{name} is {outside[0]:g}, not {' and '.join(ends)}" if outside else asked)


def _each(
    window: Range,
    keyword: str,
    per: str,
    what: str,
    measure: Callable[[Sequence[InstanceHeader], str], float | None],
    instances: Sequence[InstanceHeader],
) -> Verdict:
    groups = at_positions(instances) if per == "position" else [list(instances)]
    values = [measure(group, keyword) for group in groups if group]
    where = " at each position" if per == "position" else ""
    known = [v for v in values if v is not None]
    return _range(f"{what} of {keyword}{where}", window, known if len(known) == len(values) else [])


def _n_distinct(instances: Sequence[InstanceHeader], keyword: str) -> float:
    return float(len(distinct(instances, keyword)))


def _numbers(instances: Sequence[InstanceHeader], keyword: str) -> list[float]:
    found = (number(c) for i in instances for c in components(i.get(keyword)))
    return sorted({n for n in found if n is not None})


def _span(instances: Sequence[InstanceHeader], keyword: str) -> float | None:
    values = _numbers(instances, keyword)
    return values[-1] - values[0] if values else None


def _step(instances: Sequence[InstanceHeader], keyword: str) -> float | None:
    values = _numbers(instances, keyword)
    return median(b - a for a, b in pairwise(values)) if len(values) > 1 else None
