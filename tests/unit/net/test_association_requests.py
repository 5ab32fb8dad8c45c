from __future__ import annotations

import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from dicom_node.net.negotiation import accept, is_verification, read_request, unservable
from dicom_node.net.pdu import MAXIMUM_PDU, ProtocolViolation

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
DICOM = "1.2.840.10008.3.1.1.1"


def encoded(*contexts: tuple[str, list[str]], application: str = DICOM) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = application
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "CORRECTOR"
    proposed = []
    for number, (name, syntaxes) in enumerate(contexts):
        proposed.append(build_context(name, syntaxes))
        proposed[-1].context_id = 2 * number + 1
    primitive.presentation_context_definition_list = proposed
    length, name_item = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, name_item.implementation_class_uid = 16384, "1.2.3"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    primitive.user_information = [length, name_item, window]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def test_a_request_that_mixes_storage_with_other_services_is_taken_whole() -> None:
    request = read_request(
        encoded((VERIFICATION, [ExplicitVRLittleEndian]), (CT, [JPEG2000Lossless]), (FIND, [ExplicitVRLittleEndian]))
    )
    assert request.stores
    assert (request.calling_ae, request.called_ae) == ("SCANNER", "CORRECTOR")
    answer, accepted = accept(request)
    assert {i: c.transfer_syntax for i, c in accepted.items()} == {1: ExplicitVRLittleEndian, 3: JPEG2000Lossless}
    assert [i for i, c in accepted.items() if is_verification(c)] == [1]
    pdu = A_ASSOCIATE_AC()
    pdu.decode(answer)
    assert [item.result for item in pdu.presentation_context] == [0, 0, 3]
    assert pdu.user_information.maximum_length == MAXIMUM_PDU
    assert pdu.user_information.async_ops_window is None


def test_verification_alone_is_no_storage() -> None:
    assert not read_request(encoded((VERIFICATION, [ExplicitVRLittleEndian]))).stores


def test_wrong_application_context_and_version_are_rejected_with_their_reasons() -> None:
    good = encoded((CT, [ExplicitVRLittleEndian]))
    assert unservable(read_request(good)) is None
    other = unservable(read_request(encoded((CT, [ExplicitVRLittleEndian]), application="1.2.3")))
    assert other is not None
    assert (other.result, other.source, other.reason) == (1, 1, 2)
    version = unservable(read_request(good[:6] + b"\0\2" + good[8:]))
    assert version is not None
    assert (version.result, version.source, version.reason) == (1, 2, 2)


@pytest.mark.parametrize("cut", [6, 20, 74, 80, 120])
def test_what_cannot_be_read_is_a_violation(cut: int) -> None:
    with pytest.raises(ProtocolViolation):
        read_request(encoded((CT, [ExplicitVRLittleEndian]))[:cut])
