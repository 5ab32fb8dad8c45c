"""The routes that ship: what they take, what they leave, and that two cues must agree."""

import pytest
from pydantic import BaseModel

from dicom_node.config.conditions import AtLeast
from dicom_node.config.rules import Rule
from dicom_node.contracts import Accepts, Units
from dicom_node.errors import ConfigError
from dicom_node.routing import check_keywords, default_rules, route, route_for
from dicom_node.testing.header_views import CORONAL, HIP_CT, series_view
from dicom_node.testing.specs import routing_spec

RULES = default_rules()

CT, MR = Accepts("CT", Units.HU), Accepts("MR", Units.MR_SIGNAL)
SPECS = {
    "hipct": routing_spec("hipct", ct=CT),
    "mavric": routing_spec("mavric", plus=MR, minus=MR),
    "madn": routing_spec("madn", ct=CT, mr=MR),
    "cine": routing_spec("cine", cine=MR),
    "multitask": routing_spec("multitask", image=MR),
}
WHOLE_TRUNK = {**HIP_CT, "BodyPartExamined": "ABDOMEN", "StudyDescription": "", "SeriesDescription": "3.0"}
BARE_CT = {k: v for k, v in HIP_CT.items() if k not in ("BodyPartExamined", "StudyDescription", "SeriesDescription")}
MAVRIC = {
    "Modality": "MR",
    "ImageType": ("ORIGINAL", "PRIMARY", "OTHER"),
    "ScanningSequence": "SE",
    "PixelBandwidth": 488.0,
    "0019,GEMS_ACQU_01,9e": "3DFSE",
}
CINE = {
    "Modality": "MR",
    "ImageType": ("ORIGINAL", "PRIMARY", "M"),
    "SequenceVariant": "SS",
    "CardiacNumberOfImages": 10,
    "SeriesDescription": "SSFP-CINE SAx",
}
BRAIN = {
    "Modality": "MR",
    "ImageType": ("ORIGINAL", "PRIMARY", "M"),
    "BodyPartExamined": "BRAIN",
    "StudyDescription": "MR Brain w/o contrast",
    "SeriesDescription": "SAG MPRAGE",
}
MARS = {
    "Modality": "MR",
    "ImageType": ("ORIGINAL", "PRIMARY", "M"),
    "SeriesDescription": "T1 tse cor MARS",
    "ScanningSequence": "SE",
    "RepetitionTime": 600.0,
    "EchoTime": 12.0,
}


def taken_by(*series):
    return sorted({e.rule for e in route(series, RULES, SPECS).explanations if e.taken})


def beats(phases=10, step=30.0, slices=2):
    return [
        {"ImagePositionPatient": (0.0, 0.0, 8.0 * z), "TriggerTime": step * t}
        for z in range(slices)
        for t in range(phases)
    ]


def mavric(name, description, values=(1, 2, 3), **tags):
    frames = [{"ImagePositionPatient": (0.0, 0.0, 4.0 * z), "EchoNumbers": b} for z in range(2) for b in values]
    return series_view(name, {**MAVRIC, "SeriesDescription": description, **tags}, frames)


def at_least_conditions(node):
    if isinstance(node, AtLeast):
        yield node
    if isinstance(node, BaseModel):
        children = [getattr(node, name) for name in type(node).model_fields]
    else:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, tuple) else ()
    for child in children:
        yield from at_least_conditions(child)


