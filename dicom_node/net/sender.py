"""`Sender`: C-ECHO, C-STORE with a status for each instance, and C-FIND to see what really arrived."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext

from dicom_node import logs
from dicom_node.config import PeerSection
from dicom_node.errors import DeliveryError, PeerBusy, PeerUnreachable, UnreadableFile
from dicom_node.net import requestor
from dicom_node.net.storage_classes import VERIFICATION
from dicom_node.net.transcoding import FALLBACKS, transcode

log = logs.get("net.sender")

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
NOT_ACCEPTED = 0x0122
"""Recorded for an instance whose SOP class the peer takes in no context (PS3.7 C.5: SOP class not supported)."""
_MOST_CONTEXTS = 127
_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)

OnStatus = Callable[[str, int], None]


def is_stored(status: int) -> bool:
    """Whether a C-STORE status means that the peer has the instance: success or warning (PS3.4 B.2.3, PS3.7 C)."""
    return status in (_SUCCESS, 0x0001, 0x0107, 0x0116) or status >> 12 == 0xB


def is_out_of_resources(status: int) -> bool:
    """Whether a C-STORE status asks to come back later."""
    return status >> 8 == 0xA7


@dataclass(frozen=True)
class Outgoing:
    """One file to be sent."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class Verification:
    """What a peer says it has.

    Attributes:
        text: for the ledger, `c-find N of N` or `status only` with the reason.
        missing: SOP Instance UIDs that were acknowledged but that the peer does not list.
    """

    text: str
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Encoded:
    """A file, its transfer syntax, and where its data set begins."""

    outgoing: Outgoing
    syntax: UID
    offset: int


class Sender:
    """Sends to one peer, one association at a time. Holds no connection between calls."""

    def __init__(self, peer: PeerSection, our_ae: str) -> None:
        self._peer = peer
        self._our_ae = our_ae

    def echo(self) -> None:
        """C-ECHO.

        Raises:
            PeerUnreachable: no association, or no success.
        """
        with requestor.association(self._peer, self._our_ae, [build_context(VERIFICATION)]) as found:
            answer = found.send_c_echo() if found.accepted_contexts else Dataset()
            if answer.get("Status") != _SUCCESS:
                raise PeerUnreachable(f"{self._name}: no answer to C-ECHO")

    def send(self, files: Sequence[Outgoing], on_status: OnStatus) -> None:
        """C-STORE files in the given order.

        Args:
            files: what to send.
            on_status: called with SOP Instance UID and status as soon as the peer has answered for it. An instance
                whose SOP class the peer takes in no context gets `NOT_ACCEPTED` and the rest is sent all the same.

        Raises:
            PeerUnreachable: no association, or the peer broke it off after at least one instance went through.
            PeerBusy: the peer is out of resources.
            DeliveryError: the peer broke off at the first instance it was given.
            UnreadableFile: a file is damaged.
        """
        encoded = [_open(file) for file in files]
        for batch, contexts in _associations(encoded):
            with requestor.association(self._peer, self._our_ae, contexts) as found:
                self._send_batch(found, batch, on_status)

    def verify(self, series_uid: str, study_uid: str, expected: Collection[str]) -> Verification:
        """Ask by C-FIND at study root, level IMAGE, which instances of a series the peer has (PS3.4 C.4.1, C.6.2).

        Args:
            series_uid: Series Instance UID.
            study_uid: its Study Instance UID, which hierarchical queries need.
            expected: SOP Instance UIDs that were sent.

        Returns:
            `status only` where the peer offers no C-FIND, answers it with a failure, or lists no instances.

        Raises:
            PeerUnreachable: no association, or it broke off.
        """
        if not self._peer.verify:
            return Verification("status only: verify is off for this peer")
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = study_uid
        query.SeriesInstanceUID = series_uid
        query.SOPInstanceUID = ""
        contexts = [build_context(STUDY_ROOT_FIND), build_context(VERIFICATION)]
        with requestor.association(self._peer, self._our_ae, contexts) as found:
            if all(context.abstract_syntax != STUDY_ROOT_FIND for context in found.accepted_contexts):
                return Verification("status only: the peer offers no C-FIND")
            try:
                present = self._matches(found, query)
            except _FindRefusedError as refusal:
                return Verification(f"status only: the peer answered C-FIND with 0x{refusal.status:04X}")
        if present is None:
            return Verification("status only: the peer does not list instances")
        missing = frozenset(expected) - present
        return Verification(f"c-find {len(expected) - len(missing)} of {len(expected)}", missing)

    @property
    def _name(self) -> str:
        return f"peer {self._peer.ae_title} at {self._peer.host}:{self._peer.port}"

    def _matches(self, found: Association, query: Dataset) -> frozenset[str] | None:
        """SOP Instance UIDs that the peer lists, None when it answers but names no instance."""
        present, answers = set(), 0
        for status, answer in found.send_c_find(query, STUDY_ROOT_FIND):
            code = status.get("Status")
            if code is None:
                raise PeerUnreachable(f"{self._name}: no answer to C-FIND within {self._peer.timeout_s:g} s")
            if code in _PENDING:
                answers += 1
                if answer is not None and "SOPInstanceUID" in answer:
                    present.add(str(answer.SOPInstanceUID))
            elif code != _SUCCESS:
                raise _FindRefusedError(int(code))
        return frozenset(present) if present or not answers else None

    def _send_batch(self, found: Association, batch: Sequence[_Encoded], on_status: OnStatus) -> None:
        accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])): c for c in found.accepted_contexts}
        through = 0
        for number, one in enumerate(batch):
            file = one.outgoing
            context = _choose(accepted, one)
            if context is None:
                log.warning("sop_class_not_accepted", peer=self._peer.ae_title, sop_class_uid=file.sop_class_uid)
                on_status(file.sop_instance_uid, NOT_ACCEPTED)
                continue
            status = self._store(found, context, number, one)
            if status is None:
                message = f"{self._name}: broke off at C-STORE {number + 1} of {len(batch)}, {through} went through"
                raise PeerUnreachable(message) if through else DeliveryError(message)
            on_status(file.sop_instance_uid, status)
            if is_out_of_resources(status):
                raise PeerBusy(f"{self._name}: out of resources (0x{status:04X}) at {number + 1} of {len(batch)}")
            through += is_stored(status)

    def _store(self, found: Association, context: PresentationContext, number: int, one: _Encoded) -> int | None:
        file, target = one.outgoing, UID(context.transfer_syntax[0])
        instance = (file.sop_class_uid, file.sop_instance_uid)
        if target == one.syntax:
            return requestor.store(found, context, number, instance, file.path, one.offset)
        return requestor.store(found, context, number, instance, transcode(file.path, target))


