"""What makes two volumes of bins one acquisition, and every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from mavric_case import FEW, Case, both, tagged

from correctors.mavric.input_set import GE_OFFSET, ONE_BIN_FWHM_HZ, InputSet, Readout, input_set
from dicom_node.contracts import CorrectionRefused, TagValue, Units, Volume
from simulation.mavric import Bins

CASE = Case(slices=2)
Inputs = dict[str, Volume]


def read(inputs: Mapping[str, Volume], readout: Readout = "auto", spacing_hz: float = 1000.0) -> InputSet:
    return input_set(inputs, readout=readout, spacing_hz=spacing_hz, fwhm_hz=2250.0, device="cpu")


def with_pixels(inputs: Inputs, change: Callable[[np.ndarray], None], role: str = "minus") -> Inputs:
    pixels = inputs[role].pixels.copy()
    change(pixels)
    return {**inputs, role: replace(inputs[role], pixels=pixels)}


def with_frames(inputs: Inputs, role: str, **values: tuple[TagValue | None, ...]) -> Inputs:
    return {**inputs, role: replace(inputs[role], frame_tags={**inputs[role].frame_tags, **values})}


def by_bin(values: list[float], slices: int = CASE.slices) -> tuple[float, ...]:
    return tuple(value for value in values for _ in range(slices))


def columns(inputs: Inputs) -> Inputs:
    """The readout along the columns, and headers that say so."""
    turned = {}
    for role, volume in both(inputs, InPlanePhaseEncodingDirection="ROW").items():
        turned[role] = replace(volume, pixels=np.ascontiguousarray(np.swapaxes(volume.pixels, -1, -2)))
    return turned


def cut(volume: Volume) -> Volume:
    geometry = replace(volume.geometry, rows=volume.geometry.rows - 1)
    return replace(volume, pixels=np.ascontiguousarray(volume.pixels[..., :-1, :]), geometry=geometry)


def put(pixels: np.ndarray, value: float) -> None:
    pixels[1, 0, 3, 4] = value


REFUSALS: Mapping[str, tuple[Callable[[Inputs], Mapping[str, Volume]], str]] = {
    "a role": (lambda i: {"plus": i["plus"]}, "no volume in the role minus: both readout polarities are needed"),
    "units": (
        lambda i: {**i, "plus": replace(i["plus"], units=Units.HU)},
        r"the role plus must be MR signal with axes bzyx, got HU and bzyx",
    ),
    "axes": (
        lambda i: {**i, "minus": replace(i["minus"], pixels=i["minus"].pixels[3].copy(), axes="zyx")},
        r"the role minus must be MR signal with axes bzyx, got MR signal and zyx",
    ),
    "not finite": (lambda i: with_pixels(i, lambda p: put(p, np.nan)), "minus holds values that are not finite"),
    "negative": (lambda i: with_pixels(i, lambda p: put(p, -1.0)), "minus holds negative values: it shows no"),
    "empty": (lambda i: with_pixels(i, lambda p: p.fill(0.0)), "minus holds nothing but zeros"),
    "phase": (
        lambda i: {**i, "minus": tagged(i["minus"], ImageType=("ORIGINAL", "PRIMARY", "P"))},
        "ImageType of minus holds P: only original magnitude images",
    ),
    "phase, in one string": (lambda i: both(i, ImageType="ORIGINAL\\PRIMARY\\dis2d "), "ImageType of plus holds DIS2D"),
    "image type of one frame": (
        lambda i: with_frames(
            {**i, "plus": tagged(i["plus"], ImageType=None)},
            "plus",
            ImageType=(("ORIGINAL", "PRIMARY"),) * 23 + (("ORIGINAL", "R"),),
        ),
        "ImageType of plus holds R",
    ),
    "bins": (
        lambda i: {**i, "minus": replace(i["minus"], pixels=i["minus"].pixels[1:].copy())},
        "plus has 12 spectral bins, minus 11: bins are missing",
    ),
    "matrix": (lambda i: {**i, "minus": cut(i["minus"])}, "different matrices: 2 x 64 x 64 and 2 x 63"),
    "rescale in one role": (
        lambda i: {**i, "plus": tagged(i["plus"], RescaleSlope=2.0)},
        "RescaleSlope is there in 24 of 48 images: their brightness cannot be compared",
    ),
    "rescale in one image": (
        lambda i: with_frames(both(i), "plus", RescaleIntercept=(0.0, *(None,) * 23)),
        "RescaleIntercept is there in 1 of 48 images",
    ),
    "no bandwidth": (lambda i: both(i, PixelBandwidth=None), "PixelBandwidth .* is missing or not positive"),
    "bandwidth 0": (lambda i: both(i, PixelBandwidth=0.0), "PixelBandwidth .* is missing or not positive"),
    "bandwidth of text": (lambda i: both(i, PixelBandwidth="500"), "PixelBandwidth .* is missing or not positive"),
    "bandwidths": (
        lambda i: {**i, "minus": tagged(i["minus"], PixelBandwidth=510.0)},
        "PixelBandwidth differs between images: 500 to 510 Hz",
    ),
    "no readout": (
        lambda i: both(i, InPlanePhaseEncodingDirection=None),
        "InPlanePhaseEncodingDirection .* is missing: the readout axis is unknown; a route can name it",
    ),
    "readouts": (
        lambda i: {**i, "minus": tagged(i["minus"], InPlanePhaseEncodingDirection="ROW")},
        "InPlanePhaseEncodingDirection .* is not ROW or COL in all images",
    ),
    "other readout": (lambda i: both(i, InPlanePhaseEncodingDirection="OTHER"), "is not ROW or COL in all images"),
    "uneven frequencies": (
        lambda i: with_frames(both(i), "plus", **{GE_OFFSET: by_bin([0, 1000, 2000, 4000, *range(5000, 13000, 1000)])}),
        "the frequencies of the bins, as the headers tell them, are not evenly spaced",
    ),
    "readout told wrongly": (
        lambda i: both(i, InPlanePhaseEncodingDirection="ROW"),
        "they do across it, so the readout axis is told wrongly",
    ),
    "one polarity twice": (
        lambda i: {**i, "minus": i["plus"]},
        "the bins are not in the order of their frequencies, or both roles hold the same readout polarity",
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_does_not_fit_is_refused_and_why(reason: str) -> None:
    spoil, says = REFUSALS[reason]
    with pytest.raises(CorrectionRefused, match=says):
        read(spoil(CASE.inputs))


def test_a_reason_holds_no_text_of_a_tag() -> None:
    with pytest.raises(CorrectionRefused) as refused:
        read(both(CASE.inputs, InPlanePhaseEncodingDirection="SMITH"))
    assert "SMITH" not in str(refused.value)


def test_a_whole_set_is_taken_as_it_is() -> None:
    given = read(CASE.inputs)
    assert (given.swapped, given.across, given.warnings) == (False, False, ())
    assert given.acquired.bandwidth_hz_px == 500.0
    assert given.acquired.bins == FEW
    assert np.array_equal(given.acquired.plus.numpy(), CASE.inputs["plus"].pixels)
    assert np.array_equal(given.acquired.minus.numpy(), CASE.inputs["minus"].pixels)


def test_bandwidths_that_differ_by_rounding_are_one() -> None:
    inputs = CASE.inputs
    assert read({**inputs, "minus": tagged(inputs["minus"], PixelBandwidth=500.4)}).acquired.bandwidth_hz_px == 500.0


def test_one_empty_bin_is_no_reason_to_refuse() -> None:
    def lose(pixels: np.ndarray) -> None:
        pixels[-1] = 0

    read(with_pixels(CASE.inputs, lose))


def test_an_empty_bin_between_others_is_a_missing_one() -> None:
    def lose(pixels: np.ndarray) -> None:
        pixels[len(pixels) // 2] = 0

    with pytest.raises(CorrectionRefused, match=r"holds nothing but zeros in bin \d+ of \d+"):
        read(with_pixels(CASE.inputs, lose))


@pytest.mark.parametrize("keyword", ["RepetitionTime", "EchoTime", "InversionTime"])
def test_two_contrasts_are_no_pair(keyword: str) -> None:
    inputs = both(CASE.inputs, **{keyword: 100.0})
    assert read({**inputs, "minus": tagged(inputs["minus"], **{keyword: 103.0})}).warnings == ()
    with pytest.raises(CorrectionRefused, match=f"{keyword} differs between images, 100 to 150 ms"):
        read({**inputs, "minus": tagged(inputs["minus"], **{keyword: 150.0})})


def test_offsets_tell_where_the_bins_lie_about_water() -> None:
    frames = np.repeat(np.arange(len(CASE.inputs["plus"].pixels)) * 1000.0 - 2500.0, CASE.inputs["plus"].shape[1])
    told = {role: replace(v, frame_tags={GE_OFFSET: tuple(frames.tolist())}) for role, v in CASE.inputs.items()}
    assert read(told).middle_hz == pytest.approx(float(frames.mean()))
    assert read(CASE.inputs).middle_hz == 0.0


def test_swapped_roles_are_put_right() -> None:
    inputs = CASE.inputs
    given = read({"plus": inputs["minus"], "minus": inputs["plus"]})
    assert given.swapped
    assert torch.equal(given.acquired.plus, read(inputs).acquired.plus)


def test_the_tensors_are_copies() -> None:
    inputs = CASE.inputs
    before = inputs["plus"].pixels.copy()
    read(inputs).acquired.plus.zero_()
    assert np.array_equal(inputs["plus"].pixels, before)


@pytest.mark.parametrize("phase", ["COL", "COLUMN", "col "])
def test_phase_encoding_along_columns_means_a_readout_along_rows(phase: str) -> None:
    assert not read(both(CASE.inputs, InPlanePhaseEncodingDirection=phase)).across


def test_phase_encoding_along_rows_means_a_readout_along_columns() -> None:
    given, plain = read(columns(CASE.inputs)), read(CASE.inputs)
    assert given.across
    assert torch.equal(given.acquired.plus, plain.acquired.plus) and given.acquired.plus.is_contiguous()
    back = given.on_grid(given.acquired.plus)
    assert np.array_equal(back, columns(CASE.inputs)["plus"].pixels) and back.flags.c_contiguous


@pytest.mark.parametrize("told", [None, "ROW", "OTHER"])
def test_a_route_can_name_the_readout_axis(told: str | None) -> None:
    assert not read(both(CASE.inputs, InPlanePhaseEncodingDirection=told), "rows").across
    assert read(both(columns(CASE.inputs), InPlanePhaseEncodingDirection=told), "columns").across


def test_equal_rescales_say_nothing_and_different_ones_warn() -> None:
    scaled = both(CASE.inputs, RescaleSlope=2.0, RescaleIntercept=0.0)
    assert read(scaled).warnings == ()
    for differing in (
        {**scaled, "minus": tagged(scaled["minus"], RescaleSlope=3.0)},
        with_frames(both(scaled, RescaleSlope=None), "plus", RescaleSlope=(2.0,) * 23 + (4.0,))
        | {"minus": scaled["minus"]},
    ):
        (said,) = read(differing).warnings
        assert "different rescale slopes or intercepts, which were applied" in said


def ascending(spacing: float, start: float = -5500.0) -> list[float]:
    return [start + spacing * n for n in range(FEW.count)]


@pytest.mark.parametrize("role_of_tag", ["offset", "frequency"])
def test_told_frequencies_give_the_spacing(role_of_tag: str) -> None:
    told = ascending(1100.0)
    values: dict[str, tuple[float, ...]] = (
        {GE_OFFSET: by_bin(told)}
        if role_of_tag == "offset"
        else {"ImagingFrequency": by_bin([63.9 + hertz * 1e-6 for hertz in told])}
    )
    given = read(with_frames(CASE.inputs, "plus", **values), spacing_hz=777.0)
    assert given.acquired.bins.spacing_hz == pytest.approx(1100.0, rel=1e-5)
    assert given.acquired.bins.fwhm_hz == 2250.0


def test_the_offset_is_believed_before_the_frequency() -> None:
    tags = {GE_OFFSET: by_bin(ascending(900.0)), "ImagingFrequency": by_bin([63.0 + 1e-3 * n for n in range(12)])}
    assert read(with_frames(CASE.inputs, "plus", **tags)).acquired.bins.spacing_hz == pytest.approx(900.0)


@pytest.mark.parametrize("keyword", [GE_OFFSET, "ImagingFrequency"])
def test_descending_bins_are_turned_round(keyword: str) -> None:
    plain = read(CASE.inputs)
    inputs = {role: replace(v, pixels=v.pixels[::-1].copy()) for role, v in CASE.inputs.items()}
    hertz = 1.0 if keyword == GE_OFFSET else 1e-6
    given = read(with_frames(inputs, "plus", **{keyword: by_bin([63e6 * hertz + f * hertz for f in ascending(-1000)])}))
    assert not given.swapped
    assert torch.equal(given.acquired.plus, plain.acquired.plus)
    assert torch.equal(given.acquired.minus, plain.acquired.minus)
    assert given.acquired.bins.spacing_hz == pytest.approx(1000.0, rel=1e-4)


UNTELLING: Mapping[str, tuple[TagValue | None, ...]] = {
    "all the same": (63.87,) * 24,
    "absent in one image": (None, *by_bin([63.0 + 1e-3 * n for n in range(12)])[1:]),
    "another in each slice": tuple(63.0 + 1e-3 * n for n in range(24)),
    "text": ("63.87",) * 24,
    "up and down": by_bin([63.0 + 1e-3 * n for n in (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10)]),
}


@pytest.mark.parametrize("kind", UNTELLING)
def test_frequencies_that_tell_nothing_leave_the_parameter_s_spacing(kind: str) -> None:
    given = read(with_frames(CASE.inputs, "plus", ImagingFrequency=UNTELLING[kind]), spacing_hz=1234.0)
    assert given.acquired.bins.spacing_hz == 1234.0


def test_one_bin_is_a_spin_echo_and_its_field_from_the_pair_alone() -> None:
    alone = Case(slices=2, bins=Bins(1, 1000.0, ONE_BIN_FWHM_HZ))
    given = read(both(alone.inputs, ImagingFrequency=63.87))
    assert given.acquired.bins == Bins(1, 1000.0, ONE_BIN_FWHM_HZ)
    (said,) = given.warnings
    assert "no spectral bins: the field comes from the pair alone" in said
