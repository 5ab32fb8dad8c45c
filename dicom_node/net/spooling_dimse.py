"""A DIMSE provider that streams C-STORE data sets into the spool, fragment by fragment, never decoding them.

Memory stays at one PDU for each association however large the instance, and a disk that fills up in the middle of a
data set becomes a status of that one C-STORE instead of the end of the association.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.uid import UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.pdu_primitives import P_DATA

from dicom_node import logs
from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import NodeError, UnreadableFile
from dicom_node.net.spool import Spool, SpoolFile

if TYPE_CHECKING:
    from pynetdicom.association import Association

_COMMAND = 0b01
_PREAMBLE = b"\x00" * 128 + b"DICM"

log = logs.get("net.receiver")


class ReceivedDataSet(BytesIO):
    """Stands where the DIMSE layer keeps a data set, and writes to the spool instead of memory.

    Attributes:
        failure: the first thing that went wrong; what comes after it is thrown away.
        file: the spool file, None when it could not be made.
        size: bytes of the data set so far.
    """

    def __init__(self, spool: Spool, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str | None) -> None:
        super().__init__()
        self.failure: NodeError | None = None
        self.file: SpoolFile | None = None
        self.size = 0
        if not (_is_plausible(sop_class_uid) and _is_plausible(sop_instance_uid) and transfer_syntax):
            self.failure = UnreadableFile("C-STORE request with an invalid SOP Class or Instance UID")
            return
        meta = create_file_meta(
            sop_class_uid=UID(sop_class_uid),
            sop_instance_uid=UID(sop_instance_uid),
            transfer_syntax=UID(transfer_syntax),
            implementation_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
        )
        try:
            self.file = spool.create()
            self.file.write(_PREAMBLE + encode_file_meta(meta))
        except NodeError as problem:
            self.failure = problem

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append a fragment; a failure is kept for the C-STORE handler."""
        self.size += len(data)
        if self.failure is None and self.file is not None:
            try:
                self.file.write(data)
            except NodeError as problem:
                self.failure = problem
        return len(data)

    def discard(self) -> None:
        """Remove what was written."""
        if self.file is not None:
            self.file.discard()


class SpoolingDimse(DIMSEServiceProvider):
    """Sends the data set of each C-STORE request to a `ReceivedDataSet`."""

    def __init__(self, assoc: Association, spool: Spool) -> None:
        super().__init__(assoc)
        self._spool = spool
        self._partial: ReceivedDataSet | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA indication, which may hold the end of a command and the start of its data set."""
        for context_id, fragment in primitive.presentation_data_value_list:
            single = P_DATA()
            single.presentation_data_value_list.append((context_id, fragment))
            try:
                super().receive_primitive(single)
            except Exception as problem:  # noqa: BLE001  a command set can be wrong in any way; the peer is told to stop
                log.error("message_not_readable", code=type(problem).__name__)
                self.message = None
                self.dul.event_queue.put("Evt19")  # PS3.8 9.2.2: an unexpected PDU, answered by A-ABORT
                return
            if self.message is None:
                self._partial = None
            elif fragment[0] & _COMMAND and isinstance(self.message, C_STORE_RQ):
                self._partial = self.message.data_set = self._new_data_set(context_id)

    def discard_unfinished(self) -> None:
        """Remove files of requests that were cut off or never served. Called when the association is over."""
        if self._partial is not None:
            self._partial.discard()
        while not self.msg_queue.empty():
            _, message = self.msg_queue.get_nowait()
            data_set = getattr(message, "DataSet", None)
            if isinstance(data_set, ReceivedDataSet):
                data_set.discard()

    def _new_data_set(self, context_id: int) -> ReceivedDataSet:
        command = self.message.command_set  # type: ignore[union-attr]
        context = self.assoc._accepted_cx.get(context_id)
        return ReceivedDataSet(
            self._spool,
            str(command.get("AffectedSOPClassUID") or ""),
            str(command.get("AffectedSOPInstanceUID") or ""),
            str(context.transfer_syntax[0]) if context else None,
        )


def _is_plausible(uid: str) -> bool:
    """PS3.5 9.1, but leading zeros in components are let through: real devices send them."""
    return 0 < len(uid) <= 64 and all(part.isascii() and part.isdigit() for part in uid.split("."))
