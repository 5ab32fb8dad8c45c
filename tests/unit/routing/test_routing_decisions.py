"""Which series become input sets, and what is said about the others."""

import pytest

from dicom_node.config.rules import Rule
from dicom_node.contracts import Accepts, Units
from dicom_node.routing import route, route_for
from dicom_node.testing.header_views import HIP_CT, series_view
from dicom_node.testing.specs import routing_spec

CT = Accepts("CT", Units.HU, needs=("ImageType",))
MR = Accepts("MR", Units.MR_SIGNAL)
SPECS = {
    "hip": routing_spec("hip", ct=CT),
    "pair": routing_spec("pair", ct=CT, mr=MR),
    "polar": routing_spec("polar", plus=MR, minus=MR),
}
HIP = Rule(name="hips", corrector="hip", when={"Modality": "CT"})
PAIR = Rule(name="pairs", corrector="pair", scope="patient", roles={"ct": {}, "mr": {}})
POLAR = Rule.model_validate(
    {
        "name": "polarities",
        "corrector": "polar",
        "capture": [
            {
                "tag": ["ProtocolName", "SeriesDescription"],
                "pattern": "_(?P<polarity>[A-Za-z]+)",
                "map": {"polarity": {"plus": ["pos", "plus"], "minus": ["neg", "minus"]}},
            },
            {"tag": "SeriesDescription", "pattern": "b(?P<bin>[0-9]+)"},
            {"tag": ["EchoNumbers", "TemporalPositionIdentifier"], "name": "bin", "min_distinct": 2},
        ],
        "roles": {"plus": {"captured": {"polarity": "plus"}}, "minus": {"captured": {"polarity": "minus"}}},
        "evidence": {"same_captures": ["bin"], "same_positions": True, "equal_counts": True},
    }
)
MR_TAGS = {"Modality": "MR", "ImageType": ("ORIGINAL", "PRIMARY")}


def bins(name, description, *, numbers=(1, 2, 3), slices=2, key="EchoNumbers", **tags):
    frames = [{"ImagePositionPatient": (0.0, 0.0, 4.0 * z), key: b} for z in range(slices) for b in numbers]
    return series_view(name, {**MR_TAGS, "SeriesDescription": description, **tags}, frames)


def reasons(result):
    return " | ".join(r for e in result.explanations for r in e.reasons)


def test_each_series_of_a_single_role_is_its_own_set():
    soft, sharp = series_view("soft", HIP_CT), series_view("sharp", HIP_CT)
    result = route([soft, sharp], [HIP], SPECS, ("pacs",))
    assert len(result.input_sets) == 2
    assert {s.send_to for s in result.input_sets} == {("pacs",)}
    assert all(e.taken and e.role == "ct" and e.rule == "hips" for e in result.explanations)


def test_rule_peers_method_and_parameters_reach_the_set():
    rule = HIP.model_copy(update={"send_to": (), "method": "classical", "parameters": {"n": 3}})
    (made,) = route([series_view("a", HIP_CT)], [rule], SPECS, ("pacs",)).input_sets
    assert (made.send_to, made.method, made.parameters, made.corrector) == ((), "classical", {"n": 3}, "hip")


def test_smaller_priority_chooses_first_and_file_order_breaks_ties():
    rules = [HIP.model_copy(update={"name": n, "priority": p}) for n, p in (("a", 100), ("b", 5), ("c", 5))]
    (explanation,) = route([series_view("s", HIP_CT)], rules, SPECS).explanations
    assert explanation.rule == "b"


def test_a_rule_that_is_not_exclusive_leaves_the_series_to_others():
    shared = HIP.model_copy(update={"name": "first", "exclusive": False})
    result = route([series_view("s", HIP_CT)], [shared, HIP], SPECS)
    assert [s.route for s in result.input_sets] == ["first", "hips"]
    assert [e.rule for e in result.explanations] == ["first", "hips"]


def test_own_output_is_never_an_input():
    result = route([series_view("s", HIP_CT, own_output=True)], [HIP], SPECS)
    assert result.input_sets == ()
    assert reasons(result) == "made by this node: never an input"
    assert route_for([series_view("s", HIP_CT, own_output=True)], SPECS["hip"], [HIP]).input_sets == ()


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (HIP.model_copy(update={"enabled": False}), "hips: switched off (enabled: false)"),
        (HIP.model_copy(update={"corrector": "gone"}), "corrector gone is not installed: no correction"),
        (HIP.model_copy(update={"method": "magic"}), "hip has no method 'magic'"),
        (HIP.model_copy(update={"corrector": "pair"}), "the rule names the roles [], pair has ['ct', 'mr']"),
        (Rule(name="r", corrector="hip", when={"KVP": 120}), "r: KVP is missing"),
        (Rule(name="r", corrector="hip", keep={"KVP": 120}), "no instance is of the kind that the rule keeps"),
        (Rule(name="r", corrector="hip", capture=[{"tag": "KVP", "name": "kv"}]), "cannot tell kv from the headers"),
        (Rule(name="r", corrector="hip", cues={"KVP": 120}), "r: KVP is missing"),
    ],
)
def test_why_not(rule, wanted):
    result = route([series_view("s", HIP_CT)], [rule], SPECS)
    assert result.input_sets == ()
    assert wanted in reasons(result)


