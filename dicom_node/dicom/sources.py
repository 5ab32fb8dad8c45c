"""Facts about the source instances that every derived object refers to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.contracts.headers import FileRef
from dicom_node.dicom.elements import walk
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.parsing import parse
from dicom_node.dicom.reading import LoadedVolume

SAME_PLACE_MM = 0.01
"""Slices of two roles whose origins differ by less show the same place [mm]."""


@dataclass(frozen=True)
class Source:
    """One source instance.

    Attributes:
        file: where its bytes lie.
        sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid, modality: as in the file.
        series_number: None when absent or no number.
    """

    file: FileRef
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str
    series_number: int | None


@dataclass(frozen=True)
class RoleSources:
    """The source instances of one role, arranged as its volume.

    Attributes:
        frames: one for each 2-D frame, in axis order (leading axes flattened).
        loaded: the volume that they were read as.
    """

    frames: tuple[Source, ...]
    loaded: LoadedVolume

    @property
    def slices(self) -> int:
        """Number of slice positions."""
        return self.loaded.volume.geometry.shape[0]

    def at_slice(self, z: int) -> tuple[Source, ...]:
        """Every frame at slice `z`: all bins, all times."""
        return self.frames[z :: self.slices]


def header_of(ref: FileRef) -> Dataset:
    """Read an instance's header, without pixel data.

    Raises:
        UnreadableFile: missing or damaged.
        StorageFailed: the disk failed.
    """
    with open_ref(ref) as stream:
        return parse(stream, ref, pixels=False)


def sources_of(loaded: Mapping[str, LoadedVolume]) -> dict[str, RoleSources]:
    """Read what must be known of every source instance, once.

    Raises:
        UnreadableFile: a source has gone since it was read.
    """
    known: dict[FileRef, Source] = {}
    for item in loaded.values():
        for ref in item.sources:
            if ref not in known:
                known[ref] = _source(ref)
    return {role: RoleSources(tuple(known[r] for r in item.sources), item) for role, item in loaded.items()}


def derived_from(roles: Mapping[str, RoleSources], role: str, frame: int) -> tuple[Source, ...]:
    """Sources of one corrected frame, its own first.

    Of its own role: every bin at that position; of a cine only the frame itself, and of other roles on the same grid
    likewise. A role on another grid contributes all of its slices, for a volume was used as a whole.

    Args:
        roles: sources by role.
        role: role of the corrected frame.
        frame: index of the frame in that role's volume, leading axes flattened.
    """
    own = roles[role]
    z = frame % own.slices
    found: dict[Source, None] = {own.frames[frame]: None}
    for other in (role, *sorted(set(roles) - {role})):
        candidates = roles[other]
        if not _same_grid(own, candidates):
            found.update(dict.fromkeys(candidates.frames))
        elif candidates.loaded.volume.axes[0] == "t" and len(candidates.frames) == len(own.frames):
            found[candidates.frames[frame]] = None
        else:
            found.update(dict.fromkeys(candidates.at_slice(z)))
    return tuple(found)


def _same_grid(one: RoleSources, other: RoleSources) -> bool:
    a, b = one.loaded.volume.geometry, other.loaded.volume.geometry
    return a.shape == b.shape and all(
        math.dist(p, q) < SAME_PLACE_MM for p, q in zip(a.slice_origins_mm, b.slice_origins_mm, strict=True)
    )


def _source(ref: FileRef) -> Source:
    with open_ref(ref) as stream:
        root = walk(stream, ref).root
    number = root.text(0x00200011).split("\\")[0].strip()
    return Source(
        file=ref,
        sop_class_uid=root.text(0x00080016),
        sop_instance_uid=root.text(0x00080018),
        series_instance_uid=root.text(0x0020000E),
        study_instance_uid=root.text(0x0020000D),
        modality=root.text(0x00080060),
        series_number=int(number) if number.lstrip("-+").isdigit() else None,
    )


def of_series(sources: Sequence[Source]) -> dict[str, dict[str, list[Source]]]:
    """Arrange sources by study and series."""
    arranged: dict[str, dict[str, list[Source]]] = {}
    for source in sources:
        arranged.setdefault(source.study_instance_uid, {}).setdefault(source.series_instance_uid, []).append(source)
    return arranged
