"""What lies below some inputs, DICOM and NIfTI, and how it becomes volumes; pixels are decoded by `load_image` only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.contracts.command import FoundImage, FoundImages, LeftOut, ReadImage
from dicom_node.contracts.headers import FileRef, RoleInstance, SeriesView
from dicom_node.contracts.spec import Accepts
from dicom_node.contracts.volume import Units
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.new_series import template_of
from dicom_node.dicom.reading import LoadedVolume, arrange_volume, read_volume
from dicom_node.dicom.scan import ScanResult, files_under, scan
from dicom_node.errors import InputError, RequestError, UnusableSeries

UNITS = {"CT": Units.HU, "MR": Units.MR_SIGNAL}
NIFTI = (".nii", ".nii.gz")
_AXES = ("zyx", "tzyx")
_LISTED = 10


@dataclass(frozen=True)
class _Series:
    """Handle to a DICOM series: its files, and the axes that they fill."""

    files: tuple[FileRef, ...]
    axes: str


@dataclass(frozen=True)
class _Nifti:
    """Handle to a NIfTI file."""

    path: Path


def find_images(inputs: Sequence[Path], modality: str | None) -> FoundImages:
    """Look for CT and MR series and NIfTI files; see `dicom_node.contracts.CommandContext.find`.

    DICOM series come first, in order of Series Instance UID, then NIfTI files in order of their paths. A series that
    holds a file that cannot be used is offered without it, and the file is named as left out.
    """
    _check(modality)
    found, nifti = scan_dicom(inputs)
    images: list[FoundImage] = []
    left_out = [_rejected(file.file, file.reason) for file in found.rejected]
    for series in sorted(found.series, key=lambda s: s.series_instance_uid):
        try:
            images.append(_dicom(series, inputs, modality))
        except UnusableSeries as error:
            uid = series.series_instance_uid
            left_out.append(LeftOut(uid, str(error).removeprefix(f"series {uid}: ")))
    seen: dict[str, Path] = {}
    for path in nifti:
        try:
            image = _nifti(path, inputs)
        except InputError as error:
            left_out.append(LeftOut(str(path), str(error).removeprefix(f"{path}: ")))
            continue
        first = seen.setdefault(image.patient, path)
        if first == path:
            images.append(image)
        else:
            left_out.append(LeftOut(str(path), f"same bytes as {first}"))
    return FoundImages(tuple(images), tuple(left_out))


def load_image(found: FoundImage, tags: Sequence[str], modality: str | None) -> ReadImage:
    """Read one of the images; see `dicom_node.contracts.CommandContext.load`."""
    _check(modality)
    if isinstance(found.handle, _Nifti):
        from dicom_node.dicom.nifti import read_nifti  # takes a third of a second; few commands meet such a file

        volume = read_nifti(found.handle.path, UNITS[modality or "MR"])
        return ReadImage(volume, None, found.label, found.patient)
    if not isinstance(found.handle, _Series):
        raise RequestError("the image to load is none that was found")
    instances = [
        RoleInstance(replace(read_header(file, digest=False), own_output=False), {}) for file in found.handle.files
    ]
    loaded = read_volume(instances, _accepts(found.modality, found.handle.axes, tags))
    return image_of(loaded, found.label, found.patient)


def image_of(loaded: LoadedVolume, label: str, patient: str) -> ReadImage:
    """A volume that was read from DICOM, with the handle to write another one like it."""
    return ReadImage(loaded.volume, template_of(loaded), label, patient)


def label_of(series_instance_uid: str) -> str:
    """A short name for tables that holds no patient data."""
    return hashlib.sha256(series_instance_uid.encode()).hexdigest()[:12]


def scan_dicom(inputs: Sequence[Path]) -> tuple[ScanResult, list[Path]]:
    """DICOM series as `scan` finds them, and beside them the NIfTI files that it does not know.

    Raises:
        RequestError: an input does not exist.
        StorageFailed: the disk failed.
    """
    files = files_under(inputs)
    return scan([path for path in files if not is_nifti(path)]), [path for path in files if is_nifti(path)]


def is_nifti(name: Path | str) -> bool:
    """Whether a file is called as NIfTI files are."""
    return str(name).lower().endswith(NIFTI)


def listed(reasons: Sequence[str]) -> str:
    """The first reasons in one sentence, and how many more there are."""
    more = len(reasons) - _LISTED
    return "; ".join(reasons[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


def _dicom(series: SeriesView, inputs: Sequence[Path], modality: str | None) -> FoundImage:
    uid = series.series_instance_uid
    if series.modality not in UNITS:
        raise UnusableSeries(f"series {uid}: neither CT nor MR")
    if modality not in (None, series.modality):
        raise UnusableSeries(f"series {uid}: Modality is not {modality}")
    # Derived series of this node are read too: looking at them is no correction.
    instances = [RoleInstance(replace(header, own_output=False), {}) for header in series.instances]
    axes, ordered = _first_fitting(instances, series.modality)
    files = tuple(item.header.file for item in ordered)
    return FoundImage(
        label=label_of(uid),
        patient=series.patient_key,
        modality=series.modality,
        frames=len(files),
        names=tuple(sorted(_name(file, inputs) for file in files)),
        handle=_Series(files, axes),
    )


def _first_fitting(instances: Sequence[RoleInstance], modality: str) -> tuple[str, tuple[RoleInstance, ...]]:
    """A stack where positions are distinct, else a cine."""
    reasons = []
    for axes in _AXES:
        try:
            return axes, arrange_volume(instances, _accepts(modality, axes, ())).ordered
        except UnusableSeries as error:
            reasons.append(error)
    raise reasons[0]


def _nifti(path: Path, inputs: Sequence[Path]) -> FoundImage:
    from dicom_node.dicom.nifti import inspect

    file = inspect(path)
    return FoundImage(
        label=file.sha256[:12],
        patient=hashlib.sha256(f"nifti {file.sha256}".encode()).hexdigest(),
        modality="",
        frames=file.frames,
        names=(_name(FileRef(path), inputs),),
        handle=_Nifti(path),
    )


def _rejected(file: FileRef, reason: str) -> LeftOut:
    if file.member is not None and is_nifti(file.member):
        return LeftOut(str(file), "NIfTI inside a ZIP: unpack it first")
    return LeftOut(str(file), reason.removeprefix(f"{file}: "))


def _name(file: FileRef, inputs: Sequence[Path]) -> str:
    """Name relative to the first input that it lies under, as the scan found it."""
    name = next(_relative(file.path, inputs), file.path.name)
    return name if file.member is None else f"{name}!{file.member}"


def _relative(path: Path, inputs: Sequence[Path]) -> Iterator[str]:
    for root in inputs:
        if path == root:
            yield path.name
        elif path.is_relative_to(root):
            yield path.relative_to(root).as_posix()


def _accepts(modality: str, axes: str, tags: Sequence[str]) -> Accepts:
    try:
        return Accepts(modality=modality, units=UNITS[modality], axes=axes, wants=tuple(tags))
    except ValueError as error:
        raise RequestError(str(error)) from None


def _check(modality: str | None) -> None:
    if modality is not None and modality not in UNITS:
        raise RequestError(f"images of modality CT and MR can be read, not {modality!r}")
