"""A receiver: C-ECHO and C-STORE on a port that several processes share, one receiver in each.

An instance is answered 0x0000 only when its file is durable in the spool and its row is committed.
"""

from __future__ import annotations

import contextvars
import queue
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import cast

from pynetdicom import AE, evt

from dicom_node import logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Received
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import LedgerError, NodeError, RequestError, StorageFull, UnreadableFile
from dicom_node.net.acceptor import SharedPortServer, StoringAssociation
from dicom_node.net.spool import Spool
from dicom_node.net.spooling_dimse import ReceivedDataSet
from dicom_node.net.transport import MAXIMUM_PDU

log = logs.get("net.receiver")

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
PROCESSING_FAILURE = 0x0110
INVALID_INSTANCE = 0x0117
_ALL_ROWS = 10_000_000
_AFTER_ABORT_S = 10.0


class Receiver:
    """Serves one socket until told to stop.

    Attributes:
        token: name of this receiver in the rows of its associations; that of its spool.
    """

    def __init__(self, config: Config, database: Database, index: ArchiveIndex, spool: Spool) -> None:
        self.token = spool.token
        self._config = config
        self._database = database
        self._index = index
        self._spool = spool
        self._ended: queue.Queue[tuple[str, str, float]] = queue.Queue()
        self._server: SharedPortServer | None = None

    def recover(self) -> None:
        """Clean up after receivers that are gone: their orphans, and their associations that never ended.

        Raises:
            LedgerError: the database cannot be reached.
        """
        self._spool.sweep(self._bury)

    def open(self) -> None:
        """Bind the port and start to accept.

        Raises:
            RequestError: the address cannot be bound.
        """
        node, intake = self._config.node, self._config.intake
        ae = AE(ae_title=node.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = MAXIMUM_PDU
        ae.maximum_associations = intake.max_associations
        ae.network_timeout = intake.association_timeout_s
        ae.acse_timeout = min(30.0, intake.association_timeout_s)
        ae.dimse_timeout = intake.association_timeout_s
        try:
            self._server = SharedPortServer(ae, (node.host, node.port), self._spool, self._store, self._over)
        except OSError as problem:
            raise RequestError(f"cannot listen on {node.host}:{node.port}: {problem.strerror}") from problem
        # With the context, log lines of the threads say which process they come from.
        serve = partial(contextvars.copy_context().run, self._server.serve_forever, 0.2)
        threading.Thread(target=serve, daemon=True).start()
        log.info("receiver_listening", host=node.host, port=node.port, ae_title=node.ae_title, receiver=self.token)

    def serve(self, stop: threading.Event) -> None:
        """Accept until `stop`, then let running associations finish for `node.drain_s`, then abort them."""
        server = self._server
        if server is None:
            raise RuntimeError("open() comes first")
        while not stop.is_set():
            self._close_rows(wait_s=0.1)
        server.stop_accepting()
        end = time.monotonic() + self._config.node.drain_s
        while server.associations() and time.monotonic() < end:
            self._close_rows(wait_s=0.05)
        for association in server.associations():
            log.warning("association_aborted_by_drain")
            association.abort()
        end = time.monotonic() + _AFTER_ABORT_S
        while server.associations() and time.monotonic() < end:
            self._close_rows(wait_s=0.05)
        self._close_rows(wait_s=0)
        log.info("receiver_stopped", receiver=self.token)

    def _bury(self, token: str) -> set[Path]:
        """Close the associations of a writer that is gone, and tell which of its files have an unfiled row."""
        with self._database.begin() as tx:
            self._index.close_associations_of(tx, token, time.time())
            return {r.path for r in self._index.unfiled(tx, _ALL_ROWS) if r.path.stem.partition("-")[0] == token}

    def _store(self, event: evt.Event) -> int:
        data_set = getattr(event.request, "DataSet", None)
        if not isinstance(data_set, ReceivedDataSet):
            return PROCESSING_FAILURE
        try:
            self._keep(cast(StoringAssociation, event.assoc), data_set)
        except NodeError as problem:
            data_set.discard()
            status = _status_of(problem)
            log.error("instance_not_stored", code=problem.code, status=f"0x{status:04X}", reason=str(problem))
            return status
        except BaseException:
            data_set.discard()
            raise
        return SUCCESS

    def _keep(self, association: StoringAssociation, data_set: ReceivedDataSet) -> None:
        if data_set.failure is not None:
            raise data_set.failure
        if data_set.file is None or data_set.size == 0:
            raise UnreadableFile("C-STORE request without a data set")
        path = data_set.file.commit()
        now = time.time()
        with self._database.begin() as tx:
            # The row of the association is made with its first instance: C-ECHO probes leave no trace.
            ledger_id = association.ledger_id or self._index.open_association(
                tx,
                calling_ae=association.requestor.ae_title.strip(),
                called_ae=association.acceptor.ae_title.strip(),
                address=str(association.requestor.address),
                receiver=self.token,
                now=now,
            )
            self._index.record_received(tx, Received(id=0, path=path, association_id=ledger_id, received_at=now))
        if association.ledger_id is None:
            log.info("association_opened", association=ledger_id, calling_ae=association.requestor.ae_title.strip())
        association.ledger_id = ledger_id

    def _over(self, association: StoringAssociation) -> None:
        if association.ledger_id is not None:
            self._ended.put((association.ledger_id, association.ending, time.time()))

    def _close_rows(self, wait_s: float) -> None:
        """Write down how associations ended; what the database refuses is tried again at the next call."""
        refused = []
        try:
            while True:
                ended = self._ended.get(timeout=wait_s) if wait_s else self._ended.get_nowait()
                wait_s = 0
                association_id, how, now = ended
                try:
                    with self._database.begin() as tx:
                        self._index.close_association(tx, association_id, how, now)
                    log.info("association_closed", association=association_id, how=how)
                except LedgerError as problem:
                    log.error("association_not_closed", association=association_id, code=problem.code)
                    refused.append(ended)
        except queue.Empty:
            for ended in refused:
                self._ended.put(ended)


def check_port(host: str, port: int) -> None:
    """Refuse to start beside another program: SO_REUSEPORT would silently share the port with another node.

    Raises:
        RequestError: something else listens there, or the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise RequestError(f"cannot listen on {host}:{port}: {problem.strerror}") from problem


def _status_of(problem: NodeError) -> int:
    """C-STORE status (PS3.4 B.2.3, PS3.7 C) that makes the sender do the right thing.

    A full disk and a database that cannot be reached are out of resources: senders try again later.
    """
    if isinstance(problem, StorageFull | LedgerError):
        return OUT_OF_RESOURCES
    return INVALID_INSTANCE if isinstance(problem, UnreadableFile) else PROCESSING_FAILURE
