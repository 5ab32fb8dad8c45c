"""A receiver: takes connections from the node's listening sockets, and lets each association run in a thread.

An instance is answered 0x0000 only when its file and the journal's entry for it are durable. The ledger is not needed.
"""

from __future__ import annotations

import contextvars
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Final

from dicom_node import logs
from dicom_node.archive.model import AssociationClosed
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.net import other_services
from dicom_node.net.access import LOCAL_LIMIT, Refusal, refusal
from dicom_node.net.board import Place
from dicom_node.net.connection import Connection, PeerLeft, PeerSilent
from dicom_node.net.listener import ListeningSocket, accept_until
from dicom_node.net.negotiation import Request, accept, read_request, unservable
from dicom_node.net.pdu import REQUEST_CEILING, AbortReason, Pdu, ProtocolViolation, abort, reject
from dicom_node.net.pending import Pending
from dicom_node.net.spool import Spool
from dicom_node.net.store_association import Patience, StoreAssociation
from dicom_node.net.tls import ReloadingContext

log = logs.get("net.receiver")

_AFTER_ABORT_S: Final = 5.0
_AGAIN_S: Final = 1.0
_LINGER_S: Final = 2.0
_COMPLAIN_S: Final = 1.0
"""Least time between two complaints about callers [s]."""


