"""What one delivery consists of: files in sending order, and what their statuses mean for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.errors import PeerRefused, UnreadableFile
from dicom_node.jobs.model import Delivery, OutputSeries
from dicom_node.net.sender import NOT_ACCEPTED, Outgoing, is_stored

_COMPANIONS = ("map:", "mask:", "report")


@dataclass(frozen=True)
class SentSeries:
    """A series that the peer acknowledged, to be verified.

    Attributes:
        role: as in `OutputSeries`.
        series_instance_uid: of the series.
        study_instance_uid: of its study.
        instances: SOP Instance UIDs that it took.
    """

    role: str
    series_instance_uid: str
    study_instance_uid: str
    instances: frozenset[str]


class Consignment:
    """The outputs of a job for one peer."""

    def __init__(self, delivery: Delivery, folder: Path) -> None:
        """Order the outputs.

        Args:
            delivery: as leased.
            folder: `outbox/<job id>`.
        """
        self._folder = folder
        # Corrected images first: a peer that breaks off at a companion object still has what matters.
        self._series = sorted(delivery.outputs, key=lambda one: one.role.startswith(_COMPANIONS))

    def remaining(self, statuses: Mapping[str, int]) -> list[Outgoing]:
        """Files that the peer has not acknowledged yet, in sending order."""
        return [
            Outgoing(self._folder / one.file_name, one.sop_instance_uid, one.sop_class_uid)
            for series in self._series
            for one in series.instances
            if not is_stored(statuses.get(one.sop_instance_uid, NOT_ACCEPTED))
        ]

    def check(self, statuses: Mapping[str, int]) -> None:
        """Whether the peer took everything that it has to take.

        Maps, masks and reports that it takes in no context (many PACS know no Parametric Map) do not count: the
        corrected series is worth having without them, and `not_accepted` says what is missing.

        Raises:
            PeerRefused: an instance was refused, or a corrected series fits in no context.
        """
        refused: dict[int, int] = {}
        for series in self._series:
            optional = series.role.startswith(_COMPANIONS)
            for one in series.instances:
                status = statuses.get(one.sop_instance_uid, NOT_ACCEPTED)
                if not is_stored(status) and not (optional and status == NOT_ACCEPTED):
                    refused[status] = refused.get(status, 0) + 1
        if refused:
            total = sum(len(series.instances) for series in self._series)
            kinds = ", ".join(f"{count} with 0x{status:04X}" for status, count in sorted(refused.items()))
            raise PeerRefused(f"{sum(refused.values())} of {total} instances refused: {kinds}")

    def accepted_series(self, statuses: Mapping[str, int]) -> list[SentSeries]:
        """Series of which the peer took something.

        Raises:
            UnreadableFile: a file of the outbox is damaged.
        """
        return [
            SentSeries(series.role, series.series_instance_uid, self._study_of(series), taken)
            for series in self._series
            if (taken := frozenset(_stored(series, statuses)))
        ]

    def not_accepted(self, statuses: Mapping[str, int]) -> list[str]:
        """A remark for each companion series that the peer takes in no context."""
        return [
            f"{series.role}: not accepted by the peer ({len(series.instances) - taken} of {len(series.instances)})"
            for series in self._series
            if (taken := len(_stored(series, statuses))) < len(series.instances)
        ]

    def _study_of(self, series: OutputSeries) -> str:
        path = self._folder / series.instances[0].file_name
        try:
            return str(dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
        except (OSError, AttributeError, InvalidDicomError) as problem:
            raise UnreadableFile(f"{path}: no DICOM file in the outbox ({type(problem).__name__})") from problem


def _stored(series: OutputSeries, statuses: Mapping[str, int]) -> list[str]:
    return [
        one.sop_instance_uid for one in series.instances if is_stored(statuses.get(one.sop_instance_uid, NOT_ACCEPTED))
    ]
