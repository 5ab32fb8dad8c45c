"""One association that stores, from its acceptance to its end: bytes go from the socket to the spool, undecoded.

pynetdicom's own data path moves every PDU through two threads and several queues and objects; this one loop reads large
blocks and writes fragments as they come (PS3.8 9.3.5, PS3.7 9.3.1). Memory is one buffer, however large the instance.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dicom_node import faults, logs
from dicom_node.archive.model import AssociationClosed, AssociationOpened, Entry, InstanceReceived
from dicom_node.dicom.file_meta import file_start
from dicom_node.errors import LedgerError, NodeError, StorageFailed, StorageFull, UnreadableFile
from dicom_node.net import command_set
from dicom_node.net.command_set import Command, CommandField
from dicom_node.net.connection import Connection, PeerLeft, PeerSilent
from dicom_node.net.negotiation import Accepted, Request, is_verification
from dicom_node.net.pdu import (
    COMMAND,
    LAST,
    PDU_CEILING,
    RELEASE_RP,
    SHORT_LENGTH,
    AbortReason,
    Pdu,
    ProtocolViolation,
    abort,
    command_message,
)
from dicom_node.net.spool import Spool, SpoolFile, SpoolNames

log = logs.get("net.receiver")

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
INVALID_INSTANCE: Final = 0x0117
CLASS_NOT_SUPPORTED: Final = 0x0122
UNRECOGNISED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
_LINGER_S: Final = 2.0


@dataclass(frozen=True)
class Patience:
    """Longest waits [s]: for the next PDU, for the rest of one that has begun."""

    idle_s: float
    pdu_s: float


@dataclass
class _Message:
    """The message that is coming in; `command` is set once its command set is whole."""

    context_id: int
    encoded: bytearray
    command: Command | None = None
    data: _DataSet | None = None


class StoreAssociation:
    """Serves one accepted association.

    Attributes:
        ledger_id: its name in the journal, None until something of it may be there: C-ECHO probes leave no trace.
        ending: `released`, `aborted` or `lost`, once `serve` has returned.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        accepted: Mapping[int, Accepted],
        spool: Spool,
        patience: Patience,
        count: Callable[[str, int], None],
    ) -> None:
        """Nothing is read or sent yet.

        Args:
            connection: on which the A-ASSOCIATE-AC has been sent.
            request: who asked for what.
            accepted: contexts by ID.
            spool: where instances go.
            patience: deadlines.
            count: adds to a counter of `net.board`.
        """
        self.ledger_id: str | None = None
        self.ending = "lost"
        self._connection = connection
        self._request = request
        self._accepted = accepted
        self._spool = spool
        self._names = SpoolNames(spool)
        self._patience = patience
        self._count = count
        self._message: _Message | None = None
        self._opened = False

    def serve(self) -> None:
        """Serve until the association ends in whatever way."""
        try:
            while self._pdu():
                continue
        except ProtocolViolation as problem:
            self.ending = "aborted"
            log.warning("association_broken", association=self.ledger_id, reason=str(problem))
            self._end(abort(problem.reason))
        except PeerSilent as problem:
            self._count("timeouts", 1)
            log.warning("association_timed_out", association=self.ledger_id, reason=str(problem))
            self._end(abort(AbortReason.NOT_SPECIFIED))
        except PeerLeft as problem:
            log.warning("association_lost", association=self.ledger_id, reason=str(problem))
        finally:
            if self._message is not None and self._message.data is not None:
                self._message.data.discard()
            self._names.close()
            if self.ending != "released":
                self._count("aborted", 1)

    def closing(self) -> AssociationClosed | None:
        """What the journal should say of its end; None where it has no beginning."""
        return None if self.ledger_id is None else AssociationClosed(self.ledger_id, self.ending, time.time())

    def _pdu(self) -> bool:
        """Take one PDU; False when it was the last."""
        kind, length = self._connection.header(self._patience.idle_s, self._patience.pdu_s)
        if kind == Pdu.P_DATA:
            self._p_data(length)
            return True
        if kind in (Pdu.RELEASE_RQ, Pdu.ABORT):
            if length != SHORT_LENGTH:
                raise ProtocolViolation("a release or abort of the wrong length", AbortReason.INVALID_VALUE)
            self._connection.exactly(length)
            self.ending = "aborted"
            if kind == Pdu.RELEASE_RQ:
                if self._message is not None:
                    raise ProtocolViolation("a release in the middle of a message", AbortReason.UNEXPECTED)
                self.ending = "released"
                self._end(RELEASE_RP)
            return False
        known = kind in (Pdu.ASSOCIATE_RQ, Pdu.ASSOCIATE_AC, Pdu.ASSOCIATE_RJ, Pdu.RELEASE_RP)
        reason = AbortReason.UNEXPECTED if known else AbortReason.UNRECOGNISED
        raise ProtocolViolation(f"a PDU of type {kind} that cannot come here", reason)

    def _p_data(self, length: int) -> None:
        if length > PDU_CEILING:
            raise ProtocolViolation(
                f"a P-DATA-TF of {length} bytes, at most {PDU_CEILING} allowed", AbortReason.INVALID_VALUE
            )
        connection = self._connection
        while length:
            if length < 6:
                raise ProtocolViolation("a P-DATA-TF with a cut item", AbortReason.INVALID_VALUE)
            head = connection.exactly(6)
            item, context_id, control = int.from_bytes(head[:4], "big"), head[4], head[5]
            if item < 2 or item + 4 > length:
                raise ProtocolViolation("a PDV longer than its PDU", AbortReason.INVALID_VALUE)
            length -= item + 4
            self._fragment(context_id, control, item - 2)

    def _fragment(self, context_id: int, control: int, size: int) -> None:
        message = self._message
        if message is None:
            if context_id not in self._accepted:
                raise ProtocolViolation("a message on a context that was not accepted", AbortReason.INVALID_VALUE)
            message = self._message = _Message(context_id, bytearray())
        elif message.context_id != context_id:
            raise ProtocolViolation("a message that changes its context", AbortReason.INVALID_VALUE)
        if bool(control & COMMAND) != (message.command is None):
            raise ProtocolViolation("command and data set fragments out of order", AbortReason.UNEXPECTED)
        if message.command is None:
            self._command_fragment(message, size)
            if control & LAST:
                self._command_complete(message)
        else:
            while size:
                piece = self._connection.some(size)
                size -= len(piece)
                if message.data is not None:
                    message.data.write(piece)
            if control & LAST:
                self._answer(message)

    def _command_fragment(self, message: _Message, size: int) -> None:
        if len(message.encoded) + size > command_set.LONGEST_COMMAND:
            raise ProtocolViolation("an endless command set", AbortReason.INVALID_VALUE)
        message.encoded += self._connection.exactly(size)

    def _command_complete(self, message: _Message) -> None:
        command = message.command = command_set.decode(message.encoded)
        if command.field == CommandField.C_CANCEL_RQ:
            self._message = None  # of something that is over already: nothing here takes long enough to cancel
            return
        if command.field == CommandField.C_STORE_RQ and not is_verification(self._accepted[message.context_id]):
            message.data = _DataSet(self._names, command, self._accepted[message.context_id].transfer_syntax)
        if not command.has_data_set:
            self._answer(message)

    def _answer(self, message: _Message) -> None:
        assert message.command is not None
        try:
            status = self._status(message, message.command)
        finally:
            if message.data is not None:
                message.data.discard_unless_kept()
        self._message = None
        faults.reach("receiver.recorded")
        self._connection.send(command_message(message.context_id, command_set.response(message.command, status)))
        faults.reach("receiver.answered")

    def _status(self, message: _Message, command: Command) -> int:
        if message.data is not None:
            return self._keep(message.data, command)
        verifies = is_verification(self._accepted[message.context_id])
        if command.field == CommandField.C_ECHO_RQ and verifies:
            return SUCCESS
        known = command.field in (CommandField.C_ECHO_RQ, CommandField.C_STORE_RQ)
        return CLASS_NOT_SUPPORTED if known else UNRECOGNISED_OPERATION

    def _keep(self, data: _DataSet, command: Command) -> int:
        try:
            file = data.complete()
            now = time.time()
            # Set before it is durable: intake may read an entry that the disk then refuses, and must hear of the end.
            name = self.ledger_id = self.ledger_id or uuid.uuid4().hex
            entries: list[Entry] = [InstanceReceived(name, file.path.name, command.sop_instance_uid, file.size, now)]
            if not self._opened:
                request = self._request
                address = self._connection.address
                entries.insert(0, AssociationOpened(name, request.calling_ae, request.called_ae, address, now))
            self._spool.record(entries)
        except NodeError as problem:
            status = status_of(problem)
            self._count("refused_storage", 1)
            log.error("instance_not_stored", code=problem.code, status=f"0x{status:04X}", reason=str(problem))
            return status
        data.kept = True
        if not self._opened:
            self._opened = True
            log.info("association_opened", association=name, calling_ae=self._request.calling_ae)
        self._count("instances", 1)
        self._count("bytes", file.size)
        return SUCCESS

    def _end(self, last_words: bytes) -> None:
        self._names.close()
        try:
            self._connection.send(last_words)
        except NodeError:
            return  # the peer has gone without waiting for them
        self._connection.linger(_LINGER_S)