class _FindRefusedError(Exception):
    """The peer answered C-FIND with a failure."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _open(file: Outgoing) -> _Encoded:
    try:
        meta, offset = split_dataset(file.path)
        return _Encoded(file, UID(meta.TransferSyntaxUID), offset)
    except (OSError, AttributeError, ValueError, InvalidDicomError) as problem:
        raise UnreadableFile(f"{file.path}: no DICOM file to send ({type(problem).__name__})") from problem


def _wanted(one: _Encoded) -> list[tuple[str, str]]:
    """Own syntax first, then what it may be transcoded to; a context for each, so that the peer cannot choose worse."""
    return [(one.outgoing.sop_class_uid, str(s)) for s in dict.fromkeys((one.syntax, *FALLBACKS))]


def _associations(files: Sequence[_Encoded]) -> Iterator[tuple[list[_Encoded], list[PresentationContext]]]:
    """Files in order, cut where an association would need more than 128 contexts (PS3.8 9.3.2.2).

    Verification comes along: with no context accepted at all there would be no association to say so.
    """
    batch: list[_Encoded] = []
    pairs: dict[tuple[str, str], None] = {}
    for one in files:
        more = dict.fromkeys(_wanted(one))
        if len(pairs | more) > _MOST_CONTEXTS:
            yield batch, [build_context(VERIFICATION), *(build_context(*pair) for pair in pairs)]
            batch, pairs = [], {}
        batch.append(one)
        pairs |= more
    if batch:
        yield batch, [build_context(VERIFICATION), *(build_context(*pair) for pair in pairs)]


def _choose(accepted: dict[tuple[str, str], PresentationContext], one: _Encoded) -> PresentationContext | None:
    return next((accepted[pair] for pair in _wanted(one) if pair in accepted), None)
