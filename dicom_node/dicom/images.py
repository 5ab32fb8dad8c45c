"""A corrected image from its source instance: every tag kept but those that would be untrue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from dicom_node.dicom import codes
from dicom_node.dicom.naming import describe_derivation, description_prefix, image_type, name_series
from dicom_node.dicom.private_block import add_block
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import rebuilt
from dicom_node.dicom.references import add_common_instance_reference, add_equipment, source_images, what_was_done
from dicom_node.dicom.sources import Source
from dicom_node.dicom.words import EncodedFrame

UNTRUE_AFTER_CHANGE = frozenset(
    {
        0x00280106,  # Smallest Image Pixel Value
        0x00280107,  # Largest Image Pixel Value
        0x00280108,  # Smallest Pixel Value in Series
        0x00280109,  # Largest Pixel Value in Series
        0x00280110,  # Smallest Image Pixel Value in Plane
        0x00280111,  # Largest Image Pixel Value in Plane
        0x00603000,  # Histogram Sequence
        0x00880200,  # Icon Image Sequence
        0x4FFE0001,  # MAC Parameters Sequence
        0x00082112,  # Source Image Sequence: ours names the direct sources, which name theirs
    }
)
_ALWAYS_LOSSY = frozenset({str(JPEGBaseline8Bit), str(JPEGExtended12Bit), str(JPEGLSNearLossless)})
_LOSSY_METHOD: dict[str, str] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}


@dataclass(frozen=True)
class CorrectedInstance:
    """Identity of one corrected instance, and what it came from.

    Attributes:
        role: input role.
        series_uid: new Series Instance UID.
        instance_uid: new SOP Instance UID.
        series_number: new Series Number.
        sources: every instance that its pixels were computed from, its own first.
    """

    role: str
    series_uid: str
    instance_uid: str
    series_number: int
    sources: tuple[Source, ...]


def corrected_dataset(
    source: Dataset,
    transfer_syntax_uid: str,
    frame: EncodedFrame,
    identity: CorrectedInstance,
    provenance: Provenance,
    warnings: Sequence[str],
) -> Dataset:
    """Make one corrected instance (design section 6; docs/conformance.md).

    Args:
        source: header of the source instance, from `rebuilt`.
        transfer_syntax_uid: how the source's pixels were encoded.
        frame: encoded pixels.
        identity: new UIDs and sources.
        provenance: facts of the job.
        warnings: the corrector's sentences.

    Returns:
        The dataset, to be written in explicit VR little endian.
    """
    dataset = rebuilt(source, _true_of_a_derived_image)
    dataset.SOPInstanceUID = identity.instance_uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.SeriesNumber = identity.series_number
    dataset.ImageType = image_type(dataset, provenance.spec.image_type_value_2)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = provenance.created_local(
        str(source.get("TimezoneOffsetFromUTC") or "")
    )
    dataset.InstanceCreatorUID = provenance.uids.device()
    if provenance.synthetic:
        dataset.SyntheticData = "YES"  # its absence means no; validators older than the attribute call it an error
    name_series(dataset, dataset, description_prefix(provenance, identity.role))
    describe_derivation(dataset, dataset, provenance, identity.role, what_was_done(provenance))
    dataset.DerivationCodeSequence = DicomSequence(
        [*(dataset.get("DerivationCodeSequence") or ()), codes.ARTEFACT_CORRECTION.item()]
    )
    dataset[Tag("SourceImageSequence")] = source_images(identity.sources)
    add_common_instance_reference(dataset, identity.sources)
    add_equipment(dataset, provenance)
    codes.declare_scheme(dataset)
    if "ContentQualification" in dataset:
        dataset.ContentQualification = "RESEARCH"
    _keep_lossy(dataset, transfer_syntax_uid)
    add_block(dataset, provenance, identity.role, changed=frame.changed, warnings=warnings)
    _set_pixels(dataset, frame)
    return dataset


def _true_of_a_derived_image(tag: BaseTag) -> bool:
    return tag not in UNTRUE_AFTER_CHANGE and tag.group not in (0xFFFA, 0xFFFC)


def _keep_lossy(dataset: Dataset, syntax: str) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5), also where the source forgot to say so."""
    if syntax in _ALWAYS_LOSSY:
        dataset.LossyImageCompression = "01"
        if not dataset.get("LossyImageCompressionMethod"):
            dataset.LossyImageCompressionMethod = _LOSSY_METHOD[syntax]
    elif syntax == JPEG2000 and not dataset.get("LossyImageCompression"):
        # The syntax allows both; without a word from the source the cautious answer is lossy.
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_15444_1"


def _set_pixels(dataset: Dataset, frame: EncodedFrame) -> None:
    data = frame.words.tobytes()
    dataset.add_new(0x7FE00010, "OB" if frame.words.dtype.itemsize == 1 else "OW", data + b"\0" * (len(data) % 2))
