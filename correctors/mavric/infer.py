"""The MAVRIC corrector: checks both polarities, corrects a few slices at a time, and gives one combined series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from correctors.common.device import resolve_device
from correctors.mavric import best, paper
from correctors.mavric.best_network import MavricNetworks
from correctors.mavric.beyond import beyond_reach
from correctors.mavric.classical import classical
from correctors.mavric.evidence import (
    Acquired,
    Combining,
    Levels,
    Side,
    first_field,
    gather,
    levels,
)
from correctors.mavric.input_set import InputSet, Readout, input_set
from correctors.mavric.matched_filter import combined, root_sum_of_squares
from correctors.mavric.report import quality_of, warnings_of
from correctors.mavric.result import Result
from dicom_node.contracts import (
    Correction,
    Corrector,
    FloatArray,
    Mask,
    ParameterMap,
    ParameterValue,
    Units,
    Volume,
)
from dicom_node.errors import RequestError, WeightsError

Method = Callable[[Acquired, Levels, bool], Result]
"""Maps some slices' bins, the levels of their series, and whether roles are swapped, to a combined image and maps."""
OUTPUT = "plus"
"""The role that the combined series is derived from."""
UNCORRECTED: Mapping[str, Side] = {"plus": Side.PLUS, "minus": Side.MINUS, "mean": Side.BOTH}
"""Methods that move nothing, and the polarity that they show."""
_SHARES = {Side.PLUS: 1.0, Side.MINUS: 0.0, Side.BOTH: 0.5}
SLICES_AT_ONCE = {"cpu": 2, "cuda": 20}
"""Bounds the memory: 24 bins of both polarities are moved and held several times."""


def build(*, method: str, weights: Path | None, device: str, parameters: Mapping[str, ParameterValue]) -> Corrector:
    """Build the corrector; see `dicom_node.contracts.CorrectorFactory`.

    Args:
        method: one of `correctors.mavric.plugin.SPEC`.
        weights: package of `paper`, `predecessor` or `best`; the others have none.
        device: `auto`, `cpu` or `cuda[:n]`.
        parameters: those of the spec.

    Returns:
        The corrector.

    Raises:
        WeightsError: the method needs weights and got none, or ones of another architecture.
        RequestError: the method makes no image from one polarity alone.
    """
    on = resolve_device(device)
    wanted = str(parameters["combine"])
    matched = wanted == "matched" or (wanted == "auto" and method in ("classical", "best"))
    combining = Combining.MATCHED if matched else Combining.RSOS
    side = Side(str(parameters["polarity"]))
    if side is not Side.BOTH and method in (*UNCORRECTED, "best"):
        raise RequestError(
            f"mavric/{method} takes no polarity: it is for images that paper, predecessor or classical make from one "
            "polarity alone"
        )
    if method in (*UNCORRECTED, "classical"):
        if weights is not None:
            raise WeightsError(f"mavric/{method} has no weights: name a method that has, with --method")
        chosen: Method = (
            _Classical(combining, side) if method == "classical" else _Uncorrected(UNCORRECTED[method], combining)
        )
    elif weights is None:
        raise WeightsError(f"mavric/{method} needs a weights package, and none is installed: train one")
    elif method == "best":
        chosen = _Best(best.load(weights, on), combining)
    else:
        chosen = _Pairwise(paper.load(weights, on), combining, side, attention=method == "paper")
    return Mavric(
        method=chosen,
        device=on,
        readout=cast(Readout, str(parameters["readout"])),
        spacing_hz=float(parameters["bin_spacing_hz"]),
        fwhm_hz=float(parameters["bin_fwhm_hz"]),
    )


@dataclass(frozen=True)
class _Classical:
    combining: Combining
    side: Side

    def __call__(self, acquired: Acquired, known: Levels, swapped: bool) -> Result:
        side = self.side.swapped if swapped else self.side
        return classical(gather(acquired, known), self.combining, side)


@dataclass(frozen=True, eq=False)
class _Best:
    networks: MavricNetworks
    combining: Combining

    def __call__(self, acquired: Acquired, known: Levels, swapped: bool) -> Result:
        del swapped
        evidence = gather(acquired, known)
        if acquired.bins.count == 1:  # the networks have learnt from spectral bins
            return classical(evidence, self.combining)
        return best.result(self.networks, evidence, self.combining)


@dataclass(frozen=True)
class _Uncorrected:
    """MAVRIC(+), MAVRIC(-) or their mean."""

    side: Side
    combining: Combining

    def __call__(self, acquired: Acquired, known: Levels, swapped: bool) -> Result:
        field = first_field(acquired, known)
        share = _SHARES[self.side.swapped if swapped else self.side]
        if self.combining is Combining.MATCHED and acquired.bins.count > 1:
            one, other = (combined(images, field, acquired.bins) for images in (acquired.plus, acquired.minus))
        else:
            one, other = (root_sum_of_squares(images) for images in (acquired.plus, acquired.minus))
        image = share * one + (1 - share) * other
        attention, bandwidth = torch.full_like(image, share), acquired.bandwidth_hz_px
        return Result.by_field(image, field, attention, torch.zeros_like(image), bandwidth)


