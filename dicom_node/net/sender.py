"""`Sender`: C-ECHO, C-STORE with a status for each instance, and C-FIND to see what really arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext

from dicom_node import logs
from dicom_node.config import PeerSection
from dicom_node.errors import InstanceNotTaken, PeerBusy, PeerUnreachable, UnreadableFile
from dicom_node.jobs.verified import FIND_FAILED
from dicom_node.net import requestor, store_line
from dicom_node.net.storage_classes import VERIFICATION
from dicom_node.net.store_line import BrokeOff, StoreLine
from dicom_node.net.transcoding import FALLBACKS, transcode
from dicom_node.net.witness import Witness

log = logs.get("net.sender")

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
NOT_ACCEPTED = 0x0122
"""Recorded for an instance whose SOP class the peer takes in no context (PS3.7 C.5: SOP class not supported)."""
_MOST_CONTEXTS = 127
_SPARE_MATCHES = 100
"""Answers to C-FIND allowed beyond what was sent."""
_MOST_TIMEOUTS = 10
"""All answers to a C-FIND together may take this many timeouts of the peer."""
_MOST_BARREN = 2
"""Associations in a row on which the peer broke off at the first instance it was given: it is the peer."""
_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)

OnStatus = Callable[[str, int], None]


def is_stored(status: int) -> bool:
    """Whether a C-STORE status means that the peer has the instance: success or warning (PS3.4 B.2.3, PS3.7 C).

    So does 0x0111, duplicate SOP instance: our UIDs are hashes of what they name, and an answer may have got lost.
    """
    return status in (_SUCCESS, 0x0001, 0x0107, 0x0111, 0x0116) or status >> 12 == 0xB


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
class _Progress:
    """What became of one association.

    Attributes:
        done: files that need not be sent again, from the first on.
        answered: of these, C-STOREs that the peer answered.
        broke_off: what the peer did instead of answering for the next one, None when nothing went wrong.
    """

    done: int
    answered: int
    broke_off: str | None


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
        try:
            with requestor.association(self._peer, self._our_ae, [build_context(VERIFICATION)]) as found:
                answer = found.send_c_echo()
        except (RuntimeError, ValueError) as problem:
            # pynetdicom's: the peer was quicker than the request, or accepted no context for it.
            raise PeerUnreachable(f"{self._name}: accepts no C-ECHO") from problem
        if answer.get("Status") != _SUCCESS:
            raise PeerUnreachable(f"{self._name}: no answer to C-ECHO")

    def send(self, files: Sequence[Outgoing], on_status: OnStatus, witness: Witness | None = None) -> None:
        """C-STORE files in the given order.

        Where the peer breaks off at an instance, the others go first, on a new association, and that one last, alone.

        Args:
            files: what to send.
            on_status: called with SOP Instance UID and status as soon as the peer has answered for it. An instance
                whose SOP class the peer takes in no context gets `NOT_ACCEPTED` and the rest is sent all the same.
            witness: what is known of this peer.

        Raises:
            PeerUnreachable: no association, or the peer broke off and nothing shows that an instance is to blame.
            PeerBusy: the peer is out of resources.
            InstanceNotTaken: the peer breaks off at an instance, and takes the others.
            UnreadableFile: a file is damaged.
        """
        witness = witness or Witness()
        waiting = [_open(file) for file in files]
        put_off: list[_Encoded] = []
        not_taken: list[tuple[str, str]] = []
        barren = 0
        while waiting:
            progress = self._associate(waiting, on_status, witness)
            del waiting[: progress.done]
            if progress.broke_off is None:
                continue
            one = waiting.pop(0)
            uid = one.outgoing.sop_instance_uid
            log.warning("peer_broke_off", peer=self._peer.ae_title, sop_instance_uid=uid, reason=progress.broke_off)
            if witness.broke_off(uid, first=not progress.answered):
                not_taken.append((uid, progress.broke_off))
                continue
            put_off.append(one)
            barren = 0 if progress.answered else barren + 1
            if barren == _MOST_BARREN:
                raise PeerUnreachable(f"{self._name}: {progress.broke_off} at each instance that it was given")
            last = progress.broke_off
        for one in put_off:
            uid = one.outgoing.sop_instance_uid
            if not witness.took_others_since(uid):
                raise PeerUnreachable(f"{self._name}: {last} at instance {uid}")
            progress = self._associate([one], on_status, witness)
            if progress.broke_off is not None and witness.broke_off(uid, first=True):
                not_taken.append((uid, progress.broke_off))
        if not_taken:
            uid, reason = not_taken[0]
            more = f" (and {len(not_taken) - 1} more)" if len(not_taken) > 1 else ""
            raise InstanceNotTaken(f"{self._name}: {reason} each time at instance {uid}{more}, and takes others")

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
        try:
            with requestor.association(self._peer, self._our_ae, contexts) as found:
                if all(context.abstract_syntax != STUDY_ROOT_FIND for context in found.accepted_contexts):
                    return Verification("status only: the peer offers no C-FIND")
                try:
                    present = self._matches(found, query, 2 * len(expected) + _SPARE_MATCHES)
                except _FindRefusedError as refusal:
                    return Verification(f"status only: {FIND_FAILED} with 0x{refusal.status:04X}")
        except _EndlessFindError:
            return Verification(f"status only: {FIND_FAILED}, the peer answers without end")
        except RuntimeError as problem:
            # pynetdicom's: the peer was quicker than the request.
            raise PeerUnreachable(f"{self._name}: ended the association before C-FIND") from problem
        if present is None:
            return Verification("status only: the peer does not list instances")
        missing = frozenset(expected) - present
        return Verification(f"c-find {len(expected) - len(missing)} of {len(expected)}", missing)

    @property
    def _name(self) -> str:
        return requestor.name(self._peer)

    def _matches(self, found: Association, query: Dataset, most: int) -> frozenset[str] | None:
        """SOP Instance UIDs that the peer lists, None when it answers but names no instance."""
        present, answers = set(), 0
        end = time.monotonic() + _MOST_TIMEOUTS * self._peer.timeout_s
        for status, answer in found.send_c_find(query, STUDY_ROOT_FIND):
            code = status.get("Status")
            if code is None:
                raise PeerUnreachable(f"{self._name}: no answer to C-FIND within {self._peer.timeout_s:g} s")
            if code in _PENDING:
                answers += 1
                if answers > most or time.monotonic() > end:
                    raise _EndlessFindError
                if answer is not None and "SOPInstanceUID" in answer:
                    present.add(str(answer.SOPInstanceUID))
            elif code != _SUCCESS:
                raise _FindRefusedError(int(code))
        return frozenset(present) if present or not answers else None

    def _associate(self, files: Sequence[_Encoded], on_status: OnStatus, witness: Witness) -> _Progress:
        """Send as many of the first files as one association can."""
        batch, contexts = _batch(files)
        done = answered = 0
        given = False
        try:
            with (
                requestor.association(self._peer, self._our_ae, contexts) as found,
                store_line.opened(found, self._peer.timeout_s) as line,
            ):
                accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])): c for c in found.accepted_contexts}
                for one in batch:
                    uid = one.outgoing.sop_instance_uid
                    context = _choose(accepted, one)
                    if context is None:
                        log.warning(
                            "sop_class_not_accepted",
                            peer=self._peer.ae_title,
                            sop_class_uid=one.outgoing.sop_class_uid,
                        )
                        on_status(uid, NOT_ACCEPTED)
                    else:
                        given = True
                        status = _store(line, context, one)
                        answered += 1
                        if is_stored(status):
                            witness.took(uid)
                        on_status(uid, status)
                        if is_out_of_resources(status):
                            where = f"at {done + 1} of {len(batch)}"
                            raise PeerBusy(f"{self._name}: out of resources (0x{status:04X}) {where}")
                    done += 1
        except BrokeOff as problem:
            if not given:
                raise PeerUnreachable(f"{self._name}: {problem}") from problem
            return _Progress(done, answered, str(problem))
        return _Progress(done, answered, None)


class _EndlessFindError(Exception):
    """The peer answers C-FIND with far more than it was asked for, or too slowly ever to end."""


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


def _batch(files: Sequence[_Encoded]) -> tuple[Sequence[_Encoded], list[PresentationContext]]:
    """As many of the first files as fit into the 128 contexts of an association (PS3.8 9.3.2.2), and these contexts.

    Verification comes along: with no context accepted at all there would be no association to say so.
    """
    pairs: dict[tuple[str, str], None] = {}
    count = 0
    for one in files:
        more = pairs | dict.fromkeys(_wanted(one))
        if len(more) > _MOST_CONTEXTS:
            break
        pairs = more
        count += 1
    return files[:count], [build_context(VERIFICATION), *(build_context(*pair) for pair in pairs)]


def _store(line: StoreLine, context: PresentationContext, one: _Encoded) -> int:
    file, target = one.outgoing, UID(context.transfer_syntax[0])
    instance = (file.sop_class_uid, file.sop_instance_uid)
    if target == one.syntax:
        return line.store(cast(int, context.context_id), instance, file.path, one.offset)
    return line.store(cast(int, context.context_id), instance, transcode(file.path, target))


def _choose(accepted: dict[tuple[str, str], PresentationContext], one: _Encoded) -> PresentationContext | None:
    return next((accepted[pair] for pair in _wanted(one) if pair in accepted), None)
