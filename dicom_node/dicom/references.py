"""Sequences that name the sources of a derived instance, and the equipment that made it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_node.dicom import codes, encoded
from dicom_node.dicom.provenance import Provenance, node_version
from dicom_node.dicom.sources import Source, of_series
from dicom_node.dicom.tags import NODE_MANUFACTURER
from dicom_node.dicom.text import LO_BYTES, ST_BYTES, ascii_text

MODEL_NAME = "DICOM correction node"


def source_images(sources: Iterable[Source]) -> RawDataElement:
    """Source Image Sequence (0008,2112): every image the pixels were computed from (PS3.3 C.7.6.1)."""
    purpose = encoded.sequence_element("PurposeOfReferenceCodeSequence", [_code(codes.SOURCE_FOR_PROCESSING)])
    return encoded.raw_sequence(
        "SourceImageSequence", (encoded.item(_reference(source) + purpose) for source in sources)
    )


def add_common_instance_reference(dataset: Dataset, sources: Iterable[Source]) -> None:
    """List the references by series and study (PS3.3 C.12.2) where a source lies in another study.

    An image whose sources are all in its own study needs no such list, and gets none.
    """
    studies = of_series(tuple(sources))
    own = str(dataset.StudyInstanceUID)
    if set(studies) <= {own}:
        return
    if own in studies:
        dataset[Tag("ReferencedSeriesSequence")] = encoded.raw_sequence(
            "ReferencedSeriesSequence", _series_items(studies[own])
        )
    others = (
        encoded.item(
            encoded.sequence_element("ReferencedSeriesSequence", _series_items(series))
            + encoded.uid_element("StudyInstanceUID", study)
        )
        for study, series in studies.items()
        if study != own
    )
    keyword = "StudiesContainingOtherReferencedInstancesSequence"
    dataset[Tag(keyword)] = encoded.raw_sequence(keyword, others)


def add_equipment(dataset: Dataset, provenance: Provenance) -> None:
    """Append our item to Contributing Equipment Sequence (0018,A001), keeping the source's (PS3.3 C.12.1.1.5)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = codes.PROCESSING_EQUIPMENT.sequence()
    item.Manufacturer = NODE_MANUFACTURER
    item.ManufacturerModelName = MODEL_NAME
    item.SoftwareVersions = [
        ascii_text(f"node {node_version()}", LO_BYTES),
        ascii_text(f"{provenance.spec.name} {provenance.spec.version}", LO_BYTES),
    ]
    item.DeviceUID = provenance.uids.device()
    item.ContributionDateTime = provenance.created_utc
    item.ContributionDescription = ascii_text(what_was_done(provenance), ST_BYTES, multiline=True)
    present = list(dataset.get("ContributingEquipmentSequence") or ())
    dataset.ContributingEquipmentSequence = Sequence([*present, item])


def what_was_done(provenance: Provenance) -> str:
    """One paragraph for people: corrector, method, weights, parameters, references."""
    spec = provenance.spec
    weights = f"weights SHA-256 {provenance.weights_sha256}" if provenance.weights_sha256 else "no trained weights"
    if provenance.adapted_weights_sha256:
        weights += f" fitted on to this patient (SHA-256 {provenance.adapted_weights_sha256})"
    references = f" References: {', '.join(spec.references)}." if spec.references else ""
    return (
        f"{spec.title}: {spec.methods[provenance.method].rstrip('.')}. Corrector {spec.name} {spec.version}, method "
        f"{provenance.method}, {weights}, parameters {provenance.parameters_json}.{references}"
    )


def _series_items(series: Mapping[str, Iterable[Source]]) -> Iterator[bytes]:
    for uid, sources in series.items():
        instances = encoded.sequence_element(
            "ReferencedInstanceSequence", (encoded.item(_reference(source)) for source in sources)
        )
        yield encoded.item(instances + encoded.uid_element("SeriesInstanceUID", uid))


def _reference(source: Source) -> bytes:
    return encoded.uid_element("ReferencedSOPClassUID", source.sop_class_uid) + encoded.uid_element(
        "ReferencedSOPInstanceUID", source.sop_instance_uid
    )


def _code(code: codes.Code) -> bytes:
    return encoded.item(
        encoded.text_element("CodeValue", "SH", code.value)
        + encoded.text_element("CodingSchemeDesignator", "SH", code.scheme)
        + encoded.text_element("CodeMeaning", "LO", code.meaning)
    )