@dataclass(frozen=True, eq=False)
class _Pairwise:
    """`paper` and `predecessor`: bin after bin."""

    network: torch.nn.Module
    combining: Combining
    side: Side
    attention: bool

    def __call__(self, acquired: Acquired, known: Levels, swapped: bool) -> Result:
        del known
        made = paper.corrected_bins(self.network, acquired.plus, acquired.minus, attention=self.attention)
        maps, bandwidth = made.maps, acquired.bandwidth_hz_px
        centres = made.image.new_tensor(acquired.bins.centres_hz).view(-1, 1, 1, 1)
        field = _weighted(centres + bandwidth * maps.off_resonance, made.image)
        attention = _weighted(maps.attention, made.image)
        shift_plus = _weighted(maps.shift_plus - centres * (2 / bandwidth), acquired.plus)
        shift_minus = _weighted(maps.shift_minus + centres * (2 / bandwidth), acquired.minus)
        side = self.side.swapped if swapped else self.side
        images = {Side.BOTH: made.image, Side.PLUS: made.plus, Side.MINUS: made.minus}[side]
        if self.combining is Combining.MATCHED and acquired.bins.count > 1:
            image = combined(images, field, acquired.bins)
        else:
            image = root_sum_of_squares(images)
        return Result(image, field, attention, torch.ones_like(image), shift_plus, shift_minus)


def _weighted(values: Tensor, images: Tensor) -> Tensor:
    """Mean over the bins, (z, y, x), each weighted with its energy there."""
    energy = images.square()
    return (energy * values).sum(dim=0) / energy.sum(dim=0).clamp(min=torch.finfo(energy.dtype).tiny)


class Mavric:
    """Off-resonance correction on one device."""

    def __init__(
        self,
        *,
        method: Method,
        device: str,
        readout: Readout,
        spacing_hz: float,
        fwhm_hz: float,
    ) -> None:
        """Hold what does not change between series.

        Args:
            method: maps bins to a combined image.
            device: torch device string.
            readout: axis of the readout; `auto` asks the headers.
            spacing_hz: between bins, where the headers do not say [Hz].
            fwhm_hz: of the bins' profiles [Hz].
        """
        self._method = method
        self._device = device
        self._readout = readout
        self._spacing_hz, self._fwhm_hz = spacing_hz, fwhm_hz

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        """Correct and combine one acquisition.

        Args:
            inputs: `plus` and `minus`, axes bzyx, MR signal; one bin is an ordinary dual-polarity spin echo.

        Returns:
            One combined series in the role plus, axes zyx, with maps of frequency shifts, off-resonance and attention,
            and the region beyond the bins' reach.

        Raises:
            CorrectionRefused: the set is incomplete or inconsistent; the message says how.
        """
        given = input_set(
            inputs, readout=self._readout, spacing_hz=self._spacing_hz, fwhm_hz=self._fwhm_hz, device=self._device
        )
        known = levels(given.acquired)
        made = self._in_slices(given, known)
        image, field = given.on_grid(made.image), given.on_grid(made.off_resonance_hz)
        beyond = beyond_reach(image, field, given.acquired.bins, known.scale)
        source = inputs[OUTPUT]
        return Correction(
            changed=True,
            volumes={OUTPUT: Volume(_with_padding(image, source), source.units, source.geometry, tags=source.tags)},
            masks={"beyond": Mask(OUTPUT, beyond, "Beyond the reach of the spectral bins")} if beyond.any() else {},
            maps=_maps(given, made, field),
            quality=quality_of(given.on_grid(made.confidence), image, beyond, field),
            metrics={
                "spectral_bins": float(given.acquired.bins.count),
                "bandwidth_hz_px": given.acquired.bandwidth_hz_px,
                "noise_share": known.noise / known.scale,
                "polarities_swapped": float(given.swapped),
            },
            warnings=(*given.warnings, *warnings_of(beyond, source.geometry)),
            device=self._device.split(":")[0],
        )

    def _in_slices(self, given: InputSet, known: Levels) -> Result:
        acquired = given.acquired
        at_once = SLICES_AT_ONCE[torch.device(self._device).type]
        parts = []
        with torch.no_grad():
            for first in range(0, acquired.plus.shape[1], at_once):
                here = slice(first, first + at_once)
                some = replace(acquired, plus=acquired.plus[:, here], minus=acquired.minus[:, here])
                parts.append(self._method(some, known, given.swapped))
        names = [field.name for field in fields(Result)]
        return Result(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _with_padding(image: FloatArray, source: Volume) -> FloatArray:
    """Where no bin has a measured value there is none in the image either: the source's own stays."""
    if source.padding is None:
        return image
    never = np.logical_and.reduce(source.padding, axis=0)
    kept: FloatArray = np.where(never, source.pixels[len(source.pixels) // 2], image)
    return kept


def _maps(given: InputSet, made: Result, field: FloatArray) -> Mapping[str, ParameterMap]:
    """Figure 5 of the paper, for the whole spectrum: what belongs to the roles as they are named."""
    attention = given.on_grid(1 - made.attention if given.swapped else made.attention)
    aside = 2 * given.middle_hz / given.acquired.bandwidth_hz_px
    shifts = [given.on_grid(one) for one in (made.shift_plus - aside, made.shift_minus + aside)]
    plus, minus = reversed(shifts) if given.swapped else shifts
    return {
        "off-resonance": ParameterMap(
            OUTPUT, field + np.float32(given.middle_hz), Units.HERTZ, "Off-resonance frequency"
        ),
        "shift-plus": ParameterMap(OUTPUT, plus, Units.PIXEL, "Frequency shift from the plus to the minus polarity"),
        "shift-minus": ParameterMap(OUTPUT, minus, Units.PIXEL, "Frequency shift from the minus to the plus polarity"),
        "attention": ParameterMap(OUTPUT, attention, Units.FRACTION, "Attention: weight of the plus polarity"),
    }