def test_every_corrector_has_a_default_route_and_every_keyword_exists():
    assert [r.corrector for r in RULES] == ["mavric", "cine", "madn", "hipct", "multitask"]
    check_keywords(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_default_routes_want_two_agreeing_cues(rule):
    asked = [rule.cues] if rule.name != "default-madn" else [r.cues for r in rule.roles.values()]
    for cues in asked:
        found = list(at_least_conditions(cues))
        assert found and all(c.n >= 2 and len(c.of) > c.n for c in found)
        assert all(part.cue for c in found for part in c.of), "every cue has a name for explanations"


@pytest.mark.parametrize(
    "tags",
    [
        HIP_CT,
        WHOLE_TRUNK,
        {**BARE_CT, "BodyPartExamined": "PELVIS"},
        {**BARE_CT, "BodyPartExamined": "OVARY", "StudyDescription": "CT Abdo UnEnhan"},
        {**BARE_CT, "StudyDescription": "Hüfte links nativ", "ProtocolName": "Becken_TEP"},
        {**BARE_CT, "StudyDescription": "scanner du bassin", "SeriesDescription": "hanche droite"},
        {**BARE_CT, "StudyDescription": "TC bacino", "SeriesDescription": "anca dx"},
        {**BARE_CT, "StudyDescription": "THA L", "SeriesDescription": "RT_HIP 1.0"},
        {**BARE_CT, "AnatomicRegionSequence.CodeMeaning": "Hip joint", "SeriesDescription": "CADERA"},
        {**HIP_CT, "ImageType": ("DERIVED", "PRIMARY", "AXIAL"), "LossyImageCompression": "01"},
        {**BARE_CT, "BodyPartExamined": "CHEST", "StudyDescription": "CT Chest Abdomen Pelvis"},
    ],
)
def test_hip_ct_is_taken(tags):
    assert taken_by(series_view("s", tags)) == ["default-hipct"]


@pytest.mark.parametrize(
    "tags",
    [
        BARE_CT,
        {**BARE_CT, "BodyPartExamined": "HIP", "PixelSpacing": (0.4, 0.4)},
        {**HIP_CT, "BodyPartExamined": "HEAD"},
        {**BARE_CT, "BodyPartExamined": "CHEST", "StudyDescription": "CT Thorax", "SeriesDescription": "Lung"},
        {**BARE_CT, "StudyDescription": "Chip thrombus", "SeriesDescription": "shipped"},
        {**HIP_CT, "ImageType": ("DERIVED", "SECONDARY", "MPR")},
        {**HIP_CT, "ImageType": ("DERIVED", "PRIMARY", "AXIAL")},
        {**HIP_CT, "ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
        {**HIP_CT, "SeriesDescription": "Topogram hip"},
        {k: v for k, v in HIP_CT.items() if k != "ImageType"},
        {**HIP_CT, "Modality": "PT"},
    ],
)
def test_what_is_no_certain_hip_ct_is_left(tags):
    result = route([series_view("s", tags)], RULES, SPECS)
    assert result.input_sets == ()
    assert all(e.reasons for e in result.explanations)


def test_coronal_ct_is_left():
    assert taken_by(series_view("s", HIP_CT, orientation=CORONAL)) == []


def test_hip_ct_is_also_taken_while_only_hipct_is_installed():
    result = route([series_view("s", HIP_CT)], RULES, {"hipct": SPECS["hipct"]})
    assert [s.route for s in result.input_sets] == ["default-hipct"]
    result = route([series_view("s", BARE_CT)], RULES, {"hipct": SPECS["hipct"]})
    assert "default-cine: corrector cine is not installed: no correction" in result.explanations[0].reasons


def test_a_named_corrector_takes_ct_without_any_region():
    assert len(route_for([series_view("s", BARE_CT)], SPECS["hipct"], RULES).input_sets) == 1
    assert len(route_for([series_view("s", BARE_CT)], SPECS["hipct"], []).input_sets) == 1, "also with defaults: off"
    scout = series_view("s", {**BARE_CT, "ImageType": ("ORIGINAL", "PRIMARY", "LOCALIZER")})
    assert route_for([scout], SPECS["hipct"], RULES).input_sets == ()


def test_mavric_with_both_polarities_is_taken():
    result = route([mavric("p", "MAVRIC SL ro+ hip"), mavric("m", "MAVRIC SL ro- hip")], RULES, SPECS)
    (made,) = result.input_sets
    assert made.corrector == "mavric" and {r: len(i) for r, i in made.roles.items()} == {"minus": 6, "plus": 6}


@pytest.mark.parametrize(
    ("plus", "minus"),
    [("Metal polarity plus", "Metal polarity minus"), ("SEMAC6_posPol", "SEMAC6_negPol"), ("WARP fwd", "WARP rev")],
)
def test_spellings_of_polarity(plus, minus):
    assert taken_by(mavric("p", plus), mavric("m", minus)) == ["default-mavric"]


def test_mavric_of_one_polarity_is_left_altogether():
    result = route([mavric("p", "MAVRIC SL polarity plus")], RULES, SPECS)
    assert result.input_sets == ()
    assert "default-mavric: incomplete: no minus in this study" in result.explanations[0].reasons


def test_combined_mavric_is_left():
    assert taken_by(series_view("s", {**MAVRIC, "SeriesDescription": "MAVRIC SL PD cor"})) == []


def test_cine_is_taken_and_incomplete_phases_wait():
    assert taken_by(series_view("s", CINE, beats())) == ["default-cine"]
    short = route([series_view("s", CINE, beats(phases=9))], RULES, SPECS)
    assert short.input_sets == ()
    assert any("CardiacNumberOfImages promises 10" in r for r in short.explanations[0].reasons)


@pytest.mark.parametrize(
    ("tags", "frames"),
    [
        ({**CINE, "ImageType": ("ORIGINAL", "PRIMARY", "P")}, beats()),
        ({**CINE, "SeriesDescription": "MOLLI T1 map"}, beats()),
        (CINE, beats(phases=1)),
        ({"Modality": "MR", "ImageType": ("ORIGINAL", "PRIMARY", "M"), "SeriesDescription": "DCE"}, beats(step=4000.0)),
    ],
)
def test_trigger_time_alone_makes_no_cine(tags, frames):
    assert "default-cine" not in taken_by(series_view("s", tags, frames))


def test_ct_and_mars_mr_of_one_patient_are_taken_together():
    ct, mr = series_view("ct", HIP_CT, study="a"), series_view("mr", MARS, study="b", orientation=CORONAL)
    assert taken_by(ct, mr) == ["default-madn"]
    assert taken_by(ct) == ["default-hipct"]
    assert taken_by(mr) == []


def test_brain_and_pelvis_mr_are_taken():
    assert taken_by(series_view("s", BRAIN)) == ["default-multitask"]
    pelvis = {**BRAIN, "BodyPartExamined": "PELVIS", "StudyDescription": "MR Pelvis", "SeriesDescription": "t2 tra"}
    assert taken_by(series_view("s", pelvis)) == ["default-multitask"]


@pytest.mark.parametrize(
    "change",
    [
        {"BodyPartExamined": "KNEE", "StudyDescription": "MR Knee", "SeriesDescription": "t1"},
        {"SeriesDescription": "ep2d_diff ADC"},
        {"SeriesDescription": "t1 SEMAC brain"},
        {"ImageType": ("DERIVED", "SECONDARY", "MPR")},
        {"StudyDescription": "", "SeriesDescription": "x"},
    ],
)
def test_other_mr_is_left(change):
    assert taken_by(series_view("s", {**BRAIN, **change})) == []


def test_misspelt_keywords_are_told_with_the_nearest():
    rule = Rule.model_validate(
        {
            "name": "r",
            "corrector": "c",
            "when": {"any": [{"SeriesDescripton": "x"}, {"distinct": "TriggerTim", "min": 1}]},
        }
    )
    with pytest.raises(ConfigError) as caught:
        check_keywords([rule])
    assert "'SeriesDescripton' is no DICOM keyword; did you mean SeriesDescription?" in str(caught.value)
    assert "'TriggerTim'" in str(caught.value)
