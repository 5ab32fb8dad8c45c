"""Two volumes of spectral bins as one acquisition, readout last, both polarities on one grid; or why not.

Reasons name tags and numbers, never tag values with text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from correctors.mavric.evidence import Acquired
from correctors.mavric.prescription import onto
from correctors.mavric.spectral_order import Order, order_of
from dicom_node.contracts import CorrectionRefused, FloatArray, TagValue, Units, Volume
from simulation.mavric import Bins

ROLES = ("plus", "minus")
GE_OFFSET = "0043,GEMS_PARM_01,34"
"""Offset Frequency of a GE image [Hz]."""
LARGEST_BANDWIDTH_DIFFERENCE = 0.01
LARGEST_CONTRAST_DIFFERENCE = 0.05
"""Of repetition, echo and inversion time between the polarities."""
_ONE_BIN = (
    "one image of each polarity and no spectral bins: the field comes from the pair alone. Where the scanner combined "
    "bins into these images before export, that does not hold, and the result must not be used"
)
ONE_BIN_FWHM_HZ = 1e9
"""A single 'bin' is an ordinary spin echo: it excites every frequency."""
UNSUITABLE = frozenset(
    {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "DIS2D", "DIS3D", "LOCALIZER", "PROJECTION IMAGE",
     "MIP", "MPR"}
)  # fmt: skip
"""Values of Image Type: no magnitude, or resampled after acquisition, so that signal no longer lies where it fell. A
single bin may well be called DERIVED by a scanner; whether it is one is seen from bin to bin."""
Readout = Literal["auto", "rows", "columns"]
_DISORDER = "the bins are not in the order of their frequencies, or both roles hold the same readout polarity"


@dataclass(frozen=True, eq=False)
class InputSet:
    """What is corrected.

    Attributes:
        acquired: the bins, (bin, z, y, x) with the readout last, ascending in frequency with the plus polarity as it
            physically is: `swapped` and `Order` say what was done to get there.
        swapped: whether `acquired.plus` came in the role minus.
        across: whether rows and columns were exchanged to have the readout last.
        warnings: sentences for the physicist.
        middle_hz: frequency of the middle of the bins against water, where headers tell it [Hz].
    """

    acquired: Acquired
    swapped: bool
    across: bool
    warnings: tuple[str, ...]
    middle_hz: float = 0.0

    def on_grid(self, values: Tensor) -> FloatArray:
        """Values (..., y, x) back in the order of the series' rows and columns."""
        turned = values.transpose(-1, -2) if self.across else values
        return np.ascontiguousarray(turned.cpu().numpy(), dtype=np.float32)


def input_set(
    inputs: Mapping[str, Volume], *, readout: Readout, spacing_hz: float, fwhm_hz: float, device: str
) -> InputSet:
    """Check two volumes and put them in order.

    Args:
        inputs: `plus` and `minus`, axes bzyx, MR signal.
        readout: its axis; `auto` asks In-plane Phase Encoding Direction.
        spacing_hz: between bins, where the headers do not say [Hz].
        fwhm_hz: of the bins' profiles [Hz].
        device: torch device string.

    Raises:
        CorrectionRefused: something is missing or does not fit; the message says what.
    """
    plus, minus = (_volume(inputs, role) for role in ROLES)
    for volume, role in ((plus, ROLES[0]), (minus, ROLES[1])):
        _check_pixels(volume, role)
        _check_image_type(volume, role)
    if plus.shape[0] != minus.shape[0]:
        raise CorrectionRefused(f"plus has {plus.shape[0]} spectral bins, minus {minus.shape[0]}: bins are missing")
    minus = onto(plus.geometry, minus)
    _check_contrast(plus, minus)
    warnings = _check_rescale(plus, minus)
    bandwidth = _bandwidth(plus, minus)
    across = (_readout_axis(plus, minus) if readout == "auto" else readout) == "columns"
    told = _told_spacing_hz(plus)
    backwards = told is not None and told < 0
    images = [_tensor(volume, backwards=backwards, across=across, device=device) for volume in (plus, minus)]
    count = plus.shape[0]
    if count == 1:
        bins = Bins(1, spacing_hz, ONE_BIN_FWHM_HZ)
        warnings = (*warnings, _ONE_BIN)
    else:
        bins = Bins(count, spacing_hz if told is None else abs(told), fwhm_hz)
    step = bins.spacing_hz / bandwidth
    order = order_of(images[0], images[1], step)
    if order is Order.UNCLEAR:
        other = order_of(images[0].transpose(-1, -2), images[1].transpose(-1, -2), step)
        raise CorrectionRefused(
            "from bin to bin the two polarities do not move apart steadily along the readout: "
            + ("they do across it, so the readout axis is told wrongly" if other is not Order.UNCLEAR else _DISORDER)
        )
    swapped = order is Order.SWAPPED
    first, second = (images[1], images[0]) if swapped else (images[0], images[1])
    return InputSet(Acquired(first, second, bandwidth, bins), swapped, across, warnings, _told_middle_hz(plus))


