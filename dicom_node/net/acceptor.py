"""pynetdicom's acceptor, hardened: own association, own server that shares the port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import AddressInformation, AssociationServer, RequestHandler

from dicom_node.net.spool import Spool
from dicom_node.net.spooling_dimse import SpoolingDimse
from dicom_node.net.storage_classes import supported_contexts
from dicom_node.net.transport import NodeSocket


class StoringAssociation(Association):
    """An accepted association whose C-STOREs go to the spool.

    Attributes:
        ledger_id: id of its row, None until its first instance is recorded.
        lost: True when the transport failed without a release or an A-ABORT of the peer.
    """

    ledger_id: str | None = None
    lost: bool = False
    _over: Callable[[StoringAssociation], None]

    def __init__(self, ae: AE, spool: Spool, over: Callable[[StoringAssociation], None]) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self._over = over
        self.dimse: SpoolingDimse = SpoolingDimse(self, spool)

    @property
    def ending(self) -> str:
        """How it ended: `released`, `aborted` or `lost`."""
        if self.is_released:
            return "released"
        return "aborted" if self.is_aborted and not self.lost else "lost"

    def run_reactor(self) -> None:
        """Serve until the association ends in whatever way, then clean up after it."""
        try:
            self.dul.start()
            self._started_dul = True
            self._dul_ready.wait()
            if self._is_requested():
                super().run_reactor()
            else:
                self._hang_up()
        finally:
            if self.dul.ident is not None:
                self.dul.join()
            self.dimse.discard_unfinished()
            self._over(self)

    def _is_requested(self) -> bool:
        """Wait for the A-ASSOCIATE-RQ, but no longer than the connection lasts.

        The library itself waits out the whole ACSE timeout after a port probe that has long hung up, and so lets
        probes use up the places of real senders.
        """
        end = time.monotonic() + (self.acse_timeout or 0)
        transport = cast(NodeSocket, self.dul.socket)
        while time.monotonic() < end and not cast(SharedPortServer, self._server).stopping.is_set():
            if self.dul.peek_next_pdu() is not None:
                return True
            if transport.gone:
                break
            time.sleep(0.002)
        return self.dul.peek_next_pdu() is not None

    def _hang_up(self) -> None:
        self.dul.kill_dul()
        self.dul.join()
        cast(NodeSocket, self.dul.socket).close()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        # Private and unknown storage classes are in no table of the library.
        if isinstance(msg, C_STORE) and msg.is_valid_request and context_id in self._accepted_cx:
            self._is_paused = True
            StorageServiceClass(self).SCP(msg, self._accepted_cx[context_id])
            self._is_paused = False
        else:
            super()._serve_request(msg, context_id)


class StoringRequestHandler(RequestHandler):
    """Sets up one association for one TCP connection."""

    server: SharedPortServer

    def _create_association(self) -> Association:
        server = self.server
        association = StoringAssociation(server.ae, server.spool, server.over)
        association._server = server
        # The library finds its acceptors by this part of the thread's name.
        association.name = f"AcceptorThread@{self.client_address[1]}"
        transport = NodeSocket(association, client_socket=cast(socket.socket, self.request))
        # A peer that falls silent in the middle of a PDU would otherwise hold its thread for ever.
        transport.prepare(server.ae.network_timeout)
        association.set_socket(transport)
        acceptor = association.acceptor
        acceptor.maximum_length = server.ae.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = server.ae.implementation_class_uid
        acceptor.implementation_version_name = server.ae.implementation_version_name
        association.requestor.address_info = self.remote
        association.bind(evt.EVT_REQUESTED, _offer_contexts)
        association.bind(evt.EVT_ACSE_RECV, _note_lost_transport)
        association.bind(evt.EVT_C_STORE, server.store)
        association.bind(evt.EVT_C_ECHO, _echo)
        return association


class SharedPortServer(AssociationServer):
    """Accepts associations on a port that several processes share.

    Attributes:
        stopping: set when no new association may begin.
        spool: where data sets go.
        store: handler of C-STORE requests, returns the status.
        over: called in the association's thread when it has ended.
    """

    request_queue_size = 128

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        spool: Spool,
        store: Callable[[evt.Event], int],
        over: Callable[[StoringAssociation], None],
    ) -> None:
        self.stopping = threading.Event()
        self.spool = spool
        self.store = store
        self.over = over
        contexts: list[PresentationContext] = []
        super().__init__(
            ae,
            AddressInformation.from_addr_port(*address).as_tuple,
            ae.ae_title,
            contexts,
            request_handler=StoringRequestHandler,
        )

    def server_bind(self) -> None:
        """Bind with SO_REUSEPORT: the kernel spreads connections over the processes."""
        cast(socket.socket, self.socket).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def stop_accepting(self) -> None:
        """Close the port; associations go on."""
        self.stopping.set()
        BaseServer.shutdown(self)
        self.server_close()

    def associations(self) -> list[StoringAssociation]:
        """Those that have not ended."""
        return cast(list[StoringAssociation], self.active_associations)


def _offer_contexts(event: evt.Event) -> None:
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    event.assoc.acceptor.supported_contexts = supported_contexts(request.presentation_context_definition_list)


def _note_lost_transport(event: evt.Event) -> None:
    if isinstance(getattr(event, "primitive", None), A_P_ABORT):
        cast(StoringAssociation, event.assoc).lost = True


def _echo(event: evt.Event) -> int:
    return 0x0000
