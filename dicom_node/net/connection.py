"""A connected socket that is read in large blocks, each PDU under a deadline."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import Final

from dicom_node.errors import NodeError

BUFFER_BYTES: Final = 128 * 1024
_TICK_S: Final = 1.0
"""How often a wait looks at its deadline [s]."""
_PDU_HEADER: Final = 6
_GATHER_BYTES: Final = 4096


class PeerLeft(NodeError):
    """The peer closed or reset the connection."""


class PeerSilent(NodeError):
    """The peer sent nothing, or too little, for too long."""


class Connection:
    """Reads what the peer sends; whoever reads says until when it must have come.

    Attributes:
        address: the peer's address.
    """

    def __init__(self, connected: socket.socket, address: str) -> None:
        """Take over a socket.

        Args:
            connected: plain or TLS, handshake done.
            address: the peer's address.
        """
        self.address = address
        self._socket = connected
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tick()
        self._buffer = bytearray(_PDU_HEADER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._deadline = 0.0

    @property
    def socket(self) -> socket.socket:
        """The socket, for whoever goes on without us."""
        return self._socket

    def encrypt(self, context: ssl.SSLContext, limit_s: float) -> None:
        """Take the server's side of a TLS handshake, before anything is read.

        Args:
            context: with our certificate.
            limit_s: longest time for the whole of it [s].

        Raises:
            OSError: it failed, or took too long; an `ssl.SSLError` where the peer is to blame.
        """
        self._socket.settimeout(limit_s)
        self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket.do_handshake()
        self._tick()

    def rest(self) -> bytes:
        """What was read ahead and nobody has taken yet."""
        return bytes(self._view[self._start : self._end])

    def enlarge(self, size: int = BUFFER_BYTES) -> None:
        """Read in blocks of this many bytes from now on; an association is worth the memory, a port scan is not."""
        rest = self.rest()
        self._buffer = bytearray(max(size, len(rest)))
        self._view = memoryview(self._buffer)
        self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def header(self, idle_s: float, pdu_s: float) -> tuple[int, int]:
        """Wait for a PDU: its type and its length [bytes] (PS3.8 9.3.1).

        Args:
            idle_s: longest wait for its first byte [s].
            pdu_s: longest time from then until its last byte [s].

        Raises:
            PeerLeft, PeerSilent: it did not come.
        """
        self._deadline = time.monotonic() + idle_s
        if self._start == self._end:
            self._fill()
        self._deadline = time.monotonic() + pdu_s
        head = self.exactly(_PDU_HEADER)
        return head[0], int.from_bytes(head[2:6], "big")

    def exactly(self, count: int) -> memoryview:
        """The next `count` bytes, at most the size of the buffer; valid until the next call.

        Raises:
            PeerLeft, PeerSilent: they did not come.
        """
        if self._start + count > len(self._buffer):
            rest = self.rest()
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        while self._end - self._start < count:
            self._fill()
        self._start += count
        return self._view[self._start - count : self._start]

    def gathered(self, count: int) -> bytes:
        """The next `count` bytes, kept as they come: memory is taken for what is there, not for what is announced.

        Raises:
            PeerLeft, PeerSilent: they did not come.
        """
        whole = bytearray()
        while len(whole) < count:
            whole += self.some(count - len(whole))
            if self._start == self._end and len(self._buffer) < _GATHER_BYTES:
                self.enlarge(_GATHER_BYTES)
        return bytes(whole)

    def some(self, most: int) -> memoryview:
        """At least one and at most `most` of the next bytes, whatever is there; valid until the next call.

        Raises:
            PeerLeft, PeerSilent: nothing came.
        """
        if self._start == self._end:
            self._fill()
        first = self._start
        self._start = min(self._end, first + most)
        return self._view[first : self._start]

    def send(self, data: bytes) -> None:
        """Send in one call.

        Raises:
            PeerLeft, PeerSilent: the peer is gone, or takes nothing.
        """
        try:
            self._socket.sendall(data)
        except (TimeoutError, BlockingIOError):
            raise PeerSilent("the peer takes no answers") from None
        except OSError as problem:
            raise PeerLeft(f"the connection broke ({type(problem).__name__})") from None

    def linger(self, limit_s: float) -> None:
        """Wait for the peer to close, and throw away what it still sends (ARTIM, PS3.8 9.1.5).

        Closed with unread bytes, the kernel resets the connection, and the peer may never see our last words.
        """
        self._deadline = time.monotonic() + limit_s
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while True:
                self._start = self._end = 0
                self._fill()
        except (NodeError, OSError):
            return

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self._socket.close()

    def abandon(self) -> None:
        """Wake a reader in another thread: for it, the peer has left."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _tick(self) -> None:
        """Let no call on the socket wait longer than a moment.

        By the kernel where possible: Python's own timeout costs a poll before each receive.
        """
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(_TICK_S)
            return
        self._socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(_TICK_S), 0))

    def _fill(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        while True:
            try:
                # Does not stick: senders with Nagle on wait 40 ms for each delayed ACK without it.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                count = self._socket.recv_into(self._view[self._end :])
                break
            except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
                if time.monotonic() > self._deadline:
                    raise PeerSilent("the peer was silent for too long") from None
            except OSError as problem:
                raise PeerLeft(f"the connection broke ({type(problem).__name__})") from None
        if count == 0:
            raise PeerLeft("the peer closed the connection")
        self._end += count
        if time.monotonic() > self._deadline:
            raise PeerSilent("the peer sent too slowly")
