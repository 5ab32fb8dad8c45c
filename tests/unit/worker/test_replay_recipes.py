"""Only a corrector that is what made a series may recompute it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Parameter, Units, WeightsRef
from dicom_node.dicom.derived import Recipe
from dicom_node.errors import PluginError, WeightsError
from dicom_node.worker.replay import installed_for

SHA = "ab" * 32
SPEC = CorrectorSpec(
    name="toy", version="1", api=1, title="Toy", inputs={"ct": Accepts(modality="CT", units=Units.HU)},
    methods={"plain": "does", "net": "learnt"}, default_method="plain", factory="x:y",
    limits={"ct": Limits(-1024, 3071)},
    parameters={"n": Parameter(3, "how many", maximum=9), "s": Parameter(0.5, "how much")},
    weights={"net": WeightsRef("", "/nowhere", SHA)},
)  # fmt: skip
PLAIN = Recipe("toy", "1", "plain", "", '{"n":4,"s":1.0}', "cd" * 32, "cpu", 1)
NET = replace(PLAIN, method="net", weights_sha256=SHA)


@pytest.mark.parametrize("recipe", [PLAIN, NET])
def test_what_made_it_is_taken_as_it_is(recipe: Recipe) -> None:
    assert installed_for(recipe, SPEC) is SPEC


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (replace(PLAIN, corrector_version="0.9"), "version 1 is installed"),
        (replace(PLAIN, method="gone"), "no such method"),
        (replace(PLAIN, parameters_json='{"n":4,"s":1.0,"old":1}'), "no parameter 'old'"),
        (replace(PLAIN, parameters_json='{"n":4}'), "other parameters"),
        (replace(PLAIN, parameters_json='{"n":40,"s":1.0}'), "at most 9"),
    ],
)
def test_another_corrector_is_refused(recipe: Recipe, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        installed_for(recipe, SPEC)


@pytest.mark.parametrize("recipe", [replace(PLAIN, weights_sha256=SHA), replace(NET, weights_sha256="ef" * 32)])
def test_other_weights_are_refused(recipe: Recipe) -> None:
    with pytest.raises(WeightsError, match="--weights"):
        installed_for(recipe, SPEC)


def test_weights_where_none_were_are_refused() -> None:
    with pytest.raises(WeightsError, match="made with no weights"):
        installed_for(replace(NET, weights_sha256=""), SPEC)


@pytest.mark.parametrize(
    ("tolerance", "says"),
    [
        ({"mr": 1.0}, "no role"),
        ({"report": 1.0}, "no role"),
        ({"ct": -1.0}, "finite"),
        ({"ct": float("nan")}, "finite"),
    ],
)
def test_a_spec_states_tolerances_for_what_it_derives(tolerance: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(SPEC, device_tolerance=tolerance)
    assert replace(SPEC, device_tolerance={"ct": 2.0, "map:change": 0.0, "mask:metal": 0.1}).device_tolerance["ct"] == 2
