"""Associations that propose no storage, left to pynetdicom whole: today that is C-ECHO."""

from __future__ import annotations

from typing import cast

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AddressInformation

from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.net.connection import Connection
from dicom_node.net.negotiation import Request
from dicom_node.net.pdu import MAXIMUM_PDU
from dicom_node.net.storage_classes import supported_contexts
from dicom_node.net.transport import NodeSocket

_SUCCESS = 0x0000
_NO_LIMIT = 1 << 20


def make_entity(ae_title: str, timeout_s: float) -> AE:
    """The application entity under which pynetdicom serves.

    Args:
        ae_title: ours.
        timeout_s: longest silence of a peer [s].
    """
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = MAXIMUM_PDU
    entity.maximum_associations = _NO_LIMIT  # limits were applied before
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
    return entity


def serve(connection: Connection, request: Request, entity: AE) -> None:
    """Serve an association from the request on, which has been read already, until it ends.

    Args:
        connection: positioned behind the request.
        request: what the peer wants.
        entity: of `make_entity`.
    """
    association = Association(entity, MODE_ACCEPTOR)
    transport = NodeSocket(association, client_socket=connection.socket)
    transport.prepare(entity.network_timeout)
    transport.replay(request.pdu + connection.rest())
    association.set_socket(transport)
    acceptor = association.acceptor
    acceptor.maximum_length = MAXIMUM_PDU
    acceptor.ae_title = entity.ae_title
    acceptor.address_info = _information(connection.socket.getsockname())
    acceptor.implementation_class_uid = entity.implementation_class_uid
    acceptor.implementation_version_name = entity.implementation_version_name
    association.requestor.address_info = _information(connection.socket.getpeername())
    association.bind(evt.EVT_REQUESTED, _offer_contexts)
    association.bind(evt.EVT_C_ECHO, _echo)
    association.start()
    association.join()
    association.dul.join()


def _information(address: tuple[str, int]) -> AddressInformation:
    return AddressInformation(address[0], address[1])


def _offer_contexts(event: evt.Event) -> None:
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    event.assoc.acceptor.supported_contexts = supported_contexts(request.presentation_context_definition_list)


def _echo(_event: evt.Event) -> int:
    return _SUCCESS
