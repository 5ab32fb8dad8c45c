"""Methods and parameters against a spec."""

from datetime import date

import pytest

from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Parameter, Units
from dicom_node.errors import RequestError
from dicom_node.plugins.parameters import resolve

SPEC = CorrectorSpec(
    name="demo",
    version="1",
    api=1,
    title="t",
    inputs={"ct": Accepts("CT", Units.HU)},
    methods={"classical": "x", "best": "y"},
    default_method="classical",
    factory="a:b",
    limits={"ct": Limits(0.0, 1.0)},
    parameters={
        "angles": Parameter(360, "number of angles", minimum=180, maximum=720),
        "threshold_hu": Parameter(2500.0, "[HU]", minimum=0),
        "mode": Parameter("fast", "speed", choices=("fast", "slow")),
        "mask": Parameter(True, "whether to give a mask"),
    },
)


def test_defaults_are_filled_in():
    assert resolve(SPEC, None, {}) == (
        "classical",
        {"angles": 360, "threshold_hu": 2500.0, "mode": "fast", "mask": True},
    )
    assert resolve(SPEC, "best", {})[0] == "best"


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"angles": "540"}, "angles", 540),
        ({"angles": 540.0}, "angles", 540),
        ({"threshold_hu": 3000}, "threshold_hu", 3000.0),
        ({"threshold_hu": "1e3"}, "threshold_hu", 1000.0),
        ({"mask": "off"}, "mask", False),
        ({"mask": "Yes"}, "mask", True),
        ({"mode": "slow"}, "mode", "slow"),
    ],
)
def test_values_take_the_type_of_the_parameter(given, name, value):
    resolved = resolve(SPEC, None, given)[1][name]
    assert resolved == value and type(resolved) is type(value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"angels": 360}, "no parameter 'angels'; it has angles, mask, mode, threshold_hu"),
        ({"angles": 100}, "angles must be at least 180, got 100"),
        ({"angles": 721}, "angles must be at most 720, got 721"),
        ({"angles": 360.5}, "angles must be a whole number"),
        ({"angles": True}, "angles must be a whole number"),
        ({"angles": "many"}, "angles must be a whole number"),
        ({"threshold_hu": "nan"}, "threshold_hu must be a finite number"),
        ({"threshold_hu": float("inf")}, "threshold_hu must be a finite number"),
        ({"threshold_hu": None}, "threshold_hu must be a finite number"),
        ({"threshold_hu": date(2020, 1, 1)}, "threshold_hu must be a finite number"),
        ({"angles": 10**400}, "angles must be a whole number"),
        ({"mode": "idle"}, "mode must be one of fast, slow, got 'idle'"),
        ({"mode": 1}, "mode must be a text"),
        ({"mask": 1}, "mask must be true or false"),
        ({"mask": "maybe"}, "mask must be true or false"),
    ],
)
def test_refusals_name_the_parameter_and_what_is_allowed(given, wanted):
    with pytest.raises(RequestError) as caught:
        resolve(SPEC, None, given)
    assert wanted in str(caught.value)


def test_unknown_method_is_refused():
    with pytest.raises(RequestError, match="demo has no method 'magic'; it has best, classical"):
        resolve(SPEC, "magic", {})
