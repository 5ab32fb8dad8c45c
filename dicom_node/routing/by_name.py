"""Routing when the user names the corrector: the roles are still found from the headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dicom_node.config.conditions import ALWAYS
from dicom_node.config.rules import RoleRule, Rule
from dicom_node.contracts import CorrectorSpec, ParameterValue, SeriesView
from dicom_node.routing.result import RoutingResult
from dicom_node.routing.router import route


def route_for(
    spec: CorrectorSpec,
    series: Sequence[SeriesView],
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
        spec: the corrector that the user named.
        series: all series of the input.
        rules: where the corrector's rule is looked up: the configuration's, then the default ones.
        method: method, None for the rule's or the corrector's own.
        parameters: on top of the rule's.
        send_to: peers.

    Returns:
        As `router.route`: input sets, and an explanation for every series.
    """
    rule = next((r for r in rules if r.corrector == spec.name), None)
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
