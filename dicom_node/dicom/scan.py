"""Files, folders and ZIPs to series."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.contracts import FileRef, InstanceHeader, SeriesView
from dicom_node.dicom.headers import header_from, read_header
from dicom_node.errors import RequestError, UnreadableFile

LARGEST_MEMBER = 4 << 30
"""Largest ZIP member that is unpacked into memory [bytes]."""
LARGEST_RATIO = 1000
"""Largest believable compression of a ZIP member; deflate itself ends at about 1030."""
_SMALL = 64 << 20
_ZIP_MARK = b"PK\x03\x04"


@dataclass(frozen=True)
class Rejected:
    """A file that is not used.

    Attributes:
        file: the file.
        reason: why.
        series_instance_uid: the series that therefore is not whole, None where the file does not tell.
    """

    file: FileRef
    reason: str
    series_instance_uid: str | None = None


@dataclass(frozen=True)
class ScanResult:
    """What was found.

    Attributes:
        series: one for each series of each patient, in order of their first file.
        rejected: files that are not DICOM images, are damaged, or contradict another file.
    """

    series: tuple[SeriesView, ...]
    rejected: tuple[Rejected, ...]


def scan(inputs: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> ScanResult:
    """Read the headers of everything under the inputs.

    Folders are searched to the bottom in sorted order, each once however many links lead to it; ZIPs are read in
    place. A DICOMDIR is passed over. Of files with identical bytes one is kept; two files with the same SOP Instance
    UID and different bytes contradict each other: the first is kept, the other rejected.

    Args:
        inputs: files, folders, ZIPs.
        progress: called with (files done, files in all).

    Raises:
        RequestError: an input does not exist.
        StorageFailed: the disk failed.
    """
    rejected: list[Rejected] = []
    files = files_under(inputs)
    found: dict[str, InstanceHeader] = {}
    for done, path in enumerate(files, start=1):
        for header in _headers(path, rejected):
            known = found.setdefault(header.sop_instance_uid, header)
            if known.sha256 != header.sha256:
                reason = f"same SOP Instance UID as {known.file}, but other content; that one is used"
                rejected.append(Rejected(header.file, reason, header.series_instance_uid))
        if progress is not None:
            progress(done, len(files))
    return ScanResult(_group(found.values()), tuple(rejected))


def files_under(inputs: Sequence[Path]) -> list[Path]:
    """Every file under the inputs as `scan` looks at them, ZIPs unopened; paths begin with that of their input.

    Raises:
        RequestError: an input does not exist.
    """
    for path in inputs:
        if not path.exists():
            raise RequestError(f"{path}: no such file or folder")
    return list(_files(inputs))


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    waiting = list(reversed(inputs))
    while waiting:
        path = waiting.pop()
        real = path.resolve()
        if real in seen:
            continue
        seen.add(real)
        if path.is_dir():
            waiting.extend(sorted(path.iterdir(), reverse=True))
        elif path.is_file() and path.name.upper() != "DICOMDIR":
            yield path


def _headers(path: Path, rejected: list[Rejected]) -> Iterator[InstanceHeader]:
    try:
        with path.open("rb") as stream:
            packed = stream.read(4) == _ZIP_MARK
    except OSError as error:
        rejected.append(Rejected(FileRef(path), f"{path}: cannot be opened ({error.strerror})"))
        return
    if packed:
        yield from _zipped_headers(path, rejected)
        return
    try:
        yield read_header(FileRef(path))
    except UnreadableFile as error:
        rejected.append(Rejected(FileRef(path), str(error), error.series_instance_uid))


def _zipped_headers(path: Path, rejected: list[Rejected]) -> Iterator[InstanceHeader]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda member: member.filename):
                if info.is_dir() or Path(info.filename).name.upper() == "DICOMDIR":
                    continue
                ref = FileRef(path, info.filename)
                try:
                    yield header_from(_unpack(archive, info, ref), ref)
                except UnreadableFile as error:
                    rejected.append(Rejected(ref, str(error), error.series_instance_uid))
    except (zipfile.BadZipFile, OSError) as error:
        rejected.append(Rejected(FileRef(path), f"{path}: damaged ZIP ({type(error).__name__})"))


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, ref: FileRef) -> io.BytesIO:
    """One member's bytes; a member that would fill the memory is refused before it is unpacked."""
    bomb = info.file_size > _SMALL and info.file_size > LARGEST_RATIO * max(info.compress_size, 1)
    if bomb or info.file_size > LARGEST_MEMBER:
        raise UnreadableFile(f"{ref}: unpacks to {info.file_size} bytes, more than an image can have")
    try:
        data = archive.read(info)
    except (zipfile.BadZipFile, RuntimeError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"{ref}: cannot be taken out of the ZIP ({type(error).__name__})") from None
    if data[:4] == _ZIP_MARK:
        raise UnreadableFile(f"{ref}: a ZIP inside a ZIP; unpack it first")
    return io.BytesIO(data)


def _group(headers: Iterable[InstanceHeader]) -> tuple[SeriesView, ...]:
    groups: dict[tuple[str, str, str], list[InstanceHeader]] = {}
    for header in headers:
        key = (header.patient_key, header.study_instance_uid, header.series_instance_uid)
        groups.setdefault(key, []).append(header)
    return tuple(
        SeriesView(study_instance_uid=study, series_instance_uid=series, patient_key=patient, instances=tuple(members))
        for (patient, study, series), members in groups.items()
    )
