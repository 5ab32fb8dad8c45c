"""Scripted DICOM peers on loopback for tests: a PACS that misbehaves on cue, and a scanner."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseServer
from types import MappingProxyType, TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket, RequestHandler, ThreadedAssociationServer

_VERIFICATION = "1.2.840.10008.1.1"
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_SUCCESS = 0x0000
_PENDING = 0xFF00


@dataclass(frozen=True)
class Script:
    """How a `ScriptedScp` behaves. C-STORE requests are counted from 0 over all associations.

    Attributes:
        refuse: reject every association.
        statuses: status for the k-th C-STORE; the others succeed.
        abort_at: abort the association instead of answering the k-th C-STORE, once.
        always_abort_from: abort at every C-STORE from the k-th on.
        hang_from: never answer the k-th C-STORE and those after it.
        transfer_syntaxes: accepted ones.
        sop_classes: accepted storage classes, None for all.
        find: offer C-FIND at study root.
        lists_instances: name the SOP Instance UID in C-FIND answers at IMAGE level.
        forgets: SOP Instance UIDs that C-FIND does not report although they were stored.
    """

    refuse: bool = False
    statuses: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    abort_at: int | None = None
    always_abort_from: int | None = None
    hang_from: int | None = None
    transfer_syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    sop_classes: tuple[str, ...] | None = None
    find: bool = True
    forgets: frozenset[str] = frozenset()
    lists_instances: bool = True


class ScriptedScp:
    """A storage SCP that follows a `Script`; use it as a context manager.

    Attributes:
        ae_title: its AE title.
        port: the loopback port, chosen by the system.
        requests: SOP Instance UID of every C-STORE request, in order.
        stored: the data sets answered with success or a warning, by SOP Instance UID.
        syntaxes: transfer syntax in which each was received.
    """

    def __init__(self, script: Script | None = None, ae_title: str = "SCRIPTED") -> None:
        self.script = script or Script()
        self.ae_title = ae_title
        self.port = 0
        self.requests: list[str] = []
        self.stored: dict[str, Dataset] = {}
        self.syntaxes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server: Any = None

    def __enter__(self) -> Self:
        """Start to listen."""
        ae = AE(ae_title=self.ae_title)
        ae.maximum_pdu_size = 131072
        ae.supported_contexts = self._contexts()
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
        ]
        self._server = ae.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=_ClosingServer)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: hanging requests are let go, associations aborted."""
        self._stopped.set()
        for association in self._server.active_associations:
            association.abort()
        BaseServer.shutdown(self._server)
        self._server.server_close()

    def save(self, folder: Path) -> list[Path]:
        """Write everything stored as DICOM files, named by order of arrival."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        with self._lock:
            for number, (uid, data) in enumerate(self.stored.items(), start=1):
                data.file_meta = FileMetaDataset()
                data.file_meta.TransferSyntaxUID = UID(self.syntaxes[uid])
                paths.append(folder / f"{number:05d}.dcm")
                data.save_as(paths[-1], enforce_file_format=True)
        return paths

    def _contexts(self) -> list[PresentationContext]:
        classes = self.script.sop_classes
        storage = [str(c.abstract_syntax) for c in AllStoragePresentationContexts] if classes is None else list(classes)
        contexts = [build_context(name, list(self.script.transfer_syntaxes)) for name in storage]
        contexts.append(build_context(_VERIFICATION))
        if self.script.find:
            contexts.append(build_context(_STUDY_ROOT_FIND))
        return contexts

    def _on_request(self, event: evt.Event) -> None:
        if self.script.refuse:
            event.assoc.acse.send_reject(0x01, 0x01, 0x01)
            event.assoc.kill()

    def _on_store(self, event: evt.Event) -> int:
        script = self.script
        data = event.dataset
        uid = str(data.SOPInstanceUID)
        with self._lock:
            number = len(self.requests)
            self.requests.append(uid)
        if number == script.abort_at or (script.always_abort_from is not None and number >= script.always_abort_from):
            event.assoc.abort()
            return _SUCCESS
        if script.hang_from is not None and number >= script.hang_from:
            self._stopped.wait()
            return 0xA700
        status = script.statuses.get(number, _SUCCESS)
        if status == _SUCCESS or status >> 12 == 0xB:
            with self._lock:
                self.stored[uid] = data
                self.syntaxes[uid] = str(event.context.transfer_syntax)
        return status

    def _on_find(self, event: evt.Event) -> Iterable[tuple[int, Dataset | None]]:
        wanted = str(event.identifier.get("SeriesInstanceUID", ""))
        with self._lock:
            matches = [d for uid, d in self.stored.items() if uid not in self.script.forgets]
        for data in matches:
            if str(data.SeriesInstanceUID) == wanted:
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                named = ("SOPInstanceUID",) if self.script.lists_instances else ()
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", *named):
                    setattr(answer, keyword, data[keyword].value)
                yield _PENDING, answer


class ScriptedScu:
    """A scanner on loopback that remembers what was acknowledged.

    Attributes:
        statuses: (SOP Instance UID, status) of every answer that really arrived, in order.
    """

    def __init__(self, port: int, *, called_ae: str = "CORRECTOR", calling_ae: str = "SCANNER") -> None:
        self.statuses: list[tuple[str, int]] = []
        self._port = port
        self._called = called_ae
        self._calling = calling_ae

    def echo(self) -> bool:
        """Whether the peer answers a C-ECHO."""
        association = self._associate([build_context(_VERIFICATION)])
        if not association.is_established:
            return False
        answer = association.send_c_echo()
        association.release()
        return getattr(answer, "Status", None) == _SUCCESS

    def accepted(self, contexts: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of some (abstract syntax, transfer syntax) the peer accepts."""
        association = self._associate([build_context(name, syntax) for name, syntax in contexts])
        found = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        association.release()
        return found

    def store(self, paths: Sequence[Path]) -> bool:
        """Send files over one association until the peer fails; whether every file got an answer."""
        association = self._associate(_contexts_of(paths))
        if not association.is_established:
            return False
        for path in paths:
            data = dcmread(path)
            try:
                answer = association.send_c_store(data)
            except RuntimeError:
                answer = Dataset()
            if "Status" not in answer:
                return False
            _let_reactor_run(association)
            self.statuses.append((str(data.SOPInstanceUID), int(answer.Status)))
        association.release()
        return True

    def store_bytes(
        self, sop_class_uid: str, sop_instance_uid: str, body: bytes, *, sent: int | None = None
    ) -> int | None:
        """C-STORE of an arbitrary encoded data set in Explicit VR Little Endian.

        Args:
            sop_class_uid: of the command; a private one is fine.
            sop_instance_uid: of the command, sent as it is even when it is no UID.
            body: the encoded data set, which need not be DICOM.
            sent: stop after this many bytes and drop the connection without a word; None sends everything.

        Returns:
            The status, None without an answer.
        """
        association = self._associate([build_context(sop_class_uid, ExplicitVRLittleEndian)])
        context = association.accepted_contexts[0]
        request = C_STORE()
        request.MessageID = 1
        request.Priority = 2
        request.AffectedSOPClassUID = sop_class_uid
        # The library refuses to encode what is no UID: a valid one of the same length takes its place for a moment.
        placeholder = "1" * len(sop_instance_uid)
        request.AffectedSOPInstanceUID = placeholder
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        connection = association.dul.socket.socket  # type: ignore[union-attr]
        command = next(iter(message.encode_msg(context.context_id, 16384))).presentation_data_value_list[0][1]  # type: ignore[arg-type]
        command = command.replace(placeholder.encode(), sop_instance_uid.encode())
        command = command.replace(struct.pack("<HHLH", 0, 0x0800, 2, 0x0101), struct.pack("<HHLH", 0, 0x0800, 2, 1))
        pieces = [body[i : i + 16000] for i in range(0, len(body), 16000)] or [b""]
        pdus = [_pdu(context.context_id, command)]  # type: ignore[arg-type]
        pdus += [_pdu(context.context_id, bytes([0x02 if p is pieces[-1] else 0]) + p) for p in pieces]  # type: ignore[arg-type]
        stream = b"".join(pdus)
        association._reactor_checkpoint.clear()
        if sent is not None:
            connection.sendall(stream[: len(pdus[0]) + sent])  # type: ignore[union-attr]
            connection.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
            association.abort()
            return None
        connection.sendall(stream)  # type: ignore[union-attr]
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        association.release()
        status = getattr(answer, "Status", None)
        if status is not None:
            self.statuses.append((sop_instance_uid, int(status)))
        return status

    def _associate(self, contexts: list[PresentationContext]) -> Association:
        ae = _ClosingEntity(ae_title=self._calling)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        return ae.associate("127.0.0.1", self._port, contexts=contexts, ae_title=self._called)


