"""Facts about the source instances that every derived object refers to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.contracts.geometry import Geometry
from dicom_node.contracts.headers import FileRef
from dicom_node.contracts.volume import Volume
from dicom_node.dicom.elements import walk
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.parsing import parse
from dicom_node.dicom.reading import LoadedVolume

_PARALLEL = 0.9999
"""|cosine| of directions that differ in sign at most."""
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

    def frames_of(self, corrected: Volume) -> range:
        """Index of the source frame that each frame of a corrected volume is written like.

        Of combined bins that is the middle one, nearest to the scanner's own frequency.
        """
        middle = self.loaded.volume.shape[0] // 2 * self.slices if corrected.combines(self.loaded.volume) else 0
        return range(middle, middle + len(corrected.pixels.reshape(-1, *corrected.shape[-2:])))

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
    likewise. Bins that were prescribed flipped contribute those at that place. A role on another grid contributes all
    of its slices, for a volume was used as a whole.

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
            there = _flipped(own, candidates, z)
            found.update(dict.fromkeys(candidates.frames if there is None else candidates.at_slice(there)))
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


def _flipped(one: RoleSources, other: RoleSources, z: int) -> int | None:
    """Slice of bins with reversed rows, columns or slices that shows the place of slice `z`; None on another grid."""
    a, b = one.loaded.volume.geometry, other.loaded.volume.geometry
    if one.loaded.volume.axes != "bzyx" or other.loaded.volume.axes != "bzyx" or a.shape != b.shape:
        return None
    if min(_alike(a.row_direction, b.row_direction), _alike(a.column_direction, b.column_direction)) < _PARALLEL:
        return None
    here, there = _centres(a), _centres(b)
    for places in (there, there[::-1]):
        if all(math.dist(p, q) < SAME_PLACE_MM for p, q in zip(here, places, strict=True)):
            return z if places is there else len(there) - 1 - z
    return None


def _alike(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return abs(sum(p * q for p, q in zip(a, b, strict=True)))


def _centres(grid: Geometry) -> list[tuple[float, ...]]:
    """Middle of each slice [mm]."""
    along = grid.pixel_spacing_mm[1] * (grid.columns - 1) / 2
    down = grid.pixel_spacing_mm[0] * (grid.rows - 1) / 2
    steps = [along * r + down * c for r, c in zip(grid.row_direction, grid.column_direction, strict=True)]
    return [tuple(p + s for p, s in zip(origin, steps, strict=True)) for origin in grid.slice_origins_mm]


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
