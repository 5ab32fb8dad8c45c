"""Association requests: looked at with pynetdicom before anyone takes them, and answered (PS3.8 9.3.2, 9.3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.net.access import Refusal
from dicom_node.net.pdu import MAXIMUM_PDU, AbortReason, ProtocolViolation
from dicom_node.net.storage_classes import VERIFICATION, is_storage, supported_contexts

_ACCEPTED, _USER_REJECTED = 0, 1
_APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")
_SERVICE_USER = 1
_MOST_CONTEXTS = 128
_VERSION = slice(6, 8)
_FIXED_BYTES = 74
_ITEMS = frozenset((0x10, 0x20, 0x50))
# What lies in a presentation context and in the user information: after how many bytes, items of which types.
_SUB_ITEMS = {0x20: (4, frozenset((0x30, 0x40))), 0x50: (0, frozenset(range(0x51, 0x5A)))}


@dataclass(frozen=True)
class Accepted:
    """One accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Request:
    """An A-ASSOCIATE-RQ.

    Attributes:
        calling_ae: AE title of the peer, without padding.
        called_ae: AE title that the peer calls.
        stores: whether a storage class is proposed.
        primitive: as pynetdicom has read it.
        pdu: the bytes of the whole PDU.
    """

    calling_ae: str
    called_ae: str
    stores: bool
    primitive: A_ASSOCIATE
    pdu: bytes


def read_request(pdu: bytes) -> Request:
    """Read a whole A-ASSOCIATE-RQ.

    Raises:
        ProtocolViolation: it is none.
    """
    request = A_ASSOCIATE_RQ()
    pdu = _without_unknown_items(pdu)
    try:
        request.decode(pdu)
        primitive = request.to_primitive()
        contexts: Sequence[PresentationContext] = primitive.presentation_context_definition_list
        stores = any(is_storage(str(context.abstract_syntax)) for context in contexts)
        calling, called = str(primitive.calling_ae_title).strip(), str(primitive.called_ae_title).strip()
    except Exception as problem:  # noqa: BLE001  the library raises whatever its parser stumbles over
        raise ProtocolViolation(
            f"an association request that cannot be read ({type(problem).__name__})", AbortReason.INVALID_VALUE
        ) from None
    if not 0 < len(contexts) <= _MOST_CONTEXTS:
        raise ProtocolViolation("an association request without presentation contexts", AbortReason.INVALID_VALUE)
    return Request(calling, called, stores, primitive, pdu)


def unservable(request: Request) -> Refusal | None:
    """Why a request cannot be served whoever asks: protocol version and application context (PS3.8 9.3.2, 9.3.4)."""
    if not int.from_bytes(request.pdu[_VERSION], "big") & 1:
        return Refusal(1, 2, 2, "protocol version 1 is not among those offered")
    if request.primitive.application_context_name != _APPLICATION_CONTEXT:
        return Refusal(1, 1, 2, "application context is not that of DICOM")
    return None


def accept(request: Request) -> tuple[bytes, Mapping[int, Accepted]]:
    """The A-ASSOCIATE-AC for a request that may be served, and what it accepts by context ID.

    Contexts are negotiated by pynetdicom; we are the SCP of every one. No asynchronous window, user identity or
    extended negotiation is answered, which means (PS3.7 D.3.3) that none of them is used.

    Raises:
        ProtocolViolation: the contexts cannot be negotiated.
    """
    proposed = request.primitive.presentation_context_definition_list
    try:
        results, _ = negotiate_as_acceptor(proposed, supported_contexts(proposed), {})
        answer = A_ASSOCIATE()
        answer.application_context_name = _APPLICATION_CONTEXT
        answer.calling_ae_title = request.primitive.calling_ae_title
        answer.called_ae_title = request.primitive.called_ae_title
        answer.result, answer.result_source = _ACCEPTED, _SERVICE_USER
        answer.presentation_context_definition_results_list = results
        answer.user_information = _user_information()
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        encoded: bytes = pdu.encode()
    except Exception as problem:  # noqa: BLE001  as above: what was proposed is the peer's
        raise ProtocolViolation(
            f"presentation contexts that cannot be negotiated ({type(problem).__name__})", AbortReason.INVALID_VALUE
        ) from None
    accepted = {
        int(context.context_id or 0): Accepted(str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in results
        if context.result == _ACCEPTED
    }
    return encoded, accepted


def _without_unknown_items(pdu: bytes) -> bytes:
    """The request without items of undefined type: to be skipped by PS3.8 9.3.1, but the library trips over them."""
    items = _known(pdu[_FIXED_BYTES:], _ITEMS)
    fixed = pdu[6:_FIXED_BYTES]
    return pdu[:2] + (len(fixed) + len(items)).to_bytes(4, "big") + fixed + items


def _known(items: bytes, types: frozenset[int]) -> bytes:
    kept = bytearray()
    at = 0
    while at + 4 <= len(items):
        kind, end = items[at], at + 4 + int.from_bytes(items[at + 2 : at + 4], "big")
        if end > len(items):
            break
        body = items[at + 4 : end]
        if kind in _SUB_ITEMS:
            first, inner = _SUB_ITEMS[kind]
            body = body[:first] + _known(body[first:], inner)
        if kind in types:
            kept += items[at : at + 2] + len(body).to_bytes(2, "big") + body
        at = end
    return bytes(kept) + items[at:]  # what is cut short is the library's to complain about


def is_verification(context: Accepted) -> bool:
    """Whether a context is for C-ECHO."""
    return context.abstract_syntax == VERIFICATION


def _user_information() -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = MAXIMUM_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return [length, implementation, version]
