"""The corrected images of one series, one after the other, as bytes of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset, FileDataset

from dicom_node import logs
from dicom_node.contracts import FileRef, FloatArray
from dicom_node.dicom.alike import AlikeImages, ReadImage, parsed
from dicom_node.dicom.files import encoded_instance
from dicom_node.dicom.images import CorrectedInstance, corrected_dataset
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import rebuilt
from dicom_node.dicom.template import Template
from dicom_node.dicom.validate import check_image
from dicom_node.dicom.words import EncodedFrame, encode

log = logs.get("dicom.derive")


@dataclass(frozen=True, eq=False)
class CorrectedImage:
    """One image, ready to be written.

    Attributes:
        parts: the file's bytes, in explicit VR little endian.
        frame: its pixels.
    """

    parts: Sequence[bytes]
    frame: EncodedFrame


class CorrectedSeries:
    """Makes the images of one series; one thread at a time."""

    def __init__(self, provenance: Provenance, warnings: Sequence[str]) -> None:
        """Nothing is known yet.

        Args:
            provenance: facts of the job.
            warnings: the corrector's sentences.
        """
        self._provenance = provenance
        self._warnings = warnings
        self._images = AlikeImages()
        self._template: Template | None = None
        self._proven = False

    def image(self, ref: FileRef, corrected: FloatArray, identity: CorrectedInstance) -> CorrectedImage:
        """Make one image.

        Args:
            ref: its source.
            corrected: corrected physical values (y, x).
            identity: new UIDs and sources.

        Raises:
            DerivationError: a value is not finite, or the image would be wrong.
            UnreadableFile: the source has gone or changed since it was read.
        """
        source = self._images.read(ref)
        frame = encode(source.frame, corrected)
        parts = self._after_pattern(source, identity, frame)
        if parts is None or not self._proven:
            made = self._from_parts(source.dataset or parsed(ref, source.encoded), frame, identity)
            if parts is not None and b"".join(parts) == made:
                self._proven = True
            else:
                self._learn(source, made, identity, surprised=parts is not None)
            parts = [made]
        return CorrectedImage(parts, frame)

    def _after_pattern(
        self, source: ReadImage, identity: CorrectedInstance, frame: EncodedFrame
    ) -> Sequence[bytes] | None:
        if self._template is None or source.encoded is None:
            return None
        return self._template.image(source.encoded, identity, frame)

    def _learn(self, source: ReadImage, made: bytes, identity: CorrectedInstance, *, surprised: bool) -> None:
        """Take the image for the pattern of the next; the first one after it is made both ways, to be sure."""
        if surprised:
            log.warning("pattern_differs", series=identity.series_uid)
        if not self._proven:
            self._template = None if source.encoded is None else Template.learned(source.encoded, made, identity)

    def _from_parts(self, source: FileDataset, frame: EncodedFrame, identity: CorrectedInstance) -> bytes:
        syntax = str(source.file_meta.TransferSyntaxUID)
        return image_bytes(rebuilt(source), syntax, frame, identity, self._provenance, self._warnings)


def image_bytes(
    header: Dataset,
    transfer_syntax_uid: str,
    frame: EncodedFrame,
    identity: CorrectedInstance,
    provenance: Provenance,
    warnings: Sequence[str],
) -> bytes:
    """The file of one corrected image, made from its parts.

    Args:
        header: of its source, from `rebuilt`.
        transfer_syntax_uid: how the source's pixels were encoded.
        frame: its pixels.
        identity: new UIDs and sources.
        provenance: facts of the job.
        warnings: the corrector's sentences.

    Raises:
        DerivationError: the image would be wrong.
    """
    dataset = corrected_dataset(header, transfer_syntax_uid, frame, identity, provenance, warnings)
    check_image(dataset, header, identity)
    return encoded_instance(dataset)