class _ClosingSocket(AssociationSocket):
    """Closes its descriptor also when the peer refused or reset the connection, which the library forgets."""

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _ClosingHandler(RequestHandler):
    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.socket.__class__ = _ClosingSocket
        return association


class _ClosingServer(ThreadedAssociationServer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "request_handler": _ClosingHandler})


class _ClosingEntity(AE):
    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        return _ClosingSocket(assoc, address=address)


def _let_reactor_run(association: Association) -> None:
    """Wait until the library's reactor has left its last pause.

    A request that begins before takes that pause for its own, and the reactor then steals a quick answer.
    """
    end = time.monotonic() + 0.05
    while association._is_paused and time.monotonic() < end:
        time.sleep(0.0001)


def _contexts_of(paths: Sequence[Path]) -> list[PresentationContext]:
    headers = [dcmread(p, stop_before_pixels=True) for p in paths]
    pairs = dict.fromkeys((str(h.SOPClassUID), str(h.file_meta.TransferSyntaxUID)) for h in headers)
    return [build_context(name, syntax) for name, syntax in pairs]


def _pdu(context_id: int, fragment: bytes) -> bytes:
    """P-DATA-TF with one presentation data value (PS3.8 9.3.5)."""
    value = struct.pack(">LB", len(fragment) + 1, context_id) + fragment
    return struct.pack(">BBL", 4, 0, len(value)) + value
