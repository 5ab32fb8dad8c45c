"""Series of one patient -> routed input sets -> jobs. Pure: no files, no database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from dicom_node.config.rules import Rule
from dicom_node.contracts import CorrectorSpec, InputSet, RoleInstance, SeriesView
from dicom_node.errors import RequestError
from dicom_node.jobs.model import JobInput, NewJob
from dicom_node.plugins.parameters import resolve
from dicom_node.routing.router import RoutingResult, SeriesExplanation, route


class Planner:
    """Routes with one set of rules and one set of installed correctors."""

    def __init__(
        self, rules: Sequence[Rule], specs: Mapping[str, CorrectorSpec], default_send_to: tuple[str, ...]
    ) -> None:
        self._rules = tuple(rules)
        self._specs = specs
        self._default_send_to = default_send_to

    def route(self, series: Sequence[SeriesView]) -> RoutingResult:
        """Route without making jobs."""
        return route(series, self._rules, self._specs, self._default_send_to)

    def __call__(self, series: Sequence[SeriesView]) -> tuple[list[NewJob], list[Mapping[str, object]]]:
        """Route all series of a patient, and turn each input set into a job with resolved method and parameters.

        Returns:
            Jobs to submit (the ledger ignores those it knows), and for each series which rule took it or why none did.
        """
        result = self.route(series)
        explanations = [as_mapping(e) for e in result.explanations]
        jobs = []
        for input_set in result.input_sets:
            try:
                jobs.append(new_job(input_set, self._specs[input_set.corrector]))
            except RequestError as error:
                explanations.extend(
                    {
                        "series_instance_uid": uid,
                        "taken": False,
                        "rule": input_set.route,
                        "role": None,
                        "reasons": [str(error)],
                    }
                    for uid in series_uids(input_set)
                )
        return jobs, explanations


def new_job(input_set: InputSet, spec: CorrectorSpec) -> NewJob:
    """A job for an input set.

    Raises:
        RequestError: the method or a parameter is not one of the corrector's.
    """
    method, parameters = resolve(spec, input_set.method, input_set.parameters)
    inputs = tuple(
        JobInput(
            role=role,
            sop_instance_uid=item.header.sop_instance_uid,
            series_instance_uid=item.header.series_instance_uid,
            file=item.header.file,
            sha256=item.header.sha256,
            captures=dict(item.captures),
        )
        for role, items in sorted(input_set.roles.items())
        for item in sorted(items, key=lambda i: i.header.sop_instance_uid)
    )
    weights = spec.weights.get(method)
    recipe = [spec.name, spec.version, method, weights.sha256 if weights else "", sorted(parameters.items())]
    # Careless senders use one Series Instance UID for two patients: neither's job may supersede the other's.
    series = sorted(
        {
            (role, i.header.patient_key, i.header.study_instance_uid, i.header.series_instance_uid)
            for role, items in input_set.roles.items()
            for i in items
        }
    )
    return NewJob(
        route=input_set.route,
        corrector=spec.name,
        method=method,
        parameters=parameters,
        send_to=input_set.send_to,
        inputs=inputs,
        set_key=_digest([input_set.route, spec.name, method, series]),
        input_digest=input_digest(input_set.roles),
        recipe=_digest(recipe),
    )


def input_digest(roles: Mapping[str, Sequence[RoleInstance]]) -> str:
    """SHA-256 over which instances, with which bytes, in which role; order does not matter."""
    return _digest(
        sorted(
            [role, item.header.sop_instance_uid, item.header.sha256, sorted(item.captures.items())]
            for role, items in roles.items()
            for item in items
        )
    )


def series_uids(input_set: InputSet) -> tuple[str, ...]:
    """Series Instance UIDs of an input set, each once."""
    return tuple(dict.fromkeys(i.header.series_instance_uid for items in input_set.roles.values() for i in items))


def as_mapping(explanation: SeriesExplanation) -> Mapping[str, object]:
    """An explanation as plain data, for the ledger and `--json`."""
    return {
        "series_instance_uid": explanation.series_instance_uid,
        "taken": explanation.taken,
        "rule": explanation.rule,
        "role": explanation.role,
        "reasons": list(explanation.reasons),
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
