"""Input sets become jobs whose identity depends on the inputs and the recipe, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.config import Config
from dicom_node.contracts import (
    Accepts,
    CorrectorSpec,
    FileRef,
    InputSet,
    InstanceHeader,
    Limits,
    Parameter,
    RoleInstance,
    SeriesView,
    Units,
)
from dicom_node.errors import RequestError
from dicom_node.planning import Planner, new_job

SPEC = CorrectorSpec(
    name="toy", version="1", api=1, title="Toy", inputs={"ct": Accepts(modality="CT", units=Units.HU)},
    methods={"a": "A", "b": "B"}, default_method="a", factory="x:y", limits={"ct": Limits(-1024, 3071)},
    parameters={"strength": Parameter(1.0, "how much", minimum=0.0, maximum=2.0)},
)  # fmt: skip


def header(number: int, sha256: str = "aa") -> InstanceHeader:
    return InstanceHeader(
        sop_instance_uid=f"1.2.{number}", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", series_instance_uid="1.3",
        study_instance_uid="1.4", transfer_syntax_uid="1.2.840.10008.1.2.1", patient_key="p",
        tags={"Modality": "CT"}, file=FileRef(Path(f"/archive/{number}.dcm")), sha256=sha256,
    )  # fmt: skip


def input_set(*headers: InstanceHeader, **changes: object) -> InputSet:
    roles = {"ct": tuple(RoleInstance(h, {}) for h in headers)}
    return replace(InputSet("hip", "toy", None, {}, ("pacs",), roles), **changes)


def test_order_of_arrival_does_not_matter() -> None:
    one, two = header(1), header(2)
    assert new_job(input_set(one, two), SPEC) == new_job(input_set(two, one), SPEC)


def test_more_images_are_the_same_set_in_a_new_version() -> None:
    first, later = new_job(input_set(header(1)), SPEC), new_job(input_set(header(1), header(2)), SPEC)
    assert first.set_key == later.set_key
    assert first.input_digest != later.input_digest


@pytest.mark.parametrize("other", [{"patient_key": "q"}, {"study_instance_uid": "1.5"}])
def test_a_series_uid_used_twice_never_makes_one_patient_supersede_another(other: dict[str, str]) -> None:
    first, second = new_job(input_set(header(1)), SPEC), new_job(input_set(replace(header(2), **other)), SPEC)
    assert first.set_key != second.set_key


def test_other_bytes_are_other_inputs() -> None:
    assert (
        new_job(input_set(header(1, "aa")), SPEC).input_digest != new_job(input_set(header(1, "bb")), SPEC).input_digest
    )


def test_method_and_parameters_are_resolved_and_part_of_the_recipe() -> None:
    plain = new_job(input_set(header(1)), SPEC)
    stronger = new_job(input_set(header(1), parameters={"strength": 2.0}), SPEC)
    other = new_job(input_set(header(1), method="b"), SPEC)
    assert (plain.method, dict(plain.parameters)) == ("a", {"strength": 1.0})
    assert len({plain.recipe, stronger.recipe, other.recipe}) == 3
    assert new_job(input_set(header(1)), replace(SPEC, version="2")).recipe != plain.recipe


def test_a_wrong_parameter_is_refused() -> None:
    with pytest.raises(RequestError, match="strength"):
        new_job(input_set(header(1), parameters={"strength": 9.0}), SPEC)


def test_a_route_with_a_wrong_parameter_gives_no_job_but_an_explanation() -> None:
    rule = {"name": "toy", "when": {"Modality": "CT"}, "corrector": "toy", "parameters": {"nonsense": 1}}
    config = Config.model_validate({"routes": [rule], "defaults": False})
    series = SeriesView("1.4", "1.3", "p", (header(1),))
    jobs, explanations = Planner(config.routes, {"toy": SPEC}, ())([series])
    assert jobs == []
    assert any("nonsense" in str(e["reasons"]) for e in explanations)


def test_a_route_that_fits_gives_a_job() -> None:
    rule = {"name": "toy", "when": {"Modality": "CT"}, "corrector": "toy"}
    config = Config.model_validate({"routes": [rule], "defaults": False})
    jobs, explanations = Planner(config.routes, {"toy": SPEC}, ())([SeriesView("1.4", "1.3", "p", (header(1),))])
    assert [j.corrector for j in jobs] == ["toy"]
    assert [(e["taken"], e["rule"]) for e in explanations] == [(True, "toy")]
