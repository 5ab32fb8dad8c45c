"""Quality figures as a TID 1500 Measurement Report (PS3.16), in a Comprehensive 3D SR."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from dicom_node.contracts.geometry import Geometry
from dicom_node.dicom import codes
from dicom_node.dicom.companions import Companion, finished, stand_in
from dicom_node.dicom.files import write_instance
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.references import MODEL_NAME
from dicom_node.dicom.sources import Source, header_of
from dicom_node.dicom.tags import NODE_MANUFACTURER
from dicom_node.dicom.text import ascii_text

_DIGITS = 9
"""Significant digits of a figure: with sign, point and exponent they fit a DS of 16 characters."""


def write_report(
    path: Path,
    metrics: Mapping[str, float],
    quality: Mapping[str, tuple[float, ...]],
    frames: Sequence[Source],
    geometry: Geometry,
    companion: Companion,
    provenance: Provenance,
) -> str:
    """Write figures of the whole series, then a group for each slice with the slice as its source image.

    A slice whose figures are all zero was not touched, and gets no group.

    Figures that are not finite are left out: a numeric value cannot say so.

    Args:
        path: the file.
        metrics: figures of the series by name.
        quality: for each name one figure for each slice.
        frames: sources of the first role; the first frame at each slice is referenced.
        geometry: its grid.
        companion: identity.
        provenance: facts of the job.

    Returns:
        SOP Class UID.
    """
    header = header_of(frames[0].file)
    evidence = [stand_in(frames[z], None, geometry) for z in range(geometry.shape[0])]
    groups = []
    if whole := _measurements(metrics):
        groups.append(_group("Whole series", "series", whole, provenance, evidence))
    for z, source in enumerate(evidence):
        figures = {name: values[z] for name, values in quality.items() if z < len(values)}
        measured = _measurements(figures)
        if measured and any(figures.values()):
            groups.append(_group(f"Slice {z + 1}", f"slice {z}", measured, provenance, [source]))
    report = hd.sr.MeasurementReport(
        observation_context=_context(provenance),
        procedure_reported=codes.ARTEFACT_CORRECTION.concept(),
        imaging_measurements=groups,
        title=dicom_codes.DCM.ImagingMeasurementReport,
    )
    made = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid=companion.series_uid,
        series_number=companion.series_number,
        sop_instance_uid=companion.instance_uid,
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=MODEL_NAME,
    )
    dataset = finished(made, header, companion, provenance, image=False)
    write_instance(path, dataset)
    return str(dataset.SOPClassUID)


def has_figures(metrics: Mapping[str, float], quality: Mapping[str, tuple[float, ...]]) -> bool:
    """Whether there is a finite figure to report."""
    return any(math.isfinite(v) for v in (*metrics.values(), *(f for values in quality.values() for f in values)))


def _measurements(figures: Mapping[str, float]) -> list[hd.sr.Measurement]:
    return [
        hd.sr.Measurement(
            name=codes.own_code(name, name.replace("_", " ")).concept(),
            value=float(f"{value:.{_DIGITS}g}"),
            unit=codes.figure_unit(name).concept(),
        )
        for name, value in figures.items()
        if math.isfinite(value)
    ]


def _group(
    title: str,
    key: str,
    measurements: list[hd.sr.Measurement],
    provenance: Provenance,
    sources: Sequence[Dataset],
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=provenance.uids.other("figures", key), identifier=title),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=ascii_text(f"{provenance.spec.name} {provenance.method}", 64), version=provenance.spec.version
        ),
        measurements=measurements,
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(source) for source in sources],
    )


def _context(provenance: Provenance) -> hd.sr.ObservationContext:
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=dicom_codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=provenance.uids.device(),
                name=ascii_text(f"{provenance.spec.name} {provenance.spec.version}", 64),
                manufacturer_name=NODE_MANUFACTURER,
                model_name=MODEL_NAME,
            ),
        )
    )
