"""Between stored integers and physical values, exactly (PS3.3 C.7.6.3, C.11.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from dicom_node.contracts import BoolArray, FileRef, FloatArray
from dicom_node.dicom.codecs import Words, decode
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.parsing import PARSE_ERRORS, parse, quiet
from dicom_node.dicom.screening import refuse_image
from dicom_node.errors import DerivationError, UnreadableFile, UnusableSeries

Stored = NDArray[np.int32] | NDArray[np.int64]
"""Stored values: 32 bits hold those of all images but the rare ones of 32 bits."""
_EXACT = 1 << 23
_BLOCK = 1 << 14
_OUTSIDE_CT = -1024.0
"""No scanner measures CT numbers below this [HU]; what lies lower marks the outside of the reconstructed circle."""


@dataclass(frozen=True, eq=False)
class StoredFrame:
    """One frame as its file holds it.

    Attributes:
        words: container words (y, x), unsigned, Bits Allocated wide, unused high bits as in the file.
        stored: stored values (y, x): the Bits Stored of the words, sign extended where signed.
        slope: Rescale Slope, 1 where the file has none.
        intercept: Rescale Intercept, 0 where the file has none.
        bits_stored: Bits Stored.
        shift: how far the stored bits lie above bit 0 (High Bit + 1 - Bits Stored), normally 0.
        signed: Pixel Representation 1.
        padding_range: (lowest, highest) stored value that means "nothing measured here"; None when there is none.
        padding: (y, x) True where nothing was measured; None when that is nowhere.
    """

    words: Words
    stored: Stored
    slope: float
    intercept: float
    bits_stored: int
    shift: int
    signed: bool
    padding_range: tuple[int, int] | None
    padding: BoolArray | None

    @property
    def physical(self) -> FloatArray:
        """Values in physical units, float32 (y, x)."""
        return self._physical(self.stored)

    def encode(self, physical: FloatArray) -> tuple[Words, int]:
        """Container words for corrected values, and how many did not fit.

        A voxel whose value is the one that was read keeps its word bit for bit, as does padding; another is rounded
        to the nearest stored value and keeps the word's unused bits.

        Args:
            physical: float32 (y, x) in physical units.

        Returns:
            The words, and the number of voxels that were clipped to what the stored bits can hold.

        Raises:
            DerivationError: wrong shape, or a value is not finite.
        """
        if physical.shape != self.stored.shape:
            raise DerivationError(f"corrected slice has shape {physical.shape}, its source {self.stored.shape}")
        words, clipped = self.words, 0
        rows = max(1, _BLOCK // max(1, physical.shape[1]))
        for start in range(0, physical.shape[0], rows):  # small enough for the processor's cache, and no fresh memory
            block = slice(start, start + rows)
            asked = physical[block] != self._physical(self.stored[block])
            if self.padding is not None:
                asked &= ~self.padding[block]
            count = np.count_nonzero(asked)
            if not count:
                continue
            if words is self.words:
                words = self.words.copy()
            if 2 * count < asked.size:
                new, outside = self._encoded(physical[block][asked], self.words[block][asked])
                words[block][asked] = new
            else:  # encoding all of them takes less than picking these out
                settled = np.where(asked, physical[block], np.float32(self.intercept))
                new, outside = self._encoded(settled, self.words[block])
                np.copyto(words[block], new, where=asked)
            clipped += outside
        return words, clipped

    def _physical(self, stored: Stored) -> FloatArray:
        if (
            self.slope == 1.0
            and self.bits_stored <= 16
            and self.intercept.is_integer()
            and abs(self.intercept) < _EXACT
        ):
            # Whole numbers that float32 holds: the same values, in half the time.
            return stored.astype(np.float32) + np.float32(self.intercept)
        return to_physical(stored, self.slope, self.intercept)

    def _encoded(self, physical: NDArray[np.float32], words: Words) -> tuple[Words, int]:
        new, clipped = _to_stored(
            physical, self.slope, self.intercept, self.bits_stored, self.signed, self.padding_range
        )
        if self.bits_stored == 8 * words.dtype.itemsize:
            return new.astype(words.dtype), clipped
        mask = (1 << self.bits_stored) - 1
        bits = ((new & mask) << self.shift).astype(words.dtype)
        unused = ~(mask << self.shift) & ((1 << 8 * words.dtype.itemsize) - 1)
        return bits | (words & words.dtype.type(unused)), clipped


def to_physical(stored: NDArray[Any], slope: float, intercept: float) -> FloatArray:
    """`slope * stored + intercept`, computed in float64 and rounded once to float32."""
    return (np.asarray(stored, dtype=np.float64) * slope + intercept).astype(np.float32)


def to_stored(
    physical: NDArray[Any],
    slope: float,
    intercept: float,
    bits_stored: int,
    signed: bool,
    padding_range: tuple[int, int] | None = None,
) -> Stored:
    """Nearest stored value for each physical one: the inverse of `to_physical` within half a slope.

    Args:
        physical: values in physical units, any shape.
        slope: Rescale Slope, not 0.
        intercept: Rescale Intercept.
        bits_stored: values are clipped to what so many bits can hold.
        signed: two's complement.
        padding_range: stored values that must not arise; the nearest allowed one is taken instead.

    Raises:
        DerivationError: a value is not finite.
    """
    return _to_stored(physical, slope, intercept, bits_stored, signed, padding_range)[0]


def _to_stored(
    physical: NDArray[Any],
    slope: float,
    intercept: float,
    bits_stored: int,
    signed: bool,
    padding_range: tuple[int, int] | None,
) -> tuple[Stored, int]:
    """The same, and how many were clipped."""
    values = np.asarray(physical, dtype=np.float64) - intercept
    if slope != 1.0:
        values /= slope
    np.rint(values, out=values)
    lowest, highest = stored_range(bits_stored, signed)
    least, most = (values.min(), values.max()) if values.size else (lowest, highest)
    if not (math.isfinite(least) and math.isfinite(most)):
        raise DerivationError("corrected voxels are not finite: they cannot be stored")
    clipped = 0
    if least < lowest or most > highest:
        clipped = int(np.count_nonzero((values < lowest) | (values > highest)))
        np.clip(values, lowest, highest, out=values)
    stored: Stored = values.astype(np.int32) if bits_stored < 32 else values.astype(np.int64)
    if padding_range is not None:
        first, last = padding_range
        hit = (stored >= first) & (stored <= last)
        if hit.any():
            below, above = first - 1, last + 1
            nearer_below = values[hit] - below < above - values[hit]
            use_below = (nearer_below | (above > highest)) & (below >= lowest)
            stored[hit] = np.where(use_below, below, above)
    return stored, clipped


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest stored value."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def read_stored(ref: FileRef) -> StoredFrame:
    """Read and decode one classic single-frame image.

    Raises:
        UnreadableFile: damaged or truncated.
        UnusableSeries: no pixel data, or pixels of a kind that is no CT or MR image.
    """
    with open_ref(ref) as stream:
        return stored_from(parse(stream, ref, pixels=True), ref)


def stored_from(dataset: FileDataset, ref: FileRef) -> StoredFrame:
    """The same for a dataset that is already read, with its pixel data."""
    description = describe(dataset, ref)
    return description.frame(decode(dataset, str(dataset.file_meta.TransferSyntaxUID), ref))


@dataclass(frozen=True)
class FrameDescription:
    """How the words of a frame become values.

    Attributes:
        rows, columns, bits_allocated: of the words.
        slope, intercept, bits_stored, shift, signed: as in `StoredFrame`.
        declared_padding: Pixel Padding Value and its limit, None where the file has none.
        is_ct: whether impossible values in the corners mark the outside.
    """

    rows: int
    columns: int
    bits_allocated: int
    slope: float
    intercept: float
    bits_stored: int
    shift: int
    signed: bool
    declared_padding: tuple[int, int] | None
    is_ct: bool

    def frame(self, words: Words) -> StoredFrame:
        """The frame of these words."""
        stored = _stored(words, self.shift, self.bits_stored, self.signed)
        padding_range, padding = _padding(words, stored, self.declared_padding, self.bits_stored, self.signed)
        if self.declared_padding is None and self.is_ct:
            padding_range, padding = _outside_circle(stored, self.slope, self.intercept)
        return StoredFrame(
            words,
            stored,
            self.slope,
            self.intercept,
            self.bits_stored,
            self.shift,
            self.signed,
            padding_range,
            padding,
        )


def describe(dataset: FileDataset, ref: FileRef) -> FrameDescription:
    """What a dataset says of its pixels.

    Raises:
        UnreadableFile, UnusableSeries: as `read_stored`.
    """
    series = str(dataset.SeriesInstanceUID)
    try:
        with quiet():
            _refuse_pixels(dataset, ref, series, str(dataset.file_meta.TransferSyntaxUID))
            slope, intercept = _rescale(dataset, series)
            bits_stored = int(dataset.BitsStored)
            return FrameDescription(
                rows=int(dataset.Rows),
                columns=int(dataset.Columns),
                bits_allocated=int(dataset.BitsAllocated),
                slope=slope,
                intercept=intercept,
                bits_stored=bits_stored,
                shift=int(dataset.get("HighBit", bits_stored - 1)) + 1 - bits_stored,
                signed=int(dataset.PixelRepresentation) == 1,
                declared_padding=_declared_padding(dataset),
                is_ct=str(dataset.get("Modality", "")) == "CT",
            )
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: damaged ({type(error).__name__} in the image's description)") from None


def _refuse_pixels(dataset: FileDataset, ref: FileRef, series: str, transfer_syntax_uid: str) -> None:
    for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            raise UnusableSeries(f"series {series}: {ref} has floating-point pixels, no CT or MR image has")
    if "PixelData" not in dataset:
        with open_ref(ref) as stream:
            parse(stream, ref, pixels=False)  # tells a file cut short from one that never had pixels
        raise UnusableSeries(f"series {series}: {ref} has no pixel data")
    refuse_image(dataset.get, series, transfer_syntax_uid)


def _rescale(dataset: FileDataset, series: str) -> tuple[float, float]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        if str(dataset.get("Modality", "")) == "CT":
            raise UnusableSeries(
                f"series {series}: RescaleSlope or RescaleIntercept is missing, CT numbers are unknown"
            )
        return float(slope if slope is not None else 1.0), float(intercept if intercept is not None else 0.0)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or float(slope) == 0.0:
        raise UnusableSeries(f"series {series}: RescaleSlope {slope} and RescaleIntercept {intercept} give no values")
    return float(slope), float(intercept)


def _declared_padding(dataset: FileDataset) -> tuple[int, int] | None:
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    return value, (limit if isinstance(limit, int) else value)


def _stored(words: Words, shift: int, bits_stored: int, signed: bool) -> Stored:
    """Stored values of container words."""
    if bits_stored == 8 * words.dtype.itemsize and not shift and signed:
        words = words.view(words.dtype.str.replace("u", "i"))
    wide: Stored = words.astype(np.int32) if words.dtype.itemsize <= 2 else words.astype(np.int64)
    if bits_stored == 8 * words.dtype.itemsize and not shift:
        return wide
    return _extend(wide >> shift, bits_stored, signed)


def _extend(bits: Stored, bits_stored: int, signed: bool) -> Stored:
    """Keep the low `bits_stored` bits and, where signed, extend their sign."""
    kept = bits & ((1 << bits_stored) - 1)
    if signed:
        half = 1 << (bits_stored - 1)
        kept = (kept ^ half) - half
    return kept


def _padding(
    words: Words, stored: Stored, declared: tuple[int, int] | None, bits_stored: int, signed: bool
) -> tuple[tuple[int, int] | None, BoolArray | None]:
    if declared is None:
        return None, None
    lowest, highest = stored_range(bits_stored, signed)
    width = words.dtype.itemsize * 8
    # The tag may have been written with the other signedness (US for SS): its 16 bits mean the same word.
    first, last = sorted(_extend(np.asarray(declared, dtype=np.int64), width, signed).tolist())
    if lowest <= first and last <= highest:
        mask = (stored >= first) & (stored <= last)
        return (first, last), (mask if mask.any() else None)
    # Padding that Bits Stored cannot hold lies in the whole container word, and no stored value can hit it.
    container = _extend(words.astype(np.int64), width, signed)
    mask = (container >= first) & (container <= last)
    return None, (mask if mask.any() else None)


def _outside_circle(stored: Stored, slope: float, intercept: float) -> tuple[tuple[int, int] | None, BoolArray | None]:
    """CT files that mark the outside without declaring it: one impossible value in all four corners."""
    corner = int(stored[0, 0])
    corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
    if slope * corner + intercept >= _OUTSIDE_CT or not (corners == corner).all():
        return None, None
    return (corner, corner), stored == corner
