"""Studies of the archive into a training folder: de-identified, series by series, as often as one likes.

A series appears by one rename and is not written again while its images are the same. The archive is only read; images
that leave it meanwhile are left out with that reason.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicom_node.archive.contents import count_patients, patients_after, unknown_studies
from dicom_node.archive.index import ArchiveIndex
from dicom_node.contracts import InputSet, InstanceHeader, SeriesView
from dicom_node.database.engine import Database
from dicom_node.dicom.deidentify import RULES_VERSION
from dicom_node.dicom.deidentify_file import deidentified_file
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.dicom.deidentify_refusals import other_class
from dicom_node.dicom.files import write_file
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import RequestError, StorageFull, UnreadableFile, UnusableSeries
from dicom_node.keeping.export_folder import ExportFolder
from dicom_node.keeping.export_routes import Role, RuleNames, roles_by_series
from dicom_node.routing.values import components, number
from dicom_node.worker.outbox import Outbox

OWN_OUTPUT: Final = "derived by a correction node: only originals are exported"
UNREADABLE: Final = "its file is damaged, or has left the archive"
NOT_TAKEN: Final = "routing does not give it to the corrector"
_PAGE: Final = 100
_DIGITS: Final = 16
_LAST: Final = float("inf")

Route = Callable[[Sequence[SeriesView]], Sequence[InputSet]]


@dataclass(frozen=True)
class ExportRequest:
    """What is exported.

    Attributes:
        studies: Study Instance UIDs; all without.
        only_routed: only series that routing gives to a corrector.
        least_free_mb: with less free space on the folder's disk [MB] the export stops.
    """

    studies: tuple[str, ...] = ()
    only_routed: bool = False
    least_free_mb: float = 0.0


@dataclass(frozen=True)
class LeftOut:
    """Images of a series (its real UID) that were not exported, and why."""

    series_instance_uid: str
    reason: str
    instances: int


@dataclass
class Exported:
    """What an export did: of the series in the folder now, `unchanged` were there before."""

    patients: int = 0
    series: int = 0
    files: int = 0
    unchanged: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


class Exporter:
    """Exports from one archive with one key."""

    def __init__(
        self, database: Database, index: ArchiveIndex, route: Route, names: RuleNames, pseudonyms: Pseudonyms
    ) -> None:
        """Wire it.

        Args:
            database: where the index is.
            index: of the archive.
            route: series of one patient to input sets.
            names: of rules in the manifest.
            pseudonyms: of the export.
        """
        self._database = database
        self._index = index
        self._route = route
        self._names = names
        self._pseudonyms = pseudonyms

    def run(self, out: Path, request: ExportRequest, advance: Callable[[int, int], None]) -> Exported:
        """Export; may be interrupted at any moment and repeated.

        Args:
            out: the folder, made when missing.
            request: what.
            advance: told patients done and in all.

        Raises:
            RequestError: a study is not in the archive, or the folder holds something else.
            StorageFull, StorageFailed: the disk refuses; what is whole stays.
        """
        with self._database.read() as tx:
            if unknown := unknown_studies(tx, request.studies):
                raise RequestError(f"not in the archive: study {', '.join(unknown)}")
            total = count_patients(tx, request.studies)
        done = Exported()
        try:
            with ExportFolder(out, self._pseudonyms.check) as folder:
                for nth, patient_key in enumerate(self._patients(request.studies), start=1):
                    before = done.series
                    self._patient(patient_key, folder, request, done)
                    done.patients += done.series > before
                    advance(nth, max(nth, total))
                folder.save()
        except StorageFull as error:
            raise StorageFull(
                f"there is no space for the export in {out}: free some and give the same command again; "
                "series that are whole stay and are not written again"
            ) from error
        return done

    def _patients(self, studies: Collection[str]) -> Iterator[str]:
        after = ""
        while True:
            with self._database.read() as tx:
                page = patients_after(tx, after, _PAGE, studies)
            if not page:
                return
            yield from page
            after = page[-1]

    def _patient(self, patient_key: str, folder: ExportFolder, request: ExportRequest, done: Exported) -> None:
        with self._database.read() as tx:
            series = self._index.series_of_patient(tx, patient_key)
        roles = roles_by_series(self._route(series), self._names, self._pseudonyms)
        for one in series:
            if request.studies and one.study_instance_uid not in request.studies:
                continue
            own = roles.get((one.study_instance_uid, one.series_instance_uid), [])
            if request.only_routed and not own:
                done.left_out.append(LeftOut(one.series_instance_uid, NOT_TAKEN, len(one.instances)))
            else:
                self._series(one, own, folder, request, done)

    def _series(
        self, series: SeriesView, roles: Sequence[Role], folder: ExportFolder, request: ExportRequest, done: Exported
    ) -> None:
        """Export one series, unless it is there already, and note its roles as they are now."""
        headers = sorted(series.instances, key=self._order)
        names = {h.sop_instance_uid: f"{n:04d}.dcm" for n, h in enumerate(headers, start=1)}
        place, digest = self._place(series), self._digest(headers)
        before = folder.entry(place)
        unchanged = before is not None and before["digest"] == digest
        if before is not None and unchanged:
            files, reasons = list(before["files"]), Counter(before["left_out"])
        else:
            files, reasons = self._write(headers, names, folder.path / place, request)
        done.left_out += [LeftOut(series.series_instance_uid, reason, count) for reason, count in reasons.items()]
        if not files:
            folder.drop(place)
            return
        done.series += 1
        done.files += len(files)
        done.unchanged += unchanged
        uid = self._pseudonyms.uid
        folder.put(
            place,
            {
                "folder": place,
                "patient": self._pseudonyms.patient(series.patient_key),
                "study_instance_uid": uid(series.study_instance_uid),
                "series_instance_uid": uid(series.series_instance_uid),
                "modality": "CT" if series.modality == "CT" else "MR",
                "files": files,
                "left_out": dict(reasons),
                "roles": [_role(role, names, frozenset(files)) for role in roles],
                "digest": digest,
            },
        )

    def _write(
        self, headers: Sequence[InstanceHeader], names: Mapping[str, str], target: Path, request: ExportRequest
    ) -> tuple[list[str], Counter[str]]:
        """Write a series into a folder that appears whole; which files, and what was left out."""
        outbox = Outbox(target.parent)
        working = outbox.open(target.name, 0)
        files: list[str] = []
        reasons: Counter[str] = Counter()
        try:
            for header in headers:
                name = names[header.sop_instance_uid]
                try:
                    data = self._instance(header)
                except UnusableSeries as reason:
                    reasons[str(reason)] += 1
                except UnreadableFile:
                    reasons[UNREADABLE] += 1
                else:
                    _has_space(target.parent, request.least_free_mb)
                    write_file(working / name, (data,))
                    files.append(name)
            if files:
                sync_folder(working)
                outbox.publish(target.name, working)
        finally:
            outbox.discard(working)
            _prune(target.parent)
        return files, reasons

    def _instance(self, header: InstanceHeader) -> bytes:
        if header.own_output:
            raise UnusableSeries(OWN_OUTPUT)
        if (reason := other_class(header.sop_class_uid)) is not None:
            raise UnusableSeries(reason)  # without reading a file that may be large
        return deidentified_file(header.file, header.patient_key, self._pseudonyms)

    def _place(self, series: SeriesView) -> str:
        patient = self._pseudonyms.patient(series.patient_key)
        study = self._pseudonyms.digest("study folder", series.study_instance_uid)[:_DIGITS]
        return f"{patient}/{study}/{self._pseudonyms.digest('series folder', series.series_instance_uid)[:_DIGITS]}"

    def _digest(self, headers: Sequence[InstanceHeader]) -> str:
        """Changes when the images of a series do, or the rules by which they are exported."""
        inputs = (part for h in headers for part in (h.sop_instance_uid, h.sha256))
        return self._pseudonyms.digest("input", str(RULES_VERSION), *inputs)[:32]

    def _order(self, header: InstanceHeader) -> tuple[float, str]:
        numbers = [number(one) for one in components(header.get("InstanceNumber"))]
        first = numbers[0] if numbers and numbers[0] is not None else _LAST
        return first, self._pseudonyms.uid(header.sop_instance_uid)


def _role(role: Role, names: Mapping[str, str], there: Collection[str]) -> dict[str, Any]:
    files = {names[uid]: captures for uid, captures in role.captures.items() if names[uid] in there}
    return {
        "rule": role.rule,
        "corrector": role.corrector,
        "role": role.role,
        "set": role.group,
        "files": dict(sorted(files.items())),
    }


def _prune(study: Path) -> None:
    """Remove the folders of a study and its patient where nothing is in them."""
    with contextlib.suppress(OSError):
        study.rmdir()
        study.parent.rmdir()


def _has_space(folder: Path, least_mb: float) -> None:
    try:
        state = os.statvfs(folder)
    except OSError as problem:
        raise storage_error(problem, folder) from problem
    if state.f_bavail * state.f_frsize / 1e6 < least_mb:
        raise StorageFull(f"less than node.min_free_mb is free at {folder}")
