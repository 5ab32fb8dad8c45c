"""Associations that this node opens: bounded waits, and clear errors."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node import logs
from dicom_node.config import PeerSection
from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import ConfigError, PeerUnreachable
from dicom_node.net.pdu import MAXIMUM_PDU
from dicom_node.net.peer_socket import PeerSocket
from dicom_node.net.tls import client_context

log = logs.get("net.requestor")


class _RequestingEntity(AE):
    """Puts our socket under each association."""

    def __init__(self, our_ae: str, peer: PeerSection, context: ssl.SSLContext | None) -> None:
        super().__init__(ae_title=our_ae)
        self._peer = peer
        self._context = context
        self.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self.connection_timeout = self.acse_timeout = self.dimse_timeout = peer.timeout_s
        # Reading and transcoding between two messages may take longer than any network timeout.
        self.network_timeout = None

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        assoc.dul.run = partial(_run, assoc, assoc.dul.run)  # type: ignore[method-assign]
        assoc._serve_request = partial(_give_back, assoc)  # type: ignore[method-assign]
        return PeerSocket(assoc, address, self._peer, self._context)


@contextmanager
def association(peer: PeerSection, our_ae: str, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
    """An established association; released at the end, aborted when the block raises.

    Args:
        peer: who, whether over TLS, and how long to wait for each of its answers.
        our_ae: calling AE title.
        contexts: proposed presentation contexts, at most 128 (PS3.8 9.3.2.2).

    Raises:
        PeerUnreachable: no connection, no TLS, rejected, aborted or no answer in time.
    """
    try:
        # Read each time: certificates are renewed under a running node.
        context = client_context(peer.tls, "tls") if peer.tls is not None else None
        entity = _RequestingEntity(our_ae, peer, context)
        found = entity.associate(
            peer.host, peer.port, contexts=list(contexts), ae_title=peer.ae_title, max_pdu=MAXIMUM_PDU
        )
    except ConfigError as problem:
        raise PeerUnreachable(f"{name(peer)}: {problem}") from problem
    except OSError as problem:
        raise PeerUnreachable(f"{name(peer)}: {problem.strerror or problem}") from problem
    transport = cast(PeerSocket, found.dul.socket)
    try:
        if not found.is_established:
            raise PeerUnreachable(f"{name(peer)}: {_why_not(found, transport)}")
        _leave_what_we_offered(found)
        yield found
        if found.is_established:
            found.release()
    except BaseException:
        transport.cut()
        found.abort()
        raise
    finally:
        transport.dispose()


def name(peer: PeerSection) -> str:
    """The peer in messages."""
    return f"peer {peer.ae_title} at {peer.host}:{peer.port}"


def _run(found: Association, reactor: Callable[[], None]) -> None:
    """The library's thread; what a peer's bytes do to its state machine ends the association, and not more."""
    try:
        reactor()
    except Exception as problem:  # noqa: BLE001  it decodes whatever the peer sends, and raises whatever comes of it
        log.warning("association_out_of_step", code=type(problem).__name__)
        found.dimse.msg_queue.put((None, None))


def _leave_what_we_offered(found: Association) -> None:
    """Forget contexts with a transfer syntax that was not proposed (PS3.8 9.3.3.2): nothing can be encoded for them."""
    proposed = {context.context_id: context.transfer_syntax for context in found.requestor.requested_contexts}
    found._accepted_cx = {
        number: context
        for number, context in found._accepted_cx.items()
        if context.transfer_syntax[0] in proposed.get(number, [])
    }


def _give_back(found: Association, message: Any, context_id: int) -> None:
    """We serve nobody here: what the library's thread took for a request is the answer that another one waits for."""
    found.dimse.msg_queue.put((context_id, message))


def _why_not(found: Association, transport: PeerSocket) -> str:
    answer = found.acceptor.primitive
    if found.is_rejected and isinstance(answer, A_ASSOCIATE):
        return f"association rejected ({answer.reason_str}); check the AE titles on both sides"
    return transport.problem or transport.silence
