"""Our command sets against pynetdicom's encoder and decoder."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.net.command_set import CommandField, decode, response
from dicom_node.net.pdu import ProtocolViolation, command_message

CT = "1.2.840.10008.5.1.4.1.1.2"
uids = st.lists(st.integers(0, 99_999), min_size=2, max_size=8).map(lambda parts: "1." + ".".join(map(str, parts)))


def encoded(message: DIMSEMessage) -> bytes:
    fragments = [pdv[1] for data in message.encode_msg(1, 0) for pdv in data.presentation_data_value_list]
    return b"".join(fragment[1:] for fragment in fragments if fragment[0] & 1)


def store_request(instance: str, message_id: int) -> bytes:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, instance
    request.DataSet = BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return encoded(message)


@given(instance=uids, message_id=st.integers(0, 65_535))
def test_a_store_request_is_read_as_it_was_written(instance: str, message_id: int) -> None:
    command = decode(store_request(instance, message_id))
    assert command.field == CommandField.C_STORE_RQ
    assert (command.message_id, command.has_data_set) == (message_id, True)
    assert (command.sop_class_uid, command.sop_instance_uid) == (CT, instance)


def test_an_echo_request_has_no_data_set() -> None:
    request = C_ECHO()
    request.MessageID = 7
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    command = decode(encoded(message))
    assert command.field == CommandField.C_ECHO_RQ
    assert not command.has_data_set


@given(instance=uids, message_id=st.integers(0, 65_535), status=st.sampled_from([0, 0xA700, 0x0117]))
def test_the_library_understands_our_response(instance: str, message_id: int, status: int) -> None:
    pdu = P_DATA_TF()
    pdu.decode(command_message(5, response(decode(store_request(instance, message_id)), status)))
    data: P_DATA = pdu.to_primitive()
    message = DIMSEMessage()
    assert message.decode_msg(data)
    assert isinstance(message, C_STORE_RSP)
    answer = message.message_to_primitive()
    assert answer.MessageIDBeingRespondedTo == message_id
    assert answer.Status == status
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, instance)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        store_request("1.2", 1)[:-1],
        b"\x08" + store_request("1.2", 1)[1:],
        response(decode(store_request("1.2", 1)), 0),
        bytes.fromhex("00000001 02000000 0100"),
    ],
    ids=["empty", "cut in a head", "cut in a value", "other group", "a response", "no message ID"],
)
def test_what_is_no_request_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data)
