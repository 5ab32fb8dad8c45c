"""Associations that this node opens: bounded waits, clear errors, one write for each message."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node.config import PeerSection
from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import PeerUnreachable
from dicom_node.net.transport import MAXIMUM_PDU, NodeSocket

_LONGEST_WRITE = 8 * 2**20
_LOW_PRIORITY = 2
_LARGEST_MESSAGE_ID = 65_535


class _RequestingEntity(AE):
    """Puts our socket under each association."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        return NodeSocket(assoc, address=address)


@contextmanager
def association(peer: PeerSection, our_ae: str, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
    """An established association; released at the end, aborted when the block raises.

    Args:
        peer: who, and how long to wait for each of its answers.
        our_ae: calling AE title.
        contexts: proposed presentation contexts, at most 128 (PS3.8 9.3.2.2).

    Raises:
        PeerUnreachable: no connection, rejected, aborted or no answer in time.
    """
    ae = _RequestingEntity(ae_title=our_ae)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = peer.timeout_s
    # Reading and transcoding between two messages may take longer than any network timeout.
    ae.network_timeout = None
    try:
        found = ae.associate(peer.host, peer.port, contexts=list(contexts), ae_title=peer.ae_title, max_pdu=MAXIMUM_PDU)
    except OSError as problem:
        raise PeerUnreachable(f"{_name(peer)}: {problem.strerror or problem}") from problem
    if not found.is_established:
        raise PeerUnreachable(f"{_name(peer)}: {_why_not(found, peer)}")
    try:
        yield found
    except BaseException:
        found.abort()
        raise
    if found.is_established:
        found.release()


def store(
    found: Association,
    context: PresentationContext,
    message_id: int,
    instance: tuple[str, str],
    source: Path | bytes,
    offset: int = 0,
) -> int | None:
    """C-STORE of encoded bytes, written to the network in one call (pieces of 8 MiB when larger).

    Args:
        found: an established association.
        context: an accepted context, in whose transfer syntax the bytes are encoded.
        message_id: number of the message on this association; wraps at 16 bits.
        instance: SOP Class UID and SOP Instance UID.
        source: a DICOM file, or an encoded data set.
        offset: where the data set begins in the file.

    Returns:
        The peer's status (PS3.4 B.2.3), None when it aborted, hung up or did not answer in time.
    """
    request = C_STORE()
    request.MessageID = message_id % _LARGEST_MESSAGE_ID + 1
    request.Priority = _LOW_PRIORITY
    request.AffectedSOPClassUID = UID(instance[0])
    request.AffectedSOPInstanceUID = UID(instance[1])
    if isinstance(source, bytes):
        request.DataSet = BytesIO(source)
    else:
        request._dataset_path = (source, offset)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    # The reactor would take the answer off the queue before we do.
    found._reactor_checkpoint.clear()
    while not found._is_paused and found.is_established:
        time.sleep(0.0001)
    try:
        if not _write(found, message, cast(int, context.context_id)):
            return None
        _, answer = found.dimse.get_msg(block=True)
    finally:
        found._reactor_checkpoint.set()
    status = getattr(answer, "Status", None)
    return None if status is None else int(status)


def _write(found: Association, message: C_STORE_RQ, context_id: int) -> bool:
    """Send all P-DATA-TF of a message together: with one write for each, small PDUs wait for delayed ACKs."""
    transport = cast(NodeSocket, found.dul.socket)
    buffer = bytearray()
    try:
        for fragment in message.encode_msg(context_id, found.acceptor.maximum_length or MAXIMUM_PDU):
            pdu = P_DATA_TF()
            pdu.from_primitive(fragment)
            buffer += pdu.encode()
            if len(buffer) > _LONGEST_WRITE:
                cast(socket.socket, transport.socket).sendall(buffer)
                buffer.clear()
        cast(socket.socket, transport.socket).sendall(buffer)
    except (OSError, AttributeError):
        # AttributeError: the reader thread has already taken the socket away.
        return False
    return True


def _name(peer: PeerSection) -> str:
    return f"peer {peer.ae_title} at {peer.host}:{peer.port}"


def _why_not(found: Association, peer: PeerSection) -> str:
    answer = found.acceptor.primitive
    if found.is_rejected and isinstance(answer, A_ASSOCIATE):
        return f"association rejected ({answer.reason_str}); check the AE titles on both sides"
    if cast(NodeSocket, found.dul.socket).was_connected:
        return f"connected, but the association was aborted or not answered within {peer.timeout_s:g} s"
    try:
        socket.create_connection((peer.host, peer.port), timeout=peer.timeout_s).close()
    except OSError as problem:
        return f"no connection ({problem.strerror or 'timed out'})"
    return "no connection; it answers now"