def test_no_rule_at_all_is_said():
    assert reasons(route([series_view("s", HIP_CT)], [], SPECS)) == "there is no rule"


def test_modality_and_needed_tags_of_the_spec_count():
    result = route([series_view("s", {**HIP_CT, "Modality": "MR"})], [Rule(name="r", corrector="hip")], SPECS)
    assert "Modality is not CT" in reasons(result)
    bare = {k: v for k, v in HIP_CT.items() if k != "ImageType"}
    assert "missing what hip needs: ImageType" in reasons(route([series_view("s", bare)], [HIP], SPECS))


def test_localizers_are_dropped_instance_by_instance():
    frames = [
        {"ImagePositionPatient": (0.0, 0.0, float(z)), "ImageType": ("ORIGINAL", "PRIMARY", kind)}
        for z, kind in enumerate(["LOCALIZER", "AXIAL", "AXIAL"])
    ]
    rule = HIP.model_copy(update={"keep": Rule(name="x", corrector="x", keep={"not": {"ImageType": "LOCALIZER"}}).keep})
    (made,) = route([series_view("s", HIP_CT, frames)], [rule], SPECS).input_sets
    assert [i.header.get("InstanceNumber") for i in made.roles["ct"]] and len(made.roles["ct"]) == 2


def test_ct_and_mr_of_one_patient_are_found_across_studies():
    ct = series_view("ct", HIP_CT, study="one")
    mr = series_view("mr", MR_TAGS, study="two")
    (made,) = route([mr, ct], [PAIR, HIP], SPECS).input_sets
    assert set(made.roles) == {"ct", "mr"}
    within = PAIR.model_copy(update={"scope": "study"})
    assert "incomplete: no mr in this study" in reasons(route([mr, ct], [within], SPECS))


def test_patients_are_never_mixed():
    ct = series_view("ct", HIP_CT, patient="a")
    mr = series_view("mr", MR_TAGS, patient="b")
    result = route([ct, mr], [PAIR], SPECS)
    assert result.input_sets == ()
    assert "incomplete: no mr in this patient" in reasons(result) and "no ct in this patient" in reasons(result)


def test_an_incomplete_set_leaves_its_series_to_later_rules():
    result = route([series_view("ct", HIP_CT)], [PAIR, HIP], SPECS)
    assert [s.route for s in result.input_sets] == ["hips"]


def test_two_series_for_one_role_are_ambiguous():
    series = [series_view("soft", HIP_CT), series_view("sharp", HIP_CT), series_view("mr", MR_TAGS)]
    result = route(series, [PAIR], SPECS)
    assert result.input_sets == ()
    assert "ambiguous: several series could be ct" in reasons(result)


def test_polarities_in_two_series():
    (made,) = route([bins("p", "hip_pos"), bins("m", "hip_neg")], [POLAR], SPECS).input_sets
    assert {role: len(i) for role, i in made.roles.items()} == {"plus": 6, "minus": 6}
    assert {(i.captures["polarity"], i.captures["bin"]) for i in made.roles["plus"]} == {
        ("plus", "1"),
        ("plus", "2"),
        ("plus", "3"),
    }


def test_polarities_in_one_series():
    frames = [
        {"ImagePositionPatient": (0.0, 0.0, 0.0), "EchoNumbers": b, "ProtocolName": f"hip_{p}"}
        for p in ("PLUS", "MINUS")
        for b in (1, 2)
    ]
    result = route([series_view("both", MR_TAGS, frames)], [POLAR], SPECS)
    assert {role: len(i) for role, i in result.input_sets[0].roles.items()} == {"plus": 2, "minus": 2}
    assert result.explanations[0].role == "minus, plus"


def test_one_series_for_each_bin():
    series = [bins(f"{p}{b}", f"hip_{p} b{b}", numbers=(1,)) for p in ("pos", "neg") for b in (7, 8)]
    (made,) = route(series, [POLAR], SPECS).input_sets
    assert sorted(i.captures["bin"] for i in made.roles["minus"]) == ["7", "7", "8", "8"]


