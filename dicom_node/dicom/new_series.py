"""Volumes to new original DICOM series: like one that was read, or of a synthetic patient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from dicom_node.contracts.headers import FileRef
from dicom_node.contracts.volume import TagValue, Volume
from dicom_node.dicom import synthetic_patient
from dicom_node.dicom.files import write_instance
from dicom_node.dicom.images import UNTRUE_AFTER_CHANGE
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.dicom.pixels import stored_from
from dicom_node.dicom.raw import rebuilt
from dicom_node.dicom.reading import LoadedVolume, open_dataset
from dicom_node.dicom.uids import uid_from
from dicom_node.dicom.words import encode
from dicom_node.durable import sync_folder
from dicom_node.errors import RequestError

_OWN_GEOMETRY = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Modality",
)


_POLARITY_NAMES = ("SeriesDescription", "ProtocolName", "SequenceName")
_DS_CHARACTERS = 16


@dataclass(frozen=True)
class Template:
    """Handle to a series that was read: the file of each 2-D frame, in axis order."""

    sources: tuple[FileRef, ...]


def template_of(loaded: LoadedVolume) -> Template:
    """Handle to write another series like this one."""
    return Template(loaded.sources)


def write_series(
    volume: Volume, folder: Path, *, like: object | None, tags: Mapping[str, TagValue] | None, seed: int
) -> list[Path]:
    """Write a volume as a new original series, one file `0001.dcm`... for each 2-D frame, in axis order.

    With `like`, voxels that equal the template's keep their stored words, others use its rescale and are clipped
    to its stored bits; every UID of study, series, instance and frame of reference is new, and series of one
    study that are written with the same seed stay in one study. UIDs of series and instances also depend on the
    voxels, so that artefact and truth never share one, and those of spectral bins on the names that tell the readout
    polarity, for where there is no metal both polarities are alike.

    Raises:
        RequestError: unknown tags, units that are neither CT's nor MR's, or a volume that does not fit `like`.
        StorageFull, StorageFailed: the disk refuses.
    """
    values = _checked_tags(tags or {})
    frames = volume.pixels.reshape(-1, *volume.shape[-2:])
    if like is not None and (not isinstance(like, Template) or len(like.sources) != frames.shape[0]):
        raise RequestError("the volume does not have the frames of the series that it should be written like")
    digest = hashlib.sha256(np.ascontiguousarray(volume.pixels).tobytes()).hexdigest()
    storage = None if like is not None else synthetic_patient.storage_for(volume)
    paths = []
    with quiet():
        for index in range(frames.shape[0]):
            try:
                if isinstance(like, Template):
                    dataset = _like(like.sources[index], frames[index], seed)
                else:
                    dataset = _synthetic(volume, index, storage or synthetic_patient.storage_for(volume), seed)
                _identify(dataset, seed, digest + _names(volume, dataset, values), index)
                for keyword, value in values.items():
                    _set(dataset, keyword, value)
                if like is None and not dataset.get("BodyPartExamined"):
                    dataset.Laterality = ""  # of an unnamed body part the side is unknown, but must be there
            except PARSE_ERRORS as error:
                raise RequestError(f"frame {index} cannot be written: {type(error).__name__}") from error
            path = folder / f"{index + 1:04d}.dcm"
            write_instance(path, dataset)
            paths.append(path)
    sync_folder(folder)
    return paths


def _like(source: FileRef, frame: np.ndarray[tuple[int, ...], np.dtype[np.float32]], seed: int) -> Dataset:
    instance = open_dataset(source)
    dataset = rebuilt(instance, lambda tag: tag not in UNTRUE_AFTER_CHANGE and tag.group not in (0xFFFA, 0xFFFC))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if old := dataset.get(keyword):
            setattr(dataset, keyword, uid_from("like", keyword, str(old), seed))
    dataset.SeriesInstanceUID = uid_from("like", "series", str(dataset.SeriesInstanceUID), seed)
    _set_words(dataset, encode(stored_from(instance, source), frame).words)
    return dataset


def _synthetic(volume: Volume, index: int, storage: synthetic_patient.Storage, seed: int) -> Dataset:
    dataset = synthetic_patient.header(volume, index, storage, seed)
    for keyword, value in _header_values(volume, index).items():
        _set(dataset, keyword, value)
    dataset.SeriesInstanceUID = uid_from("synthetic series", seed, volume.units.value)
    frame = volume.pixels.reshape(-1, *volume.shape[-2:])[index]
    _set_words(dataset, synthetic_patient.words_for(frame, storage))
    return dataset


def _set(dataset: Dataset, keyword: str, value: TagValue) -> None:
    """Set an element; a number with more digits than DS holds is rounded (PS3.5 6.2: 16 characters)."""
    values = list(value) if isinstance(value, tuple) else [value]
    if dictionary_VR(keyword) == "DS":
        values = [f"{v:.10g}" if isinstance(v, float) and len(repr(v)) > _DS_CHARACTERS else v for v in values]
    setattr(dataset, keyword, values if isinstance(value, tuple) else values[0])


def _names(volume: Volume, dataset: Dataset, tags: Mapping[str, TagValue]) -> str:
    """What may tell the polarity of spectral bins; nothing for other volumes."""
    if volume.axes != "bzyx":
        return ""
    return "".join(f"/{tags.get(keyword, dataset.get(keyword))}" for keyword in _POLARITY_NAMES)


def _header_values(volume: Volume, index: int) -> dict[str, TagValue]:
    """The volume's own tags for one frame: how it was acquired, not whom it shows, where it lies, how it is stored."""
    values = dict(volume.tags)
    for keyword, each in volume.frame_tags.items():
        if (value := each[index]) is not None:
            values[keyword] = value
    return {keyword: value for keyword, value in values.items() if _is_acquisition(keyword)}


def _is_acquisition(keyword: str) -> bool:
    tag = tag_for_keyword(keyword)
    if tag is None or tag >> 16 in (0x0010, 0x0028) or keyword.endswith("UID"):
        return False
    return keyword not in _OWN_GEOMETRY


def _identify(dataset: Dataset, seed: int, digest: str, index: int) -> None:
    dataset.SeriesInstanceUID = uid_from("series", str(dataset.SeriesInstanceUID), seed, digest)
    dataset.SOPInstanceUID = uid_from("instance", str(dataset.SeriesInstanceUID), index)


def _set_words(dataset: Dataset, words: np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]) -> None:
    data = words.astype(words.dtype.newbyteorder("<")).tobytes()
    dataset.add_new(0x7FE00010, "OB" if words.dtype.itemsize == 1 else "OW", data + b"\0" * (len(data) % 2))


def _checked_tags(tags: Mapping[str, TagValue]) -> Mapping[str, TagValue]:
    unknown = [keyword for keyword in tags if tag_for_keyword(keyword) is None]
    if unknown:
        raise RequestError(f"unknown DICOM keywords: {', '.join(unknown)}")
    return tags
