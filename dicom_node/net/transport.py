"""Our own socket under pynetdicom's associations, for both sides."""

from __future__ import annotations

import contextlib
import socket
from typing import cast

from pynetdicom.transport import T_CONNECT, AssociationSocket

from dicom_node.net.pdu import PDU_CEILING


class NodeSocket(AssociationSocket):
    """Sends without delay, reads whole PDUs into one buffer, acknowledges at once, and always closes.

    Attributes:
        was_connected: whether the transport connection was ever there.
        gone: the peer has closed or reset the connection.
    """

    was_connected: bool = False
    gone: bool = False
    _replayed: bytes = b""

    def replay(self, data: bytes) -> None:
        """Give these bytes first: somebody has read them from the socket already."""
        self._replayed = data

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self._replayed) or bool(super().ready)

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect to the peer; afterwards no send or receive may wait longer than the association's DIMSE timeout."""
        super().connect(primitive)
        if self.socket is not None:
            self.prepare(self.assoc.dimse_timeout)

    def prepare(self, timeout_s: float | None) -> None:
        """Set the options of a connected socket.

        Args:
            timeout_s: longest wait for the peer in the middle of a PDU [s].
        """
        connection = cast(socket.socket, self.socket)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s)
        self.was_connected = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, fewer only when the peer closes.

        Raises:
            OSError: the peer announced more than `PDU_CEILING`, is silent for too long, or is gone.
        """
        connection = cast(socket.socket, self.socket)
        if nr_bytes > PDU_CEILING:
            raise OSError(f"PDU of {nr_bytes} bytes announced, at most {PDU_CEILING} allowed")
        buffer = bytearray(nr_bytes)
        view = memoryview(buffer)
        filled = min(nr_bytes, len(self._replayed))
        view[:filled], self._replayed = self._replayed[:filled], self._replayed[filled:]
        while filled < nr_bytes:
            # Does not stick: senders with Nagle on wait 40 ms for each delayed ACK without it.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                count = connection.recv_into(view[filled:])
            except OSError:
                self.gone = True
                raise
            if count == 0:
                self.gone = True
                return bytearray(view[:filled])
            filled += count
        return buffer

    def _shutdown_socket(self) -> None:
        # The library's own leaves the descriptor open when the peer has already reset the connection.
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
