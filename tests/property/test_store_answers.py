"""What a peer answers to C-STORE: right ones are read however they are cut, and no bytes do more than break off."""

from __future__ import annotations

import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import NodeError
from dicom_node.net.command_set import Command, CommandField, response
from dicom_node.net.connection import PeerLeft
from dicom_node.net.store_line import BrokeOff, StoreLine

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = (CT, "1.2.3.4")


class Wire:
    """A connection that takes everything and has said what it will say."""

    def __init__(self, said):
        self.said = said
        self.taken = b""

    def write(self, data):
        self.taken += bytes(data)

    def exactly(self, count, deadline):
        if count > len(self.said):
            raise PeerLeft("the peer closed the connection")
        found, self.said = bytearray(self.said[:count]), self.said[count:]
        return found


def line(said, limit=16384):
    wire = Wire(said)
    return StoreLine(
        SimpleNamespace(dul=SimpleNamespace(socket=wire), acceptor=SimpleNamespace(maximum_length=limit)), 1
    ), wire


def answer(status, message_id=1, cuts=(), values_each=1):
    """C-STORE-RSP, its command cut at places, so many presentation data values in each P-DATA-TF."""
    command = response(Command(CommandField.C_STORE_RQ, message_id, True, *INSTANCE), status)
    places = sorted({min(cut, len(command)) for cut in cuts} | {0, len(command)})
    values = [
        struct.pack(">IBB", end - begin + 2, 1, 3 if end == len(command) else 1) + command[begin:end]
        for begin, end in pairwise(places)
    ]
    joined = [b"".join(values[at : at + values_each]) for at in range(0, len(values), values_each)]
    return b"".join(struct.pack(">BBI", 4, 0, len(body)) + body for body in joined)


@given(st.integers(0, 0xFFFF), st.lists(st.integers(1, 150), max_size=5), st.integers(1, 3))
def test_an_answer_is_read_however_it_is_cut(status, cuts, values_each):
    assert line(answer(status, cuts=cuts, values_each=values_each))[0].store(1, INSTANCE, b"data") == status


@given(st.binary(max_size=400))
def test_any_other_bytes_only_break_off(said):
    with pytest.raises(BrokeOff):
        line(said)[0].store(1, INSTANCE, b"data")


@given(st.data())
def test_a_damaged_answer_is_a_status_or_breaks_off(data):
    said = bytearray(answer(0))
    for _ in range(data.draw(st.integers(1, 4))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert 0 <= line(bytes(said))[0].store(1, INSTANCE, b"data") <= 0xFFFF
    except NodeError as problem:
        assert isinstance(problem, BrokeOff)


@given(st.integers(0, 0xFFFF).filter(lambda number: number != 1))
def test_the_answer_to_another_message_is_none(message_id):
    with pytest.raises(BrokeOff, match="another message"):
        line(answer(0, message_id=message_id))[0].store(1, INSTANCE, b"data")


@given(st.binary(min_size=0, max_size=3000), st.sampled_from([64, 65, 100, 1000, 0]))
def test_what_is_sent_is_the_data_set_in_pdus_within_the_peers_limit(data, limit):
    one, wire = line(answer(0), limit)
    one.store(7, INSTANCE, data)
    at, sent, last = 0, b"", []
    while at < len(wire.taken):
        kind, length, value, context, control = struct.unpack_from(">BxIIBB", wire.taken, at)
        assert (kind, context, value) == (4, 7, length - 4)
        assert not limit or length <= limit
        sent += wire.taken[at + 12 : at + 6 + length] if not control & 1 else b""
        last.append(control)
        at += 6 + length
    assert sent == data
    assert last[-1] == 2 and last.count(2) == last.count(3) == 1
