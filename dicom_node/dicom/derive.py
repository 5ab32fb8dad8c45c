"""From a correction to derived DICOM series on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node import logs
from dicom_node.contracts.corrector import Correction
from dicom_node.contracts.spec import CorrectorSpec
from dicom_node.contracts.volume import FloatArray, Volume
from dicom_node.dicom.combined import CombinedSeries
from dicom_node.dicom.companions import Companion
from dicom_node.dicom.corrected import CorrectedSeries
from dicom_node.dicom.files import WriteBehind, output_folder
from dicom_node.dicom.images import CorrectedInstance
from dicom_node.dicom.naming import description_prefix, series_number
from dicom_node.dicom.parametric_map import mapped_slices, write_parametric_map
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.reading import LoadedVolume
from dicom_node.dicom.report import has_figures, write_report
from dicom_node.dicom.segmentation import write_segmentation
from dicom_node.dicom.sources import RoleSources, derived_from, sources_of
from dicom_node.durable import sync_folder
from dicom_node.errors import DerivationError

log = logs.get("dicom.derive")


@dataclass(frozen=True)
class DerivedFile:
    """One derived instance on disk."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class DerivedSeries:
    """One derived series.

    Attributes:
        role: input role for corrected images; `map:NAME`, `mask:NAME` or `report` for the rest.
        series_instance_uid: its UID.
        files: its instances in frame order.
        metrics: for corrected images the corrector's figures, and `changed_frames` and `clipped_voxels`.
    """

    role: str
    series_instance_uid: str
    files: tuple[DerivedFile, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class DerivedSet:
    """Everything derived from one correction.

    Attributes:
        folder: holds one folder for each series.
        series: corrected images first, then maps, masks and the report.
        warnings: what the writer has to say beside the corrector's warnings.
    """

    folder: Path
    series: tuple[DerivedSeries, ...]
    warnings: tuple[str, ...]


def derive(
    spec: CorrectorSpec,
    correction: Correction,
    loaded: Mapping[str, LoadedVolume],
    provenance: Provenance,
    folder: Path,
) -> DerivedSet:
    """Write derived series into `folder`, every file fsynced.

    Images are made one at a time from their source files; of a second run with the same arguments every file has
    the same name and the same bytes.

    Args:
        spec: the corrector's spec.
        correction: what it did; nothing is written when nothing was changed.
        loaded: its inputs by role.
        provenance: facts of the job.
        folder: an empty folder, made when missing.

    Returns:
        What was written.

    Raises:
        DerivationError: the correction does not fit its inputs or cannot be written as valid DICOM.
        UnreadableFile: a source has gone or changed since it was read.
        StorageFull, StorageFailed: the disk refuses.
    """
    if not correction.changed:
        return DerivedSet(folder, (), ())
    _check_roles(spec, correction, loaded)
    with quiet():
        try:
            written = _Writer(correction, sources_of(loaded), provenance, folder).write()
        except PARSE_ERRORS as error:
            raise DerivationError(f"{spec.name}: cannot write valid DICOM ({_said(error)})") from error
    log.info(
        "derived", corrector=spec.name, series=len(written.series), files=sum(len(s.files) for s in written.series)
    )
    return written


class _Writer:
    """Writes the series of one correction, one after the other."""

    def __init__(
        self, correction: Correction, sources: Mapping[str, RoleSources], provenance: Provenance, folder: Path
    ) -> None:
        self._correction = correction
        self._sources = sources
        self._provenance = provenance
        self._folder = folder
        self._warnings: list[str] = []

    def write(self) -> DerivedSet:
        """Write everything that the correction holds."""
        series = tuple(self._series())
        sync_folder(self._folder)
        return DerivedSet(self._folder, series, tuple(self._warnings))

    def _series(self) -> Iterator[DerivedSeries]:
        ordinal = 0
        for role in sorted(self._correction.volumes):
            ordinal += 1
            yield self._images(role, ordinal)
        for name in sorted(self._correction.maps):
            ordinal += 1
            if (made := self._map(name, ordinal)) is not None:
                yield made
        for name in sorted(self._correction.masks):
            ordinal += 1
            if (made := self._mask(name, ordinal)) is not None:
                yield made
        if has_figures(self._correction.metrics, self._correction.quality):
            yield self._report(ordinal + 1)

    def _images(self, role: str, ordinal: int) -> DerivedSeries:
        sources, corrected = self._sources[role], self._correction.volumes[role]
        frames = corrected.pixels.reshape(-1, *corrected.pixels.shape[-2:])
        uids = self._provenance.uids
        series_uid = uids.series(role)
        number = series_number(sources.frames[0].series_number, ordinal)
        target = self._folder / output_folder(role)
        own = sources.frames_of(corrected)
        making = self._making(sources, corrected, own, frames)
        files, changed, clipped = [], 0, 0
        with WriteBehind() as outlet:
            for index in range(frames.shape[0]):
                instance_uid = uids.instance(role, index)
                origin = derived_from(self._sources, role, own[index])
                identity = CorrectedInstance(role, series_uid, instance_uid, number, origin)
                made = making.image(origin[0].file, np.asarray(frames[index], dtype=np.float32), identity)
                path = target / f"{index + 1:04d}.dcm"
                outlet.write(path, made.parts)
                files.append(DerivedFile(path, instance_uid, origin[0].sop_class_uid))
                changed += made.frame.changed
                clipped += made.frame.clipped
        sync_folder(target)
        if clipped:
            self._warnings.append(f"{role}: {clipped} voxels were clipped to what the source's stored bits can hold")
        metrics = {**self._correction.metrics, "changed_frames": float(changed), "clipped_voxels": float(clipped)}
        return DerivedSeries(role, series_uid, tuple(files), metrics)

    def _making(
        self, sources: RoleSources, corrected: Volume, own: Sequence[int], frames: FloatArray
    ) -> CorrectedSeries | CombinedSeries:
        source, warnings = sources.loaded.volume, self._correction.warnings
        if not corrected.combines(source):
            return CorrectedSeries(self._provenance, warnings)
        padding = None if source.padding is None else np.asarray(source.padding.all(axis=0))
        return CombinedSeries(self._provenance, warnings, [sources.frames[n].file for n in own], padding, frames)

    def _map(self, name: str, ordinal: int) -> DerivedSeries | None:
        quantity = self._correction.maps[name]
        if not mapped_slices(quantity.values):
            self._warnings.append(f"map {name} is zero throughout and was not written")
            return None
        role = f"map:{name}"
        sources, companion, path = self._companion(role, quantity.role, ordinal, f"map {name}")
        geometry = sources.loaded.volume.geometry
        kind = write_parametric_map(path, quantity, name, sources.frames, geometry, companion, self._provenance)
        return self._one(companion, path, kind)

    def _mask(self, name: str, ordinal: int) -> DerivedSeries | None:
        mask = self._correction.masks[name]
        if not mask.voxels.any():
            self._warnings.append(f"mask {name} is empty and was not written")
            return None
        role = f"mask:{name}"
        sources, companion, path = self._companion(role, mask.role, ordinal, f"mask {name}")
        geometry = sources.loaded.volume.geometry
        kind = write_segmentation(path, mask, name, sources.frames, geometry, companion, self._provenance)
        return self._one(companion, path, kind)

    def _report(self, ordinal: int) -> DerivedSeries:
        first = sorted(self._correction.volumes)[0]
        sources, companion, path = self._companion("report", first, ordinal, "report")
        geometry = sources.loaded.volume.geometry
        figures = self._correction.metrics, self._correction.quality
        kind = write_report(path, *figures, sources.frames, geometry, companion, self._provenance)
        return self._one(companion, path, kind)

    def _companion(self, role: str, input_role: str, ordinal: int, what: str) -> tuple[RoleSources, Companion, Path]:
        sources = self._sources[input_role]
        uids = self._provenance.uids
        companion = Companion(
            role=role,
            series_uid=uids.series(role),
            instance_uid=uids.instance(role, 0),
            series_number=series_number(sources.frames[0].series_number, ordinal),
            prefix=description_prefix(self._provenance, role, what),
            warnings=self._correction.warnings,
        )
        return sources, companion, self._folder / output_folder(role) / "0001.dcm"

    def _one(self, companion: Companion, path: Path, sop_class_uid: str) -> DerivedSeries:
        sync_folder(path.parent)
        file = DerivedFile(path, companion.instance_uid, sop_class_uid)
        return DerivedSeries(companion.role, companion.series_uid, (file,), {})


def _check_roles(spec: CorrectorSpec, correction: Correction, loaded: Mapping[str, LoadedVolume]) -> None:
    for role, corrected in correction.volumes.items():
        if role not in loaded:
            raise DerivationError(f"{spec.name}: corrected volume for the unknown role {role!r}")
        _check_shape(spec, role, corrected, loaded[role].volume)
    grids = [("map", n, m.role, m.values.shape) for n, m in correction.maps.items()]
    grids += [("mask", n, m.role, m.voxels.shape) for n, m in correction.masks.items()]
    for kind, name, role, shape in grids:
        if role not in loaded or shape != loaded[role].volume.geometry.shape:
            raise DerivationError(f"{spec.name}: {kind} {name!r} does not lie on the grid of a role")


def _check_shape(spec: CorrectorSpec, role: str, corrected: Volume, source: Volume) -> None:
    if corrected.units != source.units:
        raise DerivationError(f"{spec.name}: corrected {role} is in {corrected.units}, its source in {source.units}")
    if corrected.geometry != source.geometry:
        raise DerivationError(f"{spec.name}: corrected {role} lies on another grid than its source")
    if (corrected.axes, corrected.shape) != (source.axes, source.shape) and not corrected.combines(source):
        raise DerivationError(f"{spec.name}: corrected {role} has shape {corrected.shape}, its source {source.shape}")


def _said(error: Exception) -> str:
    """Kind of error only: the text of a library's error may quote header values."""
    return type(error).__name__