class _DataSet:
    """The data set of one C-STORE on its way into the spool.

    Attributes:
        kept: whether the journal names its file.
    """

    def __init__(self, names: SpoolNames, command: Command, transfer_syntax: str) -> None:
        self.kept = False
        self._failure: NodeError | None = None
        self._file: SpoolFile | None = None
        self._start = b""
        if not (_is_plausible(command.sop_class_uid) and _is_plausible(command.sop_instance_uid)):
            self._failure = UnreadableFile("C-STORE request with an invalid SOP Class or Instance UID")
            return
        self._start = file_start(command.sop_class_uid, command.sop_instance_uid, transfer_syntax)
        try:
            self._file = names.create()
        except NodeError as problem:
            self._failure = problem

    def write(self, piece: memoryview) -> None:
        """Append a piece; after a failure the rest is thrown away, and the answer says why."""
        if self._failure is not None or self._file is None:
            return
        try:
            if self._start:
                self._file.write(self._start, piece)
                self._start = b""
            else:
                self._file.write(piece)
        except NodeError as problem:
            self._failure = problem

    def complete(self) -> SpoolFile:
        """The whole file, its content durable.

        Raises:
            UnreadableFile: the request was no good.
            StorageFull, StorageFailed: the disk refused.
        """
        if self._failure is not None:
            raise self._failure
        if self._file is None or self._start:
            raise UnreadableFile("C-STORE request without a data set")
        self._file.sync()
        return self._file

    def discard(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.discard()

    def discard_unless_kept(self) -> None:
        """Remove the file unless it counts."""
        if not self.kept:
            self.discard()


def status_of(problem: NodeError) -> int:
    """C-STORE status (PS3.4 B.2.3, PS3.7 C) that makes the sender do the right thing.

    A disk that is full or refuses is out of resources: senders try again later.
    """
    if isinstance(problem, StorageFull | StorageFailed | LedgerError):
        return OUT_OF_RESOURCES
    return INVALID_INSTANCE if isinstance(problem, UnreadableFile) else PROCESSING_FAILURE


def _is_plausible(uid: str) -> bool:
    """PS3.5 9.1, but leading zeros in components are let through: real devices send them."""
    return 0 < len(uid) <= 64 and all(part.isascii() and part.isdigit() for part in uid.split("."))
