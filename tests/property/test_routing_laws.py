"""Routing does not depend on the order of arrival, and conditions obey Boolean algebra."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.config.conditions import TagTest, Where
from dicom_node.config.rules import Rule
from dicom_node.contracts import Accepts, SeriesView, Units
from dicom_node.routing import route
from dicom_node.routing.conditions import evaluate
from dicom_node.testing.header_views import series_view
from dicom_node.testing.specs import routing_spec

WORDS = st.sampled_from(["CT", "MR", "HIP", "KNEE", ""])
TAGS = st.fixed_dictionaries(
    {},
    optional={
        "Modality": WORDS,
        "BodyPartExamined": WORDS,
        "Rows": st.integers(1, 4),
        "ImageType": st.tuples(WORDS, WORDS),
    },
)
SERIES = st.lists(TAGS, min_size=1, max_size=4).map(lambda frames: series_view("s", {}, frames).instances)
OPERATORS = st.one_of(
    WORDS.filter(bool).map(lambda w: {"equals": w}),
    st.sampled_from(
        [{"present": True}, {"absent": True}, {"min": 2}, {"max": 2, "instances": "all"}, {"matches": "^.$"}]
    ),
    st.just({"in": ["CT", "HIP"], "values": "all"}),
)
LEAVES = st.builds(
    lambda tag, operators: TagTest.model_validate({"tag": tag, **operators}),
    st.sampled_from(["Modality", "BodyPartExamined", "Rows", "ImageType", "KVP"]),
    OPERATORS,
)


def make(**parts):
    return Where.model_validate({key.rstrip("_"): value for key, value in parts.items()})


CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda c: make(not_=c)),
        st.lists(inner, min_size=1, max_size=3).map(lambda cs: make(all=cs)),
        st.lists(inner, min_size=1, max_size=3).map(lambda cs: make(any=cs)),
        st.lists(inner, min_size=2, max_size=3).map(lambda cs: make(at_least={"n": 2, "of": cs})),
    ),
    max_leaves=6,
)


def holds(condition, instances):
    return evaluate(condition, instances).holds


@given(CONDITIONS, SERIES)
def test_double_negation(condition, instances):
    assert holds(make(not_=make(not_=condition)), instances) == holds(condition, instances)


@given(CONDITIONS, CONDITIONS, SERIES)
def test_de_morgan(a, b, instances):
    not_a, not_b = make(not_=a), make(not_=b)
    assert holds(make(not_=make(all=[a, b])), instances) == holds(make(any=[not_a, not_b]), instances)
    assert holds(make(not_=make(any=[a, b])), instances) == holds(make(all=[not_a, not_b]), instances)


@given(CONDITIONS, CONDITIONS, SERIES)
def test_at_least_spans_any_and_all(a, b, instances):
    assert holds(make(at_least={"n": 1, "of": [a, b]}), instances) == holds(make(any=[a, b]), instances)
    assert holds(make(at_least={"n": 2, "of": [a, b]}), instances) == holds(make(all=[a, b]), instances)


@given(CONDITIONS, SERIES)
def test_excluded_middle_and_contradiction(condition, instances):
    denial = make(not_=condition)
    assert holds(make(any=[condition, denial]), instances)
    assert not holds(make(all=[condition, denial]), instances)


@given(CONDITIONS, SERIES, st.randoms(use_true_random=False))
def test_conditions_ignore_the_order_of_instances(condition, instances, chance):
    shuffled = list(instances)
    chance.shuffle(shuffled)
    assert holds(condition, shuffled) == holds(condition, instances)


CT, MR = Accepts("CT", Units.HU), Accepts("MR", Units.MR_SIGNAL)
SPECS = {"hip": routing_spec("hip", ct=CT), "pair": routing_spec("pair", ct=CT, mr=MR)}
RULES = [
    Rule(name="pair", corrector="pair", scope="patient", roles={"ct": {}, "mr": {}}, when={"Rows": {"min": 2}}),
    Rule(name="hip", corrector="hip", keep={"Rows": {"min": 2}}),
]


@st.composite
def archives(draw):
    """A few series of a few patients."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        frames = draw(st.lists(st.fixed_dictionaries({"Rows": st.integers(1, 3)}), min_size=1, max_size=3))
        tags = {"Modality": draw(st.sampled_from(["CT", "MR"]))}
        patient = draw(st.sampled_from("ab"))
        study = patient + draw(st.sampled_from("12"))
        found.append(series_view(f"s{number}", tags, frames, patient=patient, study=study))
    return found


@settings(max_examples=60)
@given(archives(), st.integers(0, 10**6))
def test_routing_ignores_the_order_of_series_and_instances(series, seed):
    chance = random.Random(seed)
    shuffled = []
    for one in chance.sample(series, len(series)):
        instances = tuple(chance.sample(one.instances, len(one.instances)))
        shuffled.append(SeriesView(one.study_instance_uid, one.series_instance_uid, one.patient_key, instances))
    assert route(shuffled, RULES, SPECS, ("pacs",)) == route(series, RULES, SPECS, ("pacs",))


@settings(max_examples=60)
@given(archives())
def test_every_series_is_explained_and_taken_at_most_once(series):
    result = route(series, RULES, SPECS)
    uids = [s.series_instance_uid for s in series]
    assert sorted(e.series_instance_uid for e in result.explanations) == sorted(uids)
    assert all(e.reasons or e.taken for e in result.explanations)
    used = [
        uid for s in result.input_sets for uid in {i.header.series_instance_uid for r in s.roles.values() for i in r}
    ]
    assert len(used) == len(set(used))
    assert {e.series_instance_uid for e in result.explanations if e.taken} == set(used)
