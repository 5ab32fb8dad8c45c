"""Series in, input sets out: a pure function of headers and rules that can always explain itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.config.conditions import ALWAYS
from dicom_node.config.rules import RoleRule, Rule
from dicom_node.contracts import CorrectorSpec, InputSet, ParameterValue, RoleInstance, SeriesView
from dicom_node.routing.defaults import default_rules
from dicom_node.routing.evidence import doubts, missing_evidence
from dicom_node.routing.matching import Match, match_series, misfit
from dicom_node.routing.result import RoutingResult, SeriesExplanation
from dicom_node.routing.stack import position

__all__ = ["RoutingResult", "SeriesExplanation", "route", "route_for"]

OWN_OUTPUT = "made by this node: never an input"


def route(
    series: Sequence[SeriesView],
    rules: Sequence[Rule],
    specs: Mapping[str, CorrectorSpec],
    default_send_to: Sequence[str] = (),
) -> RoutingResult:
    """Decide which series are corrected by which corrector, in which role.

    Args:
        series: all known series, of any number of patients, in any order.
        rules: in the order of the configuration; smaller `priority` chooses first.
        specs: installed correctors by name.
        default_send_to: peers for rules that name none.

    Returns:
        Input sets and explanations; both are independent of the order of series and instances.
    """
    state = _State(sorted(series, key=_identity))
    for rule in sorted(rules, key=lambda r: r.priority):
        _apply(rule, specs.get(rule.corrector), tuple(default_send_to), state)
    return RoutingResult(tuple(state.input_sets), tuple(e for s in state.series for e in state.explain(s)))


def route_for(
    series: Sequence[SeriesView],
    spec: CorrectorSpec,
    rules: Sequence[Rule],
    *,
    method: str | None = None,
    parameters: Mapping[str, ParameterValue] = MappingProxyType({}),
    send_to: Sequence[str] = (),
) -> RoutingResult:
    """Route series to one corrector, whether or not cues speak for it.

    The roles, captures, evidence and hard conditions (`when`, `keep`) are those of the corrector's first rule; its
    `cues` are not asked, and it counts as enabled. Without a rule each role takes the series of its modality.

    Args:
        series: all series of the input.
        spec: the corrector that the user named.
        rules: where the corrector's rule is looked up first; then among the default ones.
        method: method, None for the rule's or the corrector's own.
        parameters: on top of the rule's.
        send_to: peers.

    Returns:
        As `route`: input sets, and an explanation for every series.
    """
    rule = next((r for r in (*rules, *default_rules()) if r.corrector == spec.name), None)
    if rule is None:
        rule = Rule(name=spec.name, corrector=spec.name, roles={role: RoleRule() for role in spec.inputs})
    asked = rule.model_copy(
        update={
            "cues": ALWAYS,
            "roles": {role: r.model_copy(update={"cues": ALWAYS}) for role, r in rule.roles.items()},
            "enabled": True,
            "method": method or rule.method,
            "parameters": {**rule.parameters, **parameters},
            "send_to": tuple(send_to),
        }
    )
    return route(series, [asked], {spec.name: spec})


@dataclass
class _State:
    """What has been decided so far."""

    series: list[SeriesView]
    input_sets: list[InputSet] = field(default_factory=list)
    taken: dict[str, list[SeriesExplanation]] = field(default_factory=dict)
    exclusive: set[str] = field(default_factory=set)
    refusals: dict[str, list[str]] = field(default_factory=dict)

    def offered(self) -> list[SeriesView]:
        """Series that a further rule may take."""
        return [s for s in self.series if s.series_instance_uid not in self.exclusive and not _own_output(s)]

    def refuse(self, series: SeriesView, rule: Rule, why: Iterable[str]) -> None:
        """Note why a rule did not take a series."""
        self.refusals.setdefault(series.series_instance_uid, []).extend(f"{rule.name}: {reason}" for reason in why)

    def take(self, rule: Rule, matches: Sequence[Match], send_to: tuple[str, ...]) -> None:
        """Make one input set of matches that together are complete."""
        roles = _pooled(matches)
        self.input_sets.append(
            InputSet(
                route=rule.name,
                corrector=rule.corrector,
                method=rule.method,
                parameters=dict(rule.parameters),
                send_to=send_to if rule.send_to is None else rule.send_to,
                roles=roles,
            )
        )
        for match in matches:
            uid = match.series.series_instance_uid
            reasons = (*match.why, *doubts(rule.evidence, match.roles))
            explanation = SeriesExplanation(uid, True, rule.name, ", ".join(sorted(match.roles)), reasons)
            self.taken.setdefault(uid, []).append(explanation)
            if rule.exclusive:
                self.exclusive.add(uid)

    def explain(self, series: SeriesView) -> list[SeriesExplanation]:
        """Every decision on a series; one refusal when no rule took it."""
        uid = series.series_instance_uid
        if _own_output(series):
            return [SeriesExplanation(uid, False, None, None, (OWN_OUTPUT,))]
        if uid in self.taken:
            return self.taken[uid]
        reasons = self.refusals.get(uid) or ["there is no rule"]
        return [SeriesExplanation(uid, False, None, None, tuple(reasons))]


def _apply(rule: Rule, spec: CorrectorSpec | None, send_to: tuple[str, ...], state: _State) -> None:
    """Let one rule take what it can."""
    offered = state.offered()
    never = _never(rule, spec)
    if never is not None or spec is None:
        for series in offered:
            state.refuse(series, rule, [never or ""])
        return
    matches = []
    for series in offered:
        match = match_series(rule, series, spec)
        if match.roles:
            matches.append(match)
        else:
            state.refuse(series, rule, match.why)
    if len(spec.inputs) == 1:
        sets = [[m] for m in matches]
    else:
        sets = [one for group in _by_scope(matches, rule.scope) for one in _by_acquisition(rule, spec, group)]
    for candidates in sets:
        problem = _problem(rule, spec, candidates)
        if problem is None:
            state.take(rule, candidates, send_to)
        else:
            for match in candidates:
                state.refuse(match.series, rule, [problem])


def _never(rule: Rule, spec: CorrectorSpec | None) -> str | None:
    """Why a rule takes nothing at all, None when it may."""
    if not rule.enabled:
        return "switched off (enabled: false)"
    if spec is None:
        return f"corrector {rule.corrector} is not installed: no correction"
    return misfit(rule, spec)


def _problem(rule: Rule, spec: CorrectorSpec, matches: Sequence[Match]) -> str | None:
    """Why matches make no input set yet, None when they do."""
    roles = _pooled(matches)
    if absent := sorted(set(spec.inputs) - set(roles)):
        return f"incomplete: no {' and no '.join(absent)} in this {rule.scope}"
    for role, instances in roles.items():
        if _ambiguous(instances):
            return f"ambiguous: several series could be {role}, and nothing in the rule tells them apart"
    if missing := missing_evidence(rule.evidence, roles):
        return "incomplete: " + "; ".join(missing)
    return None


def _ambiguous(instances: Sequence[RoleInstance]) -> bool:
    """Whether two series of a role stand for the same thing: equal captures, so that neither adds to the other.

    Series that a capture tells apart (one series for each bin) complement one another, as do two series with
    the same captures at different slice positions once any capture is read. A series that lacks a capture that
    another one has (a combined one beside its bins) does not complement it.
    """
    if len({frozenset(instance.captures) for instance in instances}) > 1:
        return True
    owners: dict[object, str] = {}
    for instance in instances:
        captures = tuple(sorted(instance.captures.items()))
        place = position(instance.header) if captures else None
        uid = instance.header.series_instance_uid
        if owners.setdefault((captures, place), uid) != uid:
            return True
    return False


def _pooled(matches: Sequence[Match]) -> dict[str, tuple[RoleInstance, ...]]:
    """Instances by role over several series, roles and instances in a fixed order."""
    roles: dict[str, list[RoleInstance]] = {}
    for match in matches:
        for role, instances in match.roles.items():
            roles.setdefault(role, []).extend(instances)
    return {role: tuple(sorted(roles[role], key=lambda i: i.header.sop_instance_uid)) for role in sorted(roles)}


def _by_scope(matches: Sequence[Match], scope: str) -> list[list[Match]]:
    groups: dict[tuple[str, ...], list[Match]] = {}
    for match in matches:
        key: tuple[str, ...] = (match.series.patient_key,)
        if scope == "study":
            key = (*key, match.series.study_instance_uid)
        groups.setdefault(key, []).append(match)
    return list(groups.values())


def _by_acquisition(rule: Rule, spec: CorrectorSpec, matches: Sequence[Match]) -> list[list[Match]]:
    """Several acquisitions of one scope, told apart by the plane of their slices and by what captures leave of names.

    Only where that makes complete sets: else the matches belong together in some other way.
    """
    groups: dict[object, list[Match]] = {}
    for match in matches:
        groups.setdefault(_acquisition(rule, match), []).append(match)
    complete = [group for group in groups.values() if set(_pooled(group)) >= set(spec.inputs)]
    if not complete:
        return [list(matches)]
    left = [match for group in groups.values() if group not in complete for match in group]
    return [*complete, *([left] if left else [])]


def _acquisition(rule: Rule, match: Match) -> object:
    planes = {place[0] for i in match.series.instances if (place := position(i)) is not None}
    names = set()
    for instance in match.series.instances:
        name = str(instance.get("SeriesDescription") or "")
        for capture in rule.capture:
            if capture.pattern is not None:
                name = re.sub(capture.pattern, "", name)
        names.add(" ".join(name.split()).casefold())
    return frozenset(planes), frozenset(names)


def _own_output(series: SeriesView) -> bool:
    return any(i.own_output for i in series.instances)


def _identity(series: SeriesView) -> tuple[str, str, str]:
    return series.patient_key, series.study_instance_uid, series.series_instance_uid