def test_the_first_tag_that_tells_bins_apart_is_used():
    frames = {"key": "TemporalPositionIdentifier", "EchoNumbers": 1}
    (made,) = route([bins("p", "x_pos", **frames), bins("m", "x_neg", **frames)], [POLAR], SPECS).input_sets
    assert {i.captures["bin"] for i in made.roles["plus"]} == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("minus", "wanted"),
    [
        (
            bins("m", "x_neg", numbers=(1, 2)),
            "incomplete: the roles have different sets of bin (minus has 2, plus has 3)",
        ),
        (bins("m", "x_neg", slices=1), "incomplete: the roles cover different slice positions"),
        (bins("m", "x_pos"), "incomplete: no minus in this study"),
        (bins("m", "x_sideways"), "cannot tell polarity from the headers"),
    ],
)
def test_half_a_dual_polarity_acquisition_waits(minus, wanted):
    result = route([bins("p", "x_pos"), minus], [POLAR], SPECS)
    assert result.input_sets == ()
    assert wanted in reasons(result)


def test_unequal_counts_at_positions_are_incomplete():
    whole = bins("m", "x_neg")
    cut = type(whole)(whole.study_instance_uid, whole.series_instance_uid, whole.patient_key, whole.instances[:-1])
    assert "minus has between 2 and 3 instances at a slice position" in reasons(
        route([bins("p", "x_pos"), cut], [POLAR], SPECS)
    )


@pytest.mark.parametrize(
    ("expected", "tags", "wanted"),
    [
        (
            {"tag": "ImagesInAcquisition"},
            {"ImagesInAcquisition": 5},
            "ImagesInAcquisition promises 5 instances, 4 are there",
        ),
        (
            {"tag": "CardiacNumberOfImages", "of": "position"},
            {"CardiacNumberOfImages": 2},
            "promises 2 instances at each",
        ),
        (
            {"tag": "NumberOfTemporalPositions", "of": "InstanceNumber"},
            {"NumberOfTemporalPositions": 9},
            "promises 9 values of InstanceNumber, 4 are there",
        ),
    ],
)
def test_what_the_headers_promise_must_be_there(expected, tags, wanted):
    rule = Rule.model_validate({"name": "r", "corrector": "hip", "evidence": {"expected": [expected]}})
    late = route([series_view("s", {**HIP_CT, **tags})], [rule], SPECS)
    assert late.input_sets == () and wanted in reasons(late) and "incomplete" in reasons(late)
    assert len(route([series_view("s", {**HIP_CT, expected["tag"]: 0})], [rule], SPECS).input_sets) == 1
    lenient = Rule.model_validate(
        {"name": "r", "corrector": "hip", "evidence": {"expected": [{**expected, "demand": False}]}}
    )
    told = route([series_view("s", {**HIP_CT, **tags})], [lenient], SPECS)
    assert len(told.input_sets) == 1 and f"note: {expected['tag']} promises" in reasons(told)


def test_fewest_instances():
    rule = Rule(name="r", corrector="hip", evidence={"min_instances": 5})
    assert "ct has 4 instances, the rule wants at least 5" in reasons(route([series_view("s", HIP_CT)], [rule], SPECS))


class TestNamedCorrector:
    """`dicom-node correct --corrector NAME`."""

    def test_cues_are_not_asked_but_hard_conditions_are(self):
        rule = Rule(name="r", corrector="hip", enabled=False, when={"Rows": 512}, cues={"KVP": 120})
        assert len(route_for([series_view("s", HIP_CT)], SPECS["hip"], [rule]).input_sets) == 1
        small = route_for([series_view("s", {**HIP_CT, "Rows": 64})], SPECS["hip"], [rule])
        assert small.input_sets == () and "Rows is not 512" in reasons(small)

    def test_roles_and_captures_are_those_of_the_rule(self):
        (made,) = route_for([bins("p", "x_pos"), bins("m", "x_neg")], SPECS["polar"], [HIP, POLAR]).input_sets
        assert set(made.roles) == {"plus", "minus"}

    def test_without_a_rule_the_modality_decides(self):
        (made,) = route_for([series_view("a", HIP_CT), series_view("b", MR_TAGS)], SPECS["pair"], []).input_sets
        assert {role: len(i) for role, i in made.roles.items()} == {"ct": 4, "mr": 4}

    def test_method_and_parameters_come_on_top(self):
        rule = HIP.model_copy(update={"parameters": {"a": 1, "b": 2}})
        (made,) = route_for(
            [series_view("s", HIP_CT)], SPECS["hip"], [rule], method="classical", parameters={"b": 3}
        ).input_sets
        assert (made.method, made.parameters) == ("classical", {"a": 1, "b": 3})