class Receiver:
    """One process's share of the node's receiving."""

    def __init__(self, config: Config, listening: Sequence[ListeningSocket], place: Place, spool: Spool) -> None:
        """Nothing is accepted yet.

        Args:
            config: the whole configuration.
            listening: of `net.listener.bind`.
            place: this receiver's row on the board.
            spool: this receiver's.

        Raises:
            ConfigError: the certificate cannot be used.
        """
        self._config = config
        self._listening = listening
        self._place = place
        self._spool = spool
        self._tls = ReloadingContext(config.node.tls) if config.node.tls is not None else None
        self._entity = other_services.make_entity(config.node.ae_title, config.intake.association_timeout_s)
        self._pending = Pending()
        self._held: set[Connection] = set()
        self._unrecorded: list[AssociationClosed] = []
        self._lock = threading.Lock()
        self._complained_at = -_COMPLAIN_S
        self._unsaid = 0

    def serve(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Accept until `stop`, then let running associations finish for `node.drain_s`, then abort them.

        Args:
            stop: ends the accepting.
            beat: called as long as every accept loop turns.
        """
        turned = [threading.Event() for _ in self._listening]
        loops = [
            threading.Thread(target=_here(accept_until, stop, one, self._count_held, self._take, sign.set), daemon=True)
            for one, sign in zip(self._listening, turned, strict=True)
        ]
        for loop in loops:
            loop.start()
        log.info("receiver_listening", host=self._config.node.host, port=self._config.node.port)
        while not stop.wait(_AGAIN_S):
            self._record_endings()
            if all(sign.is_set() for sign in turned):
                for sign in turned:
                    sign.clear()
                beat()
        for loop in loops:
            loop.join()
        self._drain()
        log.info("receiver_stopped")

    def _drain(self) -> None:
        self._wait_for_associations(self._config.node.drain_s)
        with self._lock:
            late = list(self._held)
        for connection in late:
            log.warning("association_aborted_by_drain")
            connection.abandon()
        self._wait_for_associations(_AFTER_ABORT_S)
        self._record_endings()

    def _wait_for_associations(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while self._count_held() and time.monotonic() < end:
            time.sleep(0.05)

    def _count_held(self) -> int:
        with self._lock:
            return len(self._held)

    def _take(self, connected: socket.socket, address: str, tls: bool) -> None:
        try:
            connection = Connection(connected, address)
        except OSError:  # gone already
            connected.close()
            return
        with self._lock:
            self._held.add(connection)
        if self._pending.add(connection):
            self._place.count("timeouts")
        try:
            threading.Thread(target=_here(self._run, connection, tls), daemon=True).start()
        except RuntimeError:  # no more threads: the loop that accepts must outlive it
            log.error("connection_refused", reason="the machine gives no more threads")
            self._place.count("rejected_limit")
            self._forget(connection)
            connection.close()

    def _run(self, connection: Connection, tls: bool) -> None:
        """The whole life of one connection."""
        try:
            with closing(connection):
                self._converse(connection, tls)
        except PeerSilent:
            self._place.count("timeouts")
            log.debug("connection_silent")
        except PeerLeft:
            log.debug("connection_left")
        except ProtocolViolation as problem:
            self._place.count("rejected_request")
            self._complain("connection_refused", str(problem))
        except (OSError, NodeError) as problem:
            log.error("connection_failed", code=type(problem).__name__, reason=logs.place(problem))
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._pending.remove(connection)
        with self._lock:
            self._held.discard(connection)

    def _converse(self, connection: Connection, tls: bool) -> None:
        if tls and self._tls is not None and self._config.node.tls is not None:
            try:
                connection.encrypt(self._tls.current(), self._config.node.tls.handshake_timeout_s)
            except (ssl.SSLError, OSError) as problem:
                raise ProtocolViolation(f"no TLS ({_name_of(problem)})", AbortReason.NOT_SPECIFIED) from None
        try:
            request = self._request(connection)
        except ProtocolViolation as problem:
            _abort(connection, problem)
            raise
        refused = unservable(request) or refusal(
            self._config.access,
            self._config.node.ae_title,
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            address=connection.address,
        )
        if refused is not None:
            self._reject(connection, refused, "rejected_access")
            return
        seat = self._place.sit(connection.address, self._config.intake.max_associations_per_address)
        if seat is None:
            self._reject(connection, LOCAL_LIMIT, "rejected_limit")
            return
        self._pending.remove(connection)
        try:
            self._serve(connection, request)
        finally:
            self._place.stand_up(seat)

    def _request(self, connection: Connection) -> Request:
        limit_s = self._config.intake.request_timeout_s
        kind, length = connection.header(limit_s, limit_s)
        if kind != Pdu.ASSOCIATE_RQ:
            raise ProtocolViolation("no association request", AbortReason.UNEXPECTED)
        if length > REQUEST_CEILING:
            raise ProtocolViolation(
                f"an association request of {length} bytes, at most {REQUEST_CEILING} allowed",
                AbortReason.INVALID_VALUE,
            )
        return read_request(bytes((kind, 0)) + length.to_bytes(4, "big") + connection.gathered(length))

    def _reject(self, connection: Connection, refused: Refusal, counter: str) -> None:
        self._place.count(counter)
        self._complain("association_rejected", refused.text)
        connection.send(reject(refused.result, refused.source, refused.reason))
        connection.linger(_LINGER_S)

    def _complain(self, event: str, reason: str) -> None:
        """Log, but not once for each of ten thousand port scans."""
        with self._lock:
            now = time.monotonic()
            if now < self._complained_at + _COMPLAIN_S:
                self._unsaid += 1
                return
            unsaid, self._unsaid, self._complained_at = self._unsaid, 0, now
        log.warning(event, reason=reason, unsaid=unsaid)

    def _serve(self, connection: Connection, request: Request) -> None:
        self._place.count("associations")
        if not request.stores:
            other_services.serve(connection, request, self._entity)
            return
        try:
            answer, accepted = accept(request)
        except ProtocolViolation as problem:
            _abort(connection, problem)
            raise
        connection.enlarge()
        intake = self._config.intake
        association = StoreAssociation(
            connection,
            request,
            accepted,
            self._spool,
            Patience(intake.association_timeout_s, intake.pdu_timeout_s),
            self._place.count,
        )
        connection.send(answer)
        try:
            association.serve()
        finally:
            ended = association.closing()
            if ended is not None:
                with self._lock:
                    self._unrecorded.append(ended)
                self._record_endings()

    def _record_endings(self) -> None:
        """Write down how associations ended; what the disk refuses is tried again at the next call."""
        with self._lock:
            endings, self._unrecorded = self._unrecorded, []
        if not endings:
            return
        try:
            self._spool.record(endings)
        except NodeError as problem:
            log.error("association_not_closed", code=problem.code, associations=len(endings))
            with self._lock:
                self._unrecorded += endings
            return
        for ended in endings:
            log.info("association_closed", association=ended.id, how=ended.how)


def _abort(connection: Connection, problem: ProtocolViolation) -> None:
    connection.send(abort(problem.reason))
    connection.linger(_LINGER_S)


def _here(target: object, *arguments: object) -> partial[None]:
    """The target in this thread's logging context: log lines of other threads then say which process they come from."""
    return partial(contextvars.copy_context().run, target, *arguments)  # type: ignore[arg-type]


def _name_of(problem: OSError) -> str:
    return getattr(problem, "reason", None) or type(problem).__name__
