"""Laws of deterministic UIDs."""

from __future__ import annotations

import re
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.dicom.uids import UidFactory, uid_from

VALID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
texts = st.text(max_size=20)
parameters = st.dictionaries(
    texts, st.one_of(st.integers(), st.booleans(), texts, st.floats(allow_nan=False, allow_infinity=False)), max_size=4
)
facts = st.fixed_dictionaries(
    {
        "input_digest": texts,
        "corrector": texts,
        "version": texts,
        "method": texts,
        "weights_sha256": texts,
        "parameters": parameters,
    }
)


@given(facts, texts, st.integers(0, 10**6))
def test_every_uid_is_valid(given_facts, name, index):
    factory = UidFactory(**given_facts)
    for uid in (factory.series(name), factory.instance(name, index), factory.device(), factory.other("x", name)):
        assert VALID.fullmatch(uid)
        assert len(uid) <= 64


def told_apart(facts_given):
    """What must be told apart: 1, 1.0 and True are equal to Python, but other parameters."""
    typed = {name: (type(value).__name__, repr(value)) for name, value in facts_given["parameters"].items()}
    return {**facts_given, "parameters": typed}


@given(facts, facts, texts, texts, st.integers(0, 3), st.integers(0, 3))
def test_uids_are_equal_exactly_when_all_arguments_are(one, other, name_1, name_2, index_1, index_2):
    equal = (told_apart(one), name_1, index_1) == (told_apart(other), name_2, index_2)
    assert (UidFactory(**one).instance(name_1, index_1) == UidFactory(**other).instance(name_2, index_2)) == equal


@given(facts, st.sampled_from(["input_digest", "corrector", "version", "method", "weights_sha256"]), texts)
def test_one_changed_argument_changes_the_uid(given_facts, changed, value):
    other = {**given_facts, changed: value}
    equal = UidFactory(**given_facts).series("ct") == UidFactory(**other).series("ct")
    assert equal == (given_facts[changed] == value)


@given(facts, texts)
def test_series_instance_and_device_uids_never_meet(given_facts, name):
    factory = UidFactory(**given_facts)
    uids = [factory.series(name), factory.instance(name, 0), factory.instance(name, 1), factory.device()]
    assert len(set(uids)) == 4


def test_a_parameter_of_another_type_is_another_parameter():
    make = {
        v: UidFactory(input_digest="", corrector="c", version="1", method="m", weights_sha256="", parameters={"p": v})
        for v in (2, "2")
    }
    assert make[2].series("ct") != make["2"].series("ct")


@given(facts, st.randoms())
def test_the_order_of_parameters_does_not_matter(given_facts, random):
    names = list(given_facts["parameters"])
    random.shuffle(names)
    shuffled = {**given_facts, "parameters": {name: given_facts["parameters"][name] for name in names}}
    assert UidFactory(**given_facts).series("ct") == UidFactory(**shuffled).series("ct")


@settings(max_examples=25)
@given(facts, st.sampled_from(["corrector", "version", "method", "weights_sha256"]), texts)
def test_the_device_uid_follows_the_algorithm_and_not_the_input(given_facts, changed, value):
    factory = UidFactory(**given_facts)
    assert UidFactory(**{**given_facts, "input_digest": "other"}).device() == factory.device()
    if value != given_facts[changed]:
        assert UidFactory(**{**given_facts, changed: value}).device() != factory.device()


def test_uids_are_the_same_in_another_process():
    code = "from dicom_node.dicom.uids import uid_from; print(uid_from('a', 1, {'b': 2, 'a': 1}))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert printed.stdout.strip() == uid_from("a", 1, {"a": 1, "b": 2})
