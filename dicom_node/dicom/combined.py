"""The one image that spectral bins were combined into, slice by slice, written like the middle bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.contracts import BoolArray, FileRef, FloatArray
from dicom_node.dicom.alike import AlikeImages, parsed
from dicom_node.dicom.corrected import CorrectedImage, image_bytes
from dicom_node.dicom.images import CorrectedInstance
from dicom_node.dicom.pixels import StoredFrame
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import rebuilt
from dicom_node.dicom.words import cleared, encode

_OF_ONE_BIN: Final = frozenset(
    {
        0x00180084,  # Imaging Frequency
        0x00180086,  # Echo Number(s)
        0x00200100,  # Temporal Position Identifier
        0x00200105,  # Number of Temporal Positions
    }
)
"""What numbers the bins, and what tells one's frequency."""
_GE_PARAMETERS: Final = "GEMS_PARM_01"
_GE_GROUP: Final = 0x0043
_GE_OFFSET_FREQUENCY: Final = 0x34
_OVERLAYS: Final = range(0x6000, 0x6020)


class CombinedSeries:
    """Makes the images of one series of combined bins; one thread at a time."""

    def __init__(
        self,
        provenance: Provenance,
        warnings: Sequence[str],
        own: Sequence[FileRef],
        padding: BoolArray | None,
        frames: FloatArray,
    ) -> None:
        """Look at the whole series: all of its images have the same stored bits.

        Bits Stored becomes Bits Allocated where a value would be clipped otherwise, for a root sum of squares is
        larger than any bin (MR has 16 bits allocated and up to as many stored, PS3.3 C.8.3.1).

        Args:
            provenance: facts of the job.
            warnings: the corrector's sentences.
            own: the middle bin of each slice.
            padding: (z, y, x) True where every bin holds padding; None when that is nowhere.
            frames: combined physical values (z, y, x).
        """
        self._provenance = provenance
        self._warnings = warnings
        self._images = AlikeImages()
        self._slice = {ref: z for z, ref in enumerate(own)}
        self._padding = padding
        self._widen = False
        self._widen = any(self._canvas(ref).encode(frames[z])[1] for z, ref in enumerate(own))

    def image(self, ref: FileRef, corrected: FloatArray, identity: CorrectedInstance) -> CorrectedImage:
        """Make one image.

        Args:
            ref: the middle bin of its slice.
            corrected: combined physical values (y, x).
            identity: new UIDs and sources.

        Raises:
            DerivationError: a value is not finite, or the image would be wrong.
            UnreadableFile: the source has gone or changed since it was read.
        """
        canvas = self._canvas(ref)
        frame = encode(canvas, corrected)
        source = parsed(ref, None)
        header = rebuilt(source, lambda tag: _true_of_all_bins(source, tag))
        header.InstanceNumber = self._slice[ref] + 1
        header.BitsStored = canvas.bits_stored
        header.HighBit = canvas.bits_stored + canvas.shift - 1
        made = image_bytes(
            header, str(source.file_meta.TransferSyntaxUID), frame, identity, self._provenance, self._warnings
        )
        return CorrectedImage([made], frame)

    def _canvas(self, ref: FileRef) -> StoredFrame:
        """What the combined values are laid onto: the middle bin, with padding only where every bin has it."""
        padding = None if self._padding is None else self._padding[self._slice[ref]]
        return cleared(replace(self._images.read(ref).frame, padding=padding), widen=self._widen)


def _true_of_all_bins(source: Dataset, tag: BaseTag) -> bool:
    if tag in _OF_ONE_BIN or tag.group in _OVERLAYS:
        return False
    if tag.group == _GE_GROUP and tag.is_private and not tag.is_private_creator:
        creator = source.get((tag.group, tag.element >> 8))
        named = str(creator.value).strip() if creator is not None else ""
        return not (named == _GE_PARAMETERS and tag.element & 0xFF == _GE_OFFSET_FREQUENCY)
    return True
