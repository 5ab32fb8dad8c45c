"""One rule and one series: does it fit, which instances stay, which role does each play?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicom_node.config.rules import RoleRule, Rule
from dicom_node.contracts import CorrectorSpec, InstanceHeader, RoleInstance, SeriesView
from dicom_node.routing.captures import Captures, capture_all
from dicom_node.routing.conditions import Verdict, evaluate
from dicom_node.routing.values import components, text


@dataclass(frozen=True)
class Match:
    """What a rule makes of one series.

    Attributes:
        series: the series.
        roles: its instances by role; empty when it plays none.
        why: reasons for each role played, or why none is.
    """

    series: SeriesView
    roles: Mapping[str, tuple[RoleInstance, ...]]
    why: tuple[str, ...]


def match_series(rule: Rule, series: SeriesView, spec: CorrectorSpec) -> Match:
    """Try one rule on one series."""
    kept = [i for i in series.instances if evaluate(rule.keep, (i,)).holds]
    kept.sort(key=lambda i: i.sop_instance_uid)
    if not kept:
        return Match(series, {}, ("no instance is of the kind that the rule keeps",))
    reasons = []
    for condition in (rule.when, rule.cues):
        verdict = evaluate(condition, kept)
        if not verdict.holds:
            return Match(series, {}, (verdict.reason,))
        if verdict.reason:
            reasons.append(verdict.reason)
    captured, unread = capture_all(rule.capture, kept)
    if unread:
        return Match(series, {}, (f"cannot tell {' and '.join(unread)} from the headers{_crowded(rule, unread)}",))
    roles: dict[str, tuple[RoleInstance, ...]] = {}
    denied: dict[str, str] = {}
    fitting: set[str] = set()
    for role, wanted in role_rules(rule, spec).items():
        chosen = [i for i in kept if _captures_fit(wanted, captured[i.sop_instance_uid])]
        verdict = _plays(spec, role, wanted, chosen)
        fitting |= {role} if chosen else set()
        if verdict.holds:
            roles[role] = tuple(RoleInstance(i, captured[i.sop_instance_uid]) for i in chosen)
            reasons.append(verdict.reason)
        else:
            denied[role] = verdict.reason
    if not roles:
        # Where the captures say which role it would be, why it cannot be another one tells nothing.
        told = [(role, why) for role, why in denied.items() if role in fitting or not fitting]
        return Match(series, {}, tuple(f"as {role}: {why}" if len(denied) > 1 else why for role, why in told))
    return Match(series, roles, tuple(dict.fromkeys(r for r in reasons if r)))


def _crowded(rule: Rule, unread: Sequence[str]) -> str:
    """What a name that tells images apart would have been needed for."""
    telling = {name for capture in rule.capture if capture.tells_apart for name in capture.names}
    if not (crowded := [name for name in unread if name in telling]):
        return ""
    return f": several images lie at one position, and no tag of the rule tells their {' and '.join(crowded)} apart"


def _plays(spec: CorrectorSpec, role: str, wanted: RoleRule, chosen: Sequence[InstanceHeader]) -> Verdict:
    """Whether the chosen instances of a series can play a role."""
    accepts = spec.inputs[role]
    if not chosen:
        asked = (f"{name} {' or '.join(text(v) for v in values)}" for name, values in wanted.captured.items())
        return Verdict(False, f"no instance has {' and '.join(asked)}")
    if {str(i.get("Modality") or "") for i in chosen} != {accepts.modality}:
        return Verdict(False, f"Modality is not {accepts.modality}")
    verdicts = [evaluate(condition, chosen) for condition in (wanted.when, wanted.cues)]
    if failed := [v.reason for v in verdicts if not v.holds]:
        return Verdict(False, "; ".join(failed))
    if absent := [k for k in accepts.needs if not any(components(i.get(k)) for i in chosen)]:
        return Verdict(False, f"missing what {spec.name} needs: {', '.join(absent)}")
    return Verdict(True, "; ".join(v.reason for v in verdicts if v.reason))


def role_rules(rule: Rule, spec: CorrectorSpec) -> Mapping[str, RoleRule]:
    """The rule's roles; for a corrector with one role a rule need not name it."""
    if not rule.roles and len(spec.inputs) == 1:
        return {next(iter(spec.inputs)): RoleRule()}
    return rule.roles


def misfit(rule: Rule, spec: CorrectorSpec) -> str | None:
    """Why a rule can never serve its corrector: roles or method that the spec does not have; None when it can."""
    roles = set(role_rules(rule, spec))
    if roles != set(spec.inputs):
        return f"the rule names the roles {sorted(roles)}, {spec.name} has {sorted(spec.inputs)}"
    if rule.method is not None and rule.method not in spec.methods:
        return f"{spec.name} has no method {rule.method!r}; it has {sorted(spec.methods)}"
    return None


def _captures_fit(wanted: RoleRule, captures: Captures) -> bool:
    return all(captures.get(name) in {text(v) for v in values} for name, values in wanted.captured.items())
