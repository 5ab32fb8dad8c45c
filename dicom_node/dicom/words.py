"""Corrected values back into the source's pixel words: same bits, sign, rescale and units."""

from __future__ import annotations

from dataclasses import dataclass

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


def _repeats_sign(source: StoredFrame) -> bool:
    if not source.signed or source.shift or source.bits_stored == 8 * source.words.dtype.itemsize:
        return False
    mask = (1 << (8 * source.words.dtype.itemsize)) - 1
    return bool((source.words == (source.stored & mask)).all())