def _volume(inputs: Mapping[str, Volume], role: str) -> Volume:
    volume = inputs.get(role)
    if volume is None:
        raise CorrectionRefused(f"the input set has no volume in the role {role}: both readout polarities are needed")
    if volume.units is not Units.MR_SIGNAL or volume.axes != "bzyx":
        raise CorrectionRefused(
            f"the role {role} must be MR signal with axes bzyx, got {volume.units.value} and {volume.axes}"
        )
    return volume


def _check_pixels(volume: Volume, role: str) -> None:
    if not all(bool(np.isfinite(one).all()) for one in volume.pixels):
        raise CorrectionRefused(f"{role} holds values that are not finite")
    if float(volume.pixels.min()) < 0:
        raise CorrectionRefused(f"{role} holds negative values: it shows no magnitude")
    lit = np.flatnonzero([bool(one.any()) for one in volume.pixels])
    if not len(lit):
        raise CorrectionRefused(f"{role} holds nothing but zeros")
    # Bins at the ends may hold no signal, and exporters may write zeros for it.
    if empty := sorted(set(range(lit[0], lit[-1])) - set(lit.tolist())):
        raise CorrectionRefused(f"{role} holds nothing but zeros in bin {empty[0] + 1} of {len(volume.pixels)}")


def _check_image_type(volume: Volume, role: str) -> None:
    for value in _values(volume, "ImageType"):
        parts = value if isinstance(value, tuple) else str(value).split("\\")
        if found := sorted({str(part).strip().upper() for part in parts} & UNSUITABLE):
            raise CorrectionRefused(
                f"ImageType of {role} holds {found[0]}: only original magnitude images, as they were read out, are "
                "corrected"
            )


def _check_contrast(plus: Volume, minus: Volume) -> None:
    """Refuse two acquisitions that show different contrasts: no shift makes them alike."""
    for keyword in ("RepetitionTime", "EchoTime", "InversionTime"):
        values = [v for volume in (plus, minus) for v in _values(volume, keyword) if isinstance(v, int | float)]
        if values and max(values) - min(values) > LARGEST_CONTRAST_DIFFERENCE * max(values):
            raise CorrectionRefused(
                f"{keyword} differs between images, {min(values):g} to {max(values):g} ms: their contrasts differ"
            )


def _check_rescale(plus: Volume, minus: Volume) -> tuple[str, ...]:
    """Refuse a set in which some images have a rescale and others none; tell where it differs."""
    differ = False
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        values = [_every(volume, keyword) for volume in (plus, minus)]
        given = [value is not None for own in values for value in own]
        if any(given) and not all(given):
            raise CorrectionRefused(
                f"{keyword} is there in {sum(given)} of {len(given)} images: their brightness cannot be compared"
            )
        differ |= len({value for own in values for value in own}) > 1
    if not differ:
        return ()
    return ("images have different rescale slopes or intercepts, which were applied before bins were compared",)


