"""Files to volumes: classic single-frame CT and MR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from dicom_node import logs
from dicom_node.contracts import Accepts, BoolArray, FileRef, Geometry, RoleInstance, TagValue, Volume
from dicom_node.dicom.alike import AlikeImages, check_instance
from dicom_node.dicom.geometry import place, positions, reference_views, stack
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.ordering import arrange
from dicom_node.dicom.parsing import parse
from dicom_node.dicom.screening import screen
from dicom_node.errors import UnreadableFile

log = logs.get("dicom.reading")


@dataclass(frozen=True, eq=False)
class LoadedVolume:
    """A volume and the files it came from.

    Attributes:
        volume: what a corrector gets.
        sources: the file of each 2-D frame of the volume, in axis order (leading axes flattened).
        left_out: files of localizers and reference views that came with the series and are no part of the volume.
    """

    volume: Volume
    sources: tuple[FileRef, ...]
    left_out: tuple[FileRef, ...] = ()


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Where each image of a volume goes, told by headers alone.

    Attributes:
        geometry: of the slices.
        ordered: the images of the 2-D frames, in axis order (leading axes flattened).
        leading: length of the leading axis, 1 for `zyx`.
    """

    geometry: Geometry
    ordered: tuple[RoleInstance, ...]
    leading: int


def arrange_volume(instances: Sequence[RoleInstance], accepts: Accepts) -> Arrangement:
    """Find out from the headers which image goes where; nothing is decoded.

    Raises:
        UnusableSeries: the images do not make the volume that is wanted; the message names the series and why.
    """
    kept = _without_reference_views(screen(instances, accepts))
    placement = place([item.header for item in kept])
    grid = arrange(kept, positions(placement), accepts.axes)
    geometry = stack(placement, grid[0])
    return Arrangement(geometry, tuple(kept[index] for row in grid for index in row), len(grid))


def read_volume(instances: Sequence[RoleInstance], accepts: Accepts) -> LoadedVolume:
    """Read the images of one role.

    Slices are ordered by position along the normal, whatever their names and Instance Numbers say. Each file is
    decoded straight into its place, so memory is that of the volume and one slice.

    Args:
        instances: images of the role, in any order.
        accepts: what the corrector wants.

    Raises:
        UnusableSeries: the images do not make the volume that is wanted; the message names the series and why.
        UnreadableFile: a file is damaged, or no longer what its header was read from.
    """
    arrangement = arrange_volume(instances, accepts)
    geometry, ordered = arrangement.geometry, arrangement.ordered
    frames, padding = _decode(ordered, geometry.rows, geometry.columns)
    shape = geometry.shape if accepts.axes == "zyx" else (arrangement.leading, *geometry.shape)
    tags, frame_tags = _asked_tags(ordered, (*accepts.needs, *accepts.wants))
    volume = Volume(
        pixels=frames.reshape(shape),
        units=accepts.units,
        geometry=geometry,
        axes=accepts.axes,
        tags=tags,
        frame_tags=frame_tags,
        padding=None if padding is None else padding.reshape(shape),
    )
    used = {item.header.file for item in ordered}
    left_out = tuple(item.header.file for item in instances if item.header.file not in used)
    return LoadedVolume(volume, tuple(item.header.file for item in ordered), left_out)


def open_dataset(ref: FileRef) -> FileDataset:
    """Read a whole instance, pixel data included.

    Raises:
        UnreadableFile: missing or damaged.
        StorageFailed: the disk failed.
    """
    with open_ref(ref) as stream:
        return parse(stream, ref, pixels=True)


def _without_reference_views(instances: Sequence[RoleInstance]) -> tuple[RoleInstance, ...]:
    across = reference_views([item.header for item in instances])
    if across:
        log.info("reference_views_left_out", series=instances[0].header.series_instance_uid, count=len(across))
    return tuple(item for index, item in enumerate(instances) if index not in across)


def _decode(ordered: Sequence[RoleInstance], rows: int, columns: int) -> tuple[NDArray[np.float32], BoolArray | None]:
    pixels = np.empty((len(ordered), rows, columns), dtype=np.float32)
    padding: BoolArray | None = None
    images = AlikeImages()
    for index, item in enumerate(ordered):
        image = images.read(item.header.file)
        check_instance(image, item.header.sop_instance_uid, item.header.file)
        frame = image.frame
        if frame.stored.shape != (rows, columns):
            raise UnreadableFile(f"{item.header.file}: holds other pixels than when its header was read")
        pixels[index] = frame.physical
        if frame.padding is not None:
            if padding is None:
                padding = np.zeros(pixels.shape, dtype=np.bool_)
            padding[index] = frame.padding
    return pixels, padding


def _asked_tags(
    ordered: Sequence[RoleInstance], keywords: Sequence[str]
) -> tuple[dict[str, TagValue], dict[str, tuple[TagValue | None, ...]]]:
    constant: dict[str, TagValue] = {}
    varying: dict[str, tuple[TagValue | None, ...]] = {}
    for keyword in dict.fromkeys(keywords):
        values = tuple(item.header.get(keyword) for item in ordered)
        first = values[0]
        if any(value != first for value in values):
            varying[keyword] = values
        elif first is not None:
            constant[keyword] = first
    return constant, varying
