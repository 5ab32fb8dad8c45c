"""Laws of blame: what a peer in trouble does is never an instance's fault, and a poisonous instance is found out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.net.witness import Witness

instances = st.sampled_from("abcdef")
events = st.lists(st.tuples(instances, st.sampled_from(["took", "first", "later"])), max_size=40)


def play(witness, history):
    """Each event's verdict, False for what went through."""
    verdicts = []
    for uid, what in history:
        if what == "took":
            witness.took(uid)
            verdicts.append(False)
        else:
            verdicts.append(witness.broke_off(uid, first=what == "first"))
    return verdicts


@given(events)
def test_blame_needs_an_earlier_break_others_since_and_the_first_place(history):
    for number, verdict in enumerate(play(Witness(), history)):
        uid, what = history[number]
        earlier = [n for n in range(number) if history[n][0] == uid]
        since = history[earlier[-1] + 1 : number] if earlier else []
        broke_before = bool(earlier) and history[earlier[-1]][1] != "took"
        expected = what == "first" and broke_before and any(kind == "took" for _, kind in since)
        assert verdict == expected


@given(st.lists(st.tuples(instances, st.sampled_from(["first", "later"])), max_size=40))
def test_peer_that_takes_nothing_never_costs_an_instance_anything(history):
    assert not any(play(Witness(), history))


@given(st.integers(1, 5))
def test_poison_between_good_instances_is_blamed_each_time_but_the_first(times):
    history = [("poison", "first"), ("good", "took")] * (times + 1)
    assert play(Witness(), history).count(True) == times


def test_memory_is_bounded_and_keeps_the_newest():
    witness = Witness()
    for number in range(5000):
        witness.broke_off(str(number), first=True)
    witness.took("good")
    assert witness.took_others_since("4999")
    assert not witness.took_others_since("0")