def _bandwidth(plus: Volume, minus: Volume) -> float:
    values = [value for volume in (plus, minus) for value in _values(volume, "PixelBandwidth")]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not numbers or len(numbers) < len(values) or min(numbers) <= 0:
        raise CorrectionRefused("PixelBandwidth (0018,0095) is missing or not positive: shifts cannot be computed")
    if max(numbers) / min(numbers) - 1 > LARGEST_BANDWIDTH_DIFFERENCE:
        raise CorrectionRefused(f"PixelBandwidth differs between images: {min(numbers):g} to {max(numbers):g} Hz")
    return numbers[0]


def _readout_axis(plus: Volume, minus: Volume) -> str:
    """`rows` where signal moves along rows (the last axis), `columns` where along columns (PS3.3 C.8.3.1)."""
    values = {
        str(value).strip().upper()
        for volume in (plus, minus)
        for value in _values(volume, "InPlanePhaseEncodingDirection")
    }
    if not values:
        raise CorrectionRefused(
            "InPlanePhaseEncodingDirection (0018,1312) is missing: the readout axis is unknown; a route can name it "
            "with the parameter readout"
        )
    if values <= {"COL", "COLUMN"}:
        return "rows"
    if values == {"ROW"}:
        return "columns"
    raise CorrectionRefused("InPlanePhaseEncodingDirection (0018,1312) is not ROW or COL in all images of both roles")


def _told_spacing_hz(volume: Volume) -> float | None:
    """Spacing of bins that headers tell, negative where they descend; None where they do not [Hz]."""
    for keyword, hertz in ((GE_OFFSET, 1.0), ("ImagingFrequency", 1e6)):
        by_bin = _each_bin(_every(volume, keyword), volume.shape[0])
        if by_bin is None:
            continue
        steps = np.diff(by_bin) * hertz
        if not len(steps):
            return None
        usual = float(steps.mean())
        if abs(usual) < 1.0 or (np.sign(steps) != np.sign(usual)).any():
            continue
        if (np.abs(steps / usual - 1) > 0.25).any():
            raise CorrectionRefused("the frequencies of the bins, as the headers tell them, are not evenly spaced")
        return usual
    return None


def _told_middle_hz(volume: Volume) -> float:
    """GE's offsets are against water, so bins need not lie evenly about it [Hz]."""
    by_bin = _each_bin(_every(volume, GE_OFFSET), volume.shape[0])
    return 0.0 if by_bin is None or len(by_bin) < 2 else float(by_bin.mean())


def _each_bin(
    values: Sequence[TagValue | None], count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """One number for each bin; None unless all its slices say the same."""
    found = []
    for own in np.array_split(np.arange(len(values)), count):
        numbers = {value for n in own if isinstance(value := values[n], int | float)}
        if len(numbers) != 1 or any(not isinstance(values[n], int | float) for n in own):
            return None
        found.append(float(numbers.pop()))
    return np.asarray(found)


def _every(volume: Volume, keyword: str) -> Sequence[TagValue | None]:
    """The value of a tag in every 2-D frame, None where it is absent."""
    frames = int(np.prod(volume.shape[:-2]))
    if keyword in volume.tags:
        return (volume.tags[keyword],) * frames
    return volume.frame_tags.get(keyword, (None,) * frames)


def _values(volume: Volume, keyword: str) -> list[TagValue]:
    return [value for value in dict.fromkeys(_every(volume, keyword)) if value not in (None, "", ())]


def _tensor(volume: Volume, *, backwards: bool, across: bool, device: str) -> Tensor:
    """A copy, bins ascending and readout last: the volume is not ours to change."""
    ascending = volume.pixels[::-1] if backwards else volume.pixels
    turned = np.swapaxes(ascending, -1, -2) if across else ascending
    return torch.from_numpy(np.array(turned, dtype=np.float32, order="C")).to(device)
