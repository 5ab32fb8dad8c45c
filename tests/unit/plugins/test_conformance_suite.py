"""The conformance suite passes a sound corrector, and each of its checks fails on a corrector that breaks its rule."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectionRefused,
    CorrectorSpec,
    Geometry,
    Limits,
    Mask,
    ParameterMap,
    Units,
    Volume,
)
from dicom_node.testing.conformance import CorrectorConformance

SPEC = CorrectorSpec(
    name="trivial",
    version="1",
    api=1,
    title="t",
    inputs={"ct": Accepts("CT", Units.HU)},
    methods={"classical": "takes 100 HU from voxels above 1000 HU"},
    default_method="classical",
    factory="plug_trivial:build",
    limits={
        "ct": Limits(-1024.0, 3000.0, largest_change=500.0, largest_mean_change=200.0, largest_changed_fraction=0.5)
    },
)
GEOMETRY = Geometry((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0), tuple((0.0, 0.0, float(z)) for z in range(3)), 8, 8)


def volume(metal=True):
    pixels = np.zeros((3, 8, 8), dtype=np.float32)
    if metal:
        pixels[1, 2:4, 0:4] = 1500.0
    return Volume(pixels, Units.HU, GEOMETRY)


class Trivial:
    """Keeps every rule; the names in `break_rules` switch one of them off."""

    def __init__(self, **given):
        self.broken = BROKEN.name

    def correct(self, inputs):
        if self.broken == "missing role" and "ct" not in inputs:
            raise KeyError("ct")
        if "ct" not in inputs:
            raise CorrectionRefused("the role ct is missing")
        ct = inputs["ct"]
        if ct.units is not Units.HU and self.broken != "units":
            raise CorrectionRefused(f"ct must be in HU, it is in {ct.units}")
        if ct.pixels.min() < -500 and self.broken != "refusal":
            raise CorrectionRefused("the series holds nothing but air")
        metal = ct.pixels > 1000
        if not metal.any() and self.broken != "clean":
            return Correction(changed=False, reason="no metal was found")
        if self.broken == "no outcome":
            return Correction(changed=True, volumes={"ct": ct})
        keep = np.zeros(ct.shape, bool) if self.broken == "padding" or ct.padding is None else ct.padding
        fixed = ct.pixels.copy()
        fixed[metal & ~keep] -= 100.0
        result = ct.with_pixels(fixed)
        figures = {}
        match self.broken:
            case "input":
                if ct.pixels.flags.writeable:
                    ct.pixels[0, 0, 5] = 7.0
            case "memory":
                if ct.pixels.flags.writeable:
                    result = replace(ct, pixels=ct.pixels)
            case "random":
                BROKEN.calls += 1
                result.pixels[1, 2, 2] -= BROKEN.calls
            case "clean slice":
                result.pixels[0, 0, 5] += 1.0
            case "nan":
                result.pixels[1, 2, 2] = np.nan
            case "limit":
                result.pixels[1, 2, 2] = 3001.0
            case "change":
                result.pixels[1, 2, 2] = 900.0
            case "mean":
                result.pixels[metal & ~keep] = 1200.0
            case "fraction":
                result.pixels[:, :, 1:] -= 1.0
            case "grid":
                result = replace(result, geometry=replace(GEOMETRY, slice_thickness_mm=3.0))
            case "result units":
                result = replace(result, units=Units.NONE)
            case "mask":
                figures["masks"] = {"metal": Mask("ct", metal[:2], "Metal")}
            case "map":
                values = np.full(ct.shape, np.inf, np.float32)
                figures["maps"] = {"change": ParameterMap("ct", values, Units.HU, "Change")}
            case "quality":
                figures["quality"] = {"largest_change_hu": (1.0,)}
            case "metrics":
                figures["metrics"] = {"mean_hu": float("nan")}
        return Correction(changed=True, volumes={"ct": result}, **figures)


class Broken:
    """Which rule the trivial corrector breaks now."""

    name = ""
    calls = 0


BROKEN = Broken()


class Suite(CorrectorConformance):
    spec = SPEC
    spec_module = "dicom_node.contracts.spec"

    def make_inputs(self):
        return {"ct": volume()}

    def clean_slices(self):
        return {"ct": (0, 2)}

    def make_clean_inputs(self):
        return {"ct": volume(metal=False)}

    def make_refused_inputs(self):
        return {"only air": {"ct": volume().with_pixels(np.full((3, 8, 8), -1000.0))}}


@pytest.fixture(autouse=True)
def factory(monkeypatch):
    BROKEN.name, BROKEN.calls = "", 0
    monkeypatch.setitem(sys.modules, "plug_trivial", SimpleNamespace(build=Trivial))


class TestTrivial(Suite):
    """The sound corrector, through pytest's own collection."""


CHECKS = sorted(name for name in dir(Suite) if name.startswith("test_") and name != "test_spec_needs_nothing_heavy")


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        ("no outcome", "test_builds_and_changes"),
        ("grid", "test_grid_is_kept"),
        ("result units", "test_grid_is_kept"),
        ("input", "test_inputs_are_not_altered"),
        ("memory", "test_inputs_are_not_altered"),
        ("random", "test_same_result_twice"),
        ("clean slice", "test_clean_slices_are_identical"),
        ("padding", "test_padding_is_kept"),
        ("nan", "test_values_are_plausible"),
        ("limit", "test_values_are_plausible"),
        ("change", "test_values_are_plausible"),
        ("mean", "test_values_are_plausible"),
        ("fraction", "test_values_are_plausible"),
        ("mask", "test_figures_fit_the_grid"),
        ("map", "test_figures_fit_the_grid"),
        ("quality", "test_figures_fit_the_grid"),
        ("metrics", "test_figures_fit_the_grid"),
        ("clean", "test_nothing_to_correct_is_said"),
        ("missing role", "test_missing_role_is_refused"),
        ("units", "test_wrong_units_are_refused"),
        ("refusal", "test_untouchable_input_is_refused"),
    ],
)
def test_each_rule_that_is_broken_is_noticed(rule, check):
    class Fresh(Suite):
        """Its own memory of runs."""

    BROKEN.name = rule
    with pytest.raises(AssertionError):
        getattr(Fresh(), check)("classical")


def test_each_check_has_been_seen_to_fail():
    marks = next(m for m in test_each_rule_that_is_broken_is_noticed.pytestmark if m.name == "parametrize")
    assert sorted({check for _, check in marks.args[1]}) == CHECKS


def test_a_heavy_or_unloadable_spec_module_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "plug_heavy_spec.py").write_text("import sqlalchemy\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    class Heavy(Suite):
        spec_module = "plug_heavy_spec"

    class Gone(Suite):
        spec_module = "plug_that_is_not_there"

    with pytest.raises(AssertionError, match="sqlalchemy"):
        Heavy().test_spec_needs_nothing_heavy()
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        Gone().test_spec_needs_nothing_heavy()


def test_another_api_version_is_noticed():
    class Old(Suite):
        spec = replace(SPEC, api=0)

    with pytest.raises(AssertionError):
        Old().test_spec_needs_nothing_heavy()
