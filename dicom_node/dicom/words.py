"""Corrected values back into the source's pixel words: same bits, sign, rescale and units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dicom_node.contracts.volume import FloatArray
from dicom_node.dicom.codecs import Words
from dicom_node.dicom.pixels import StoredFrame


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """One frame, ready for Pixel Data.

    Attributes:
        words: pixel words (y, x), unsigned, Bits Allocated wide.
        changed: whether any word differs from the source's.
        clipped: voxels whose value did not fit the stored bits and became the nearest that does.
    """

    words: Words
    changed: bool
    clipped: int


def encode(source: StoredFrame, corrected: FloatArray) -> EncodedFrame:
    """Encode one corrected frame like its source (PS3.3 C.7.6.3.1, C.11.1).

    Unchanged and padding voxels keep their words bit for bit. Bits above Bits Stored are kept too (overlays of old
    lie there), unless they repeat the sign in the whole source frame: then they go on repeating it.

    Args:
        source: the source's frame.
        corrected: corrected physical values (y, x).

    Raises:
        DerivationError: wrong shape, or a value is not finite.
    """
    words, clipped = source.encode(corrected)
    touched = words != source.words
    if not touched.any():
        return EncodedFrame(source.words, changed=False, clipped=0)
    if _repeats_sign(source):
        unused = 8 * words.dtype.itemsize - source.bits_stored
        signed = words.astype(words.dtype.str.replace("u", "i"), copy=True)
        words = np.where(touched, ((signed << unused) >> unused).view(words.dtype), words)
    return EncodedFrame(words, changed=True, clipped=clipped)


def cleared(source: StoredFrame, *, widen: bool) -> StoredFrame:
    """The frame with words that hold its stored values and nothing else, for an image that is not only this one.

    What old overlays left above the stored bits goes; padding keeps its words, and no other voxel gets its value.

    Args:
        source: the source's frame.
        widen: give the stored values all allocated bits.
    """
    width = 8 * source.words.dtype.itemsize
    bits, shift = (width, 0) if widen else (source.bits_stored, source.shift)
    if bits == source.bits_stored and _repeats_sign(source):
        shown = source.words
    else:
        shown = ((source.stored & ((1 << bits) - 1)) << shift).astype(source.words.dtype)
    padding_range = source.padding_range
    if source.padding is not None and padding_range is None and source.padding.any():
        shown = np.where(source.padding, source.words, shown)  # it lies in bits above the stored ones
        if widen:
            lost = source.words[source.padding].view(f"<{'i' if source.signed else 'u'}{width // 8}")
            padding_range = int(lost.min()), int(lost.max())
    return replace(source, words=shown, bits_stored=bits, shift=shift, padding_range=padding_range)


def _repeats_sign(source: StoredFrame) -> bool:
    if not source.signed or source.shift or source.bits_stored == 8 * source.words.dtype.itemsize:
        return False
    mask = (1 << (8 * source.words.dtype.itemsize)) - 1
    return bool((source.words == (source.stored & mask)).all())
