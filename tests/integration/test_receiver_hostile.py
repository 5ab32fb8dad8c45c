"""Peers that break, bend or stretch the protocol get the right answer or an A-ABORT, and leave nothing behind."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import wire
from footprint import Footprint, footprints, wait_for_rest
from nodes import ReceiverNode, node_config, receivers
from peers import wait_until
from wire import (
    ABORT,
    ABORT_PDU,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_CANCEL,
    C_ECHO,
    C_FIND,
    C_STORE,
    COMMAND,
    CT,
    EXPLICIT_LITTLE,
    LAST,
    MIXED,
    NO_DATA_SET,
    RELEASE,
    RELEASE_RQ,
    RELEASED,
    STORAGE,
    VERIFICATION,
    Line,
    command,
    element,
    item,
    p_data,
    pdu,
    pdv,
    uid_element,
)

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MPEG2 = "1.2.840.10008.1.2.4.100"
CONTEXTS = {**MIXED, 7: (CT, (MPEG2,))}
UNKNOWN_PDU, UNEXPECTED_PDU, INVALID_VALUE = 1, 2, 6
BODY = bytes(range(256)) * 40
NOT_SUPPORTED, UNRECOGNISED, INVALID = 0x0122, 0x0211, 0x0117


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverNode]:
    with receivers(node_config(tmp_path_factory.mktemp("hostile"))) as one:
        with Line(one.port) as line:
            line.associate(CONTEXTS)
            line.release()
        yield one


@pytest.fixture
def rest(node: ReceiverNode) -> Iterator[list[Footprint]]:
    """After each test the receiver is as it was, whatever was done to it, and serves."""
    before = footprints(node)
    yield before
    wait_for_rest(node, before)
    wait_until(lambda: node.orphans() == set() and not node.open_associations(), 10, "nothing left behind")
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(wire.echo())
        assert line.answer().status == 0
        line.release()


def message(field: int, *, context: int = 1, data_set: int = NO_DATA_SET, sop_class: str = CT) -> bytes:
    """A request without its data set."""
    return p_data(pdv(context, COMMAND | LAST, command(field, 1, sop_class, "2.25.1", data_set=data_set)))


def encoded(*elements: bytes) -> bytes:
    """A command set of just these elements, as a whole message."""
    return p_data(pdv(1, COMMAND | LAST, b"".join(elements)))


STORE_RQ = message(C_STORE, data_set=0)
BROKEN = {
    "context never proposed": (wire.store("2.25.1", BODY, context=9), INVALID_VALUE),
    "context that was not accepted": (wire.store("2.25.1", BODY, context=7), INVALID_VALUE),
    "data set without command": (p_data(pdv(1, LAST, BODY)), UNEXPECTED_PDU),
    "command in a data set": (STORE_RQ + p_data(pdv(1, 0, BODY)) + STORE_RQ, UNEXPECTED_PDU),
    "command instead of the data set": (STORE_RQ + STORE_RQ, UNEXPECTED_PDU),
    "other context in a data set": (STORE_RQ + p_data(pdv(5, 0, BODY)), INVALID_VALUE),
    "PDV of length 0": (pdu(wire.P_DATA, bytes(4)), INVALID_VALUE),
    "PDV of length 1": (pdu(wire.P_DATA, struct.pack(">IB", 1, 1)), INVALID_VALUE),
    "PDV longer than its PDU": (pdu(wire.P_DATA, struct.pack(">IBB", 500, 1, 3) + bytes(20)), INVALID_VALUE),
    "PDV cut in its head": (p_data(pdv(1, COMMAND, b"")) + pdu(wire.P_DATA, bytes(3)), INVALID_VALUE),
    "PDU longer than was agreed": (pdu(wire.P_DATA, b"", length=2**31), INVALID_VALUE),
    "longest PDU there can be": (pdu(wire.P_DATA, b"", length=2**32 - 1), INVALID_VALUE),
    "endless command set": (p_data(*[pdv(1, COMMAND, bytes(1000))] * 20), INVALID_VALUE),
    "response instead of request": (message(C_STORE | 0x8000), UNEXPECTED_PDU),
    "command set that is none": (encoded(b"\xff" * 40), INVALID_VALUE),
    "command set cut in an element": (encoded(command(C_STORE, 1, CT, "2.25.1")[:-3]), INVALID_VALUE),
    "command set cut in a head": (encoded(element(0x100, C_STORE) + bytes(5)), INVALID_VALUE),
    "element of another group": (encoded(struct.pack("<HHI", 8, 5, 0) + element(0x100, C_STORE)), INVALID_VALUE),
    "empty command set": (encoded(), UNEXPECTED_PDU),
    "command without field": (encoded(element(0x110, 1)), UNEXPECTED_PDU),
    "command without message ID": (encoded(element(0x100, C_STORE), element(0x800, 0)), INVALID_VALUE),
    "association request again": (wire.associate_rq(CONTEXTS), UNEXPECTED_PDU),
    "association request in a data set": (STORE_RQ + wire.associate_rq(CONTEXTS), UNEXPECTED_PDU),
    "association accepted by the requestor": (pdu(ASSOCIATE_AC, bytes(80)), UNEXPECTED_PDU),
    "release confirmed that nobody asked for": (pdu(RELEASED, bytes(4)), UNEXPECTED_PDU),
    "release in a command": (p_data(pdv(1, COMMAND, bytes(8))) + RELEASE_RQ, UNEXPECTED_PDU),
    "release in a data set": (STORE_RQ + p_data(pdv(1, 0, BODY)) + RELEASE_RQ, UNEXPECTED_PDU),
    "release before the data set": (STORE_RQ + RELEASE_RQ, UNEXPECTED_PDU),
    "release of the wrong length": (pdu(RELEASE, bytes(8)), INVALID_VALUE),
    "PDU of type 0": (pdu(0, bytes(4)), UNKNOWN_PDU),
    "PDU of no type": (pdu(0x99, bytes(4)), UNKNOWN_PDU),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_ends_in_an_abort(node: ReceiverNode, rest: object, name: str) -> None:
    sent, reason = BROKEN[name]
    before = node.received()
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(sent)
        assert line.ended() == (ABORT, bytes((0, 0, 2, reason)))
    assert node.received() == before


CUT = {
    "abort in a command": p_data(pdv(1, COMMAND, bytes(8))) + ABORT_PDU,
    "abort in a data set": STORE_RQ + p_data(pdv(1, 0, BODY)) + ABORT_PDU,
    "hung up in a command": STORE_RQ[:30],
    "hung up in a data set": wire.store("2.25.1", BODY)[:5_000],
    "hung up in the head of a PDU": wire.store("2.25.1", BODY, fragment=1000)[:-1003],
    "hung up before the last fragment": STORE_RQ + p_data(pdv(1, 0, BODY)),
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_short_is_not_there(node: ReceiverNode, rest: object, name: str) -> None:
    before = node.received()
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(CUT[name])
    wait_until(lambda: node.orphans() == set(), 10, "the file is gone")
    assert node.received() == before


def test_what_was_acknowledged_before_an_abort_stays(node: ReceiverNode, rest: object) -> None:
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        assert line.store("2.25.77.1", [BODY]) == 0
        line.send(STORE_RQ + p_data(pdv(1, 0, BODY)) + ABORT_PDU)
        assert line.ended() is None
    wait_until(lambda: not node.open_associations())
    assert "2.25.77.1" in node.received() and "2.25.1" not in node.received()
    assert node.endings()[-1] == "aborted"


ANSWERED = {
    "service that is not ours": (message(C_FIND), UNRECOGNISED),
    "service that is not ours, with its data set": (
        message(C_FIND, data_set=1) + p_data(pdv(1, 0, BODY)) + p_data(pdv(1, LAST, BODY)),
        UNRECOGNISED,
    ),
    "command field of nobody": (message(0x7777), UNRECOGNISED),
    "normalised service": (message(0x0140), UNRECOGNISED),
    "C-ECHO where storage was agreed": (message(C_ECHO), NOT_SUPPORTED),
    "C-STORE where verification was agreed": (wire.store("2.25.1", BODY, context=3), NOT_SUPPORTED),
    "C-STORE that says it has no data set": (message(C_STORE), INVALID),
    "C-STORE with an empty data set": (STORE_RQ + p_data(pdv(1, LAST, b"")), INVALID),
    "SOP Instance UID with a path": (wire.store("../../../etc/passwd", BODY), INVALID),
    "SOP Instance UID of 65 bytes": (wire.store("1." + "2" * 63, BODY), INVALID),
    "SOP Instance UID of another alphabet": (wire.store("1.2.\u0663", BODY), INVALID),
    "no SOP Instance UID": (wire.store("", BODY), INVALID),
    "no SOP Class UID": (wire.store("2.25.1", BODY, sop_class=""), INVALID),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_cannot_be_done_is_answered_and_the_association_goes_on(
    node: ReceiverNode, rest: object, name: str
) -> None:
    sent, status = ANSWERED[name]
    before = node.received()
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(sent)
        answer = line.answer()
        assert (answer.message, answer.status) == (1, status)
        assert node.received() == before
        line.send(message(C_CANCEL), wire.echo(9))  # what is over cannot be cancelled, and that needs no answer
        assert line.answer() == wire.Answer(C_ECHO | 0x8000, 9, 0)
        line.release()


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _fragments(flag: int, pieces: list[bytes]) -> list[bytes]:
    return [pdv(1, flag | (LAST if n == len(pieces) - 1 else 0), piece) for n, piece in enumerate(pieces)]


SMALL = BODY[:600]
REQUEST = command(C_STORE, 1, CT, "2.25.5")
_NAMES = (uid_element(2, CT), uid_element(0x1000, "2.25.5"))
_CORE = element(0x100, C_STORE) + element(0x110, 1) + element(0x800, 0)
BYTE_BY_BYTE = [*_fragments(COMMAND, _cut(REQUEST, 1)), *_fragments(0, _cut(SMALL, 1))]
STORED = {
    "fragments of one byte in one PDU": [p_data(*BYTE_BY_BYTE)],
    "fragments of one byte, each in a PDU": [p_data(one) for one in BYTE_BY_BYTE],
    "empty fragments": [
        p_data(pdv(1, COMMAND, b""), pdv(1, COMMAND, REQUEST), pdv(1, COMMAND | LAST, b"")),
        p_data(pdv(1, 0, b""), pdv(1, 0, SMALL), pdv(1, 0, b""), pdv(1, LAST, b"")),
    ],
    "empty PDUs": [p_data(), p_data(pdv(1, 3, REQUEST)), p_data(), p_data(pdv(1, LAST, SMALL)), p_data()],
    "no group length": [encoded(_CORE, *_NAMES), p_data(pdv(1, LAST, SMALL))],
    "wrong group length": [encoded(element(0, b"\1\2\3\4"), _CORE, *_NAMES), p_data(pdv(1, LAST, SMALL))],
    "group length of three bytes": [encoded(element(0, b"\1\2\3"), _CORE, *_NAMES), p_data(pdv(1, LAST, SMALL))],
    "UIDs of odd length": [
        encoded(_CORE, element(2, CT.encode()), element(0x1000, b"2.25.5")),
        p_data(pdv(1, 2, SMALL)),
    ],
    "UIDs padded with a space": [
        encoded(_CORE, element(2, CT.encode() + b" "), element(0x1000, b"2.25.5 ")),
        p_data(pdv(1, LAST, SMALL)),
    ],
    "elements that are not ours": [
        encoded(_CORE, *_NAMES, element(0x1030, b"MOVER "), element(0x1031, 4), element(0x7777, bytes(300))),
        p_data(pdv(1, LAST, SMALL)),
    ],
    "reserved bits of the control header": [
        p_data(pdv(1, 0xF0 | COMMAND | LAST, REQUEST)),
        p_data(pdv(1, 0xF0 | LAST, SMALL)),
    ],
}


@pytest.mark.parametrize("name", STORED)
def test_what_is_unusual_but_right_is_stored(node: ReceiverNode, rest: object, name: str) -> None:
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(b"".join(STORED[name]))
        assert line.answer() == wire.Answer(C_STORE | 0x8000, 1, 0)
        line.release()
    assert _data_set(node.received()["2.25.5"]) == SMALL


def _data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[144 + struct.unpack_from("<I", data, 140)[0] :]


def test_message_ids_may_repeat_and_be_extreme(node: ReceiverNode, rest: object) -> None:
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        numbers = (7, 7, 0, 65535, 7)
        for turn, number in enumerate(numbers):
            line.send(wire.store(f"2.25.4.{turn}", BODY, message=number))
            assert line.answer() == wire.Answer(C_STORE | 0x8000, number, 0)
        line.release()
    assert {f"2.25.4.{turn}" for turn in range(len(numbers))} <= set(node.received())


def test_requests_that_do_not_wait_for_answers_are_all_answered_in_order(node: ReceiverNode, rest: object) -> None:
    with Line(node.port) as line:
        line.associate(CONTEXTS)
        line.send(*(wire.store(f"2.25.3.{n}", BODY, message=n) for n in range(50)), RELEASE_RQ)
        assert [line.answer().message for _ in range(50)] == list(range(50))
        assert line.read() == (RELEASED, bytes(4))
    assert {f"2.25.3.{n}" for n in range(50)} <= set(node.received())


def _all_contexts() -> dict[int, tuple[str, tuple[str, ...]]]:
    return dict.fromkeys(range(1, 256, 2), (CT, (EXPLICIT_LITTLE,)))


USER = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")
ECHO_ONLY = {1: (VERIFICATION, (EXPLICIT_LITTLE,))}
FUTURE = item(0x7F, b"future") + item(0, b"") + item(0xFF, bytes(300))
REQUESTS = {
    "128 contexts": (wire.associate_rq(_all_contexts()), ASSOCIATE_AC),
    "no contexts": (wire.associate_rq({}), ABORT),
    "context without transfer syntax": (wire.associate_rq({1: (CT, ())}), ABORT),
    "even context ID": (wire.associate_rq({2: (CT, (EXPLICIT_LITTLE,))}), ABORT),
    "abstract syntax that is no UID": (wire.associate_rq({1: ("hello", (EXPLICIT_LITTLE,))}), ASSOCIATE_AC),
    "nothing that is served": (
        wire.associate_rq({1: ("1.2.840.10008.5.1.4.1.2.2.1", (EXPLICIT_LITTLE,))}),
        ASSOCIATE_AC,
    ),
    "later versions, and the first": (wire.associate_rq(STORAGE, version=3), ASSOCIATE_AC),
    "only a later version": (wire.associate_rq(STORAGE, version=2), ASSOCIATE_RJ),
    "another application": (wire.associate_rq(STORAGE, application_context="1.2.3"), ASSOCIATE_RJ),
    "no application": (wire.associate_rq(STORAGE, application_context=""), ASSOCIATE_RJ),
    "no user information": (wire.associate_rq(STORAGE, user=b""), ASSOCIATE_AC),
    "any PDU length": (wire.associate_rq(STORAGE, maximum=0), ASSOCIATE_AC),
    "user identity": (
        wire.associate_rq(STORAGE, user=USER + item(0x58, b"\2\1" + struct.pack(">H", 3) + b"ann" + b"\0\2pw")),
        ASSOCIATE_AC,
    ),
    "asynchronous window": (wire.associate_rq(STORAGE, user=USER + item(0x53, bytes(4))), ASSOCIATE_AC),
    "items of the future": (wire.associate_rq(STORAGE, extra=FUTURE), ASSOCIATE_AC),
    "items of the future, verification only": (wire.associate_rq(ECHO_ONLY, extra=FUTURE), ASSOCIATE_AC),
    "user item cut short": (wire.associate_rq(STORAGE, user=USER + struct.pack(">BBH", 0x55, 0, 60_000)), ABORT),
    "blank AE titles": (wire.associate_rq(STORAGE, calling="", called=""), ABORT),
    "context for verification only": (wire.associate_rq(ECHO_ONLY), ASSOCIATE_AC),
    "data before the association": (wire.store("2.25.1", BODY), ABORT),
    "release before the association": (RELEASE_RQ, ABORT),
    "256 KB of it": (pdu(1, b"", length=262_145), ABORT),
    "4 GB of it": (pdu(1, b"", length=2**32 - 1), ABORT),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_association_requests_of_every_kind_get_an_answer(node: ReceiverNode, rest: object, name: str) -> None:
    sent, kind = REQUESTS[name]
    with Line(node.port) as line:
        line.send(sent)
        answer = line.read()
        assert answer is not None and answer[0] == kind, answer
        if kind == ASSOCIATE_AC:
            line.release()
