"""The socket under an association that this node opens: TLS, deadlines, and a turn of its own for our C-STORE loop."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from pynetdicom.association import Association
from pynetdicom.transport import T_CONNECT, AddressInformation

from dicom_node.config import PeerSection
from dicom_node.net import tls
from dicom_node.net.connection import PeerLeft, PeerSilent
from dicom_node.net.pdu import PDU_CEILING
from dicom_node.net.transport import NodeSocket

_MOST_READ: Final = 16 * 2**20
"""No peer has that much to say to a request [bytes]; one that goes on talks us out of memory."""
_SLOWEST: Final = 32 * 1024
"""A peer that takes less than this, on average over a message, counts as hanging [bytes/s]."""
_LOOK_S: Final = 0.05


class PeerSocket(NodeSocket):
    """Every wait for the peer ends: the TCP connection, the TLS handshake, each PDU in either direction.

    pynetdicom's thread reads from it, but for the time of `exclusive()`: an OpenSSL connection must not be read and
    written at once by two threads.

    Attributes:
        problem: why there is no connection, or why it broke; None while nothing is wrong.
    """

    def __init__(
        self, assoc: Association, address: AddressInformation, peer: PeerSection, context: ssl.SSLContext | None
    ) -> None:
        """Not connected yet.

        Args:
            assoc: which it is for.
            address: local one, nominal.
            peer: whom to call, and how long to wait.
            context: for TLS.
        """
        self.problem: str | None = None
        self._peer = peer
        self._tls = context
        self._ahead = bytearray()
        self._broken: OSError | None = None
        self._allowance = _MOST_READ
        self._taken = False
        self._at_rest = False
        self._cut = False
        self._connection: socket.socket | None = None
        super().__init__(assoc, address=address)

    @property
    def silence(self) -> str:
        """What to say of a peer that accepted the connection, and nothing more."""
        hint = "" if self._tls else "; does it want TLS?"
        return f"connected, but the association was aborted or not answered within {self._peer.timeout_s:g} s{hint}"

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect, and shake hands where TLS is wanted, each within the peer's timeout."""
        try:
            self._connect(primitive.address)
        except OSError as problem:
            self.problem = self.problem or f"no connection ({problem.strerror or 'no answer in time'})"
            primitive.result = "Evt17"
        else:
            primitive.result = "Evt2"
            self._is_connected = True
            self.prepare(self._peer.timeout_s)
        self.provider_queue.put(primitive)
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Whether pynetdicom's thread should read: never while somebody else has the socket."""
        if self._taken or self._cut:
            self._at_rest = True
            return False
        if self._ahead or self._broken:
            return True
        return bool(super().ready) and self._has_data()

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, fewer only when the peer closes; for pynetdicom's thread.

        Raises:
            OSError: the peer announced more than `PDU_CEILING`, was silent for too long, or is gone.
        """
        if nr_bytes > PDU_CEILING:
            self.problem = f"it announced a PDU of {nr_bytes} bytes"
            raise OSError(self.problem)
        return self._read(nr_bytes, time.monotonic() + self._peer.timeout_s)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else reads or writes while the block runs.

        Raises:
            PeerLeft: the association ended before.
        """
        self._at_rest = False
        self._taken = True
        try:
            while not self._at_rest:
                if not self.assoc.dul.is_alive():
                    raise PeerLeft(self.problem or "the peer ended the association")
                time.sleep(self.assoc.dul._run_loop_delay)
            yield
        finally:
            self._taken = False

    def exactly(self, count: int, deadline: float) -> bytearray:
        """The next `count` bytes; only within `exclusive()`.

        Args:
            count: at most `PDU_CEILING`.
            deadline: when all must have come, `time.monotonic()` [s].

        Raises:
            PeerLeft, PeerSilent: they did not come.
        """
        try:
            found = self._read(count, deadline)
        except TimeoutError:
            raise PeerSilent(f"no answer within {self._peer.timeout_s:g} s") from None
        except (OSError, AttributeError):
            # AttributeError: pynetdicom's thread has taken the socket away.
            raise PeerLeft(self.problem or "the connection broke") from None
        if len(found) < count:
            raise PeerLeft("the peer closed the connection")
        return found

    def write(self, data: bytes | bytearray) -> None:
        """Send all of it; only within `exclusive()`. Slow peers get time, those that take nothing do not.

        Raises:
            PeerLeft, PeerSilent: the peer is gone, or took too little.
        """
        deadline = time.monotonic() + self._peer.timeout_s + len(data) / _SLOWEST
        view = memoryview(data)
        sent = 0
        try:
            connection = cast(socket.socket, self.socket)
            while sent < len(view):
                connection.settimeout(max(0.001, min(self._peer.timeout_s, deadline - time.monotonic())))
                sent += connection.send(view[sent:])
        except TimeoutError:
            raise PeerSilent(f"took no data for {self._peer.timeout_s:g} s") from None
        except (OSError, AttributeError) as problem:
            raise PeerLeft(f"the connection broke ({type(problem).__name__})") from None
        self._allowance = _MOST_READ

    def cut(self) -> None:
        """Read nothing more: what a peer still sends is no concern of an association that is aborted."""
        self._cut = True
        if self._connection is not None:
            # Wakes the thread that may be reading. Not SSLSocket's own, which would end TLS for writing too.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._connection, socket.SHUT_RD)

    def dispose(self) -> None:
        """Close the connection whatever became of the association; pynetdicom forgets it when it ends in disorder."""
        connection = self._connection
        if connection is not None:
            # Wakes the thread that may read from it; closed under it, the descriptor could be somebody else's by then.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if self.assoc.dul.ident is not None:
                self.assoc.dul.kill_dul()
                self.assoc.dul.join()
            connection.close()

    def _connect(self, address: tuple[str, int]) -> None:
        timeout_s = self._peer.timeout_s
        placeholder = self.socket
        connected = socket.create_connection(address, timeout_s)
        self.was_connected = True
        if self._tls is not None:
            try:
                connected = self._tls.wrap_socket(connected, server_hostname=self._peer.host)
            except OSError as problem:
                connected.close()
                self.problem = f"no TLS: {tls.explain(problem)}"
                raise
        if placeholder is not None:
            placeholder.close()
        self.socket = self._connection = connected
        self.assoc.requestor.address_info = AddressInformation.from_tuple(connected.getsockname())

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        # Takes the place of the real one until connect(): the library asks for something that it can close.
        return socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET)

    def _has_data(self) -> bool:
        """In TLS, what came may be the protocol's own (session tickets, key updates): whoever waits for more hangs."""
        if self._tls is None:
            return True
        connection = cast(socket.socket, self.socket)
        try:
            connection.settimeout(0)
            self._ahead += connection.recv(1)
            return True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as problem:
            self._broken = problem
            return True
        finally:
            connection.settimeout(self._peer.timeout_s)

    def _read(self, count: int, deadline: float) -> bytearray:
        connection = cast(socket.socket, self.socket)
        self._allowance -= count
        if self._allowance < 0:
            self.problem = "it sent far more than any answer holds"
            raise OSError(self.problem)
        buffer = bytearray(count)
        view = memoryview(buffer)
        filled = min(count, len(self._ahead))
        view[:filled] = self._ahead[:filled]
        del self._ahead[:filled]
        try:
            if self._broken is not None:
                raise self._broken
            while filled < count:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                connection.settimeout(left)
                # Does not stick: senders with Nagle on wait 40 ms for each delayed ACK without it.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                received = connection.recv_into(view[filled:])
                if received == 0:
                    break
                filled += received
            else:
                return buffer
        except TimeoutError:
            self.gone = True
            raise
        except OSError as problem:
            self.gone = True
            if isinstance(problem, ssl.SSLError):
                self.problem = f"no TLS: {tls.explain(problem)}"
            raise
        finally:
            connection.settimeout(self._peer.timeout_s)
        self.gone = True
        return buffer[:filled]
