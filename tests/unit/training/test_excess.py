"""Error beyond the noise floor: its laws, and what smoothing and streak removal do to each figure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from simulation.projector import ParallelGeometry, ParallelProjector
from training.excess import JudgedCase, excess, excess_figures, floor_figures, judged_case, streak_amplitude

SIDE, PIXEL_MM, WINDOW = 128, 2.0, (-1000.0, 1604.0)
ERRORS = arrays(np.float64, (2, 12, 12), elements=st.floats(-500, 500, width=32))
ALL = np.ones((2, 12, 12), bool)


@cache
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth, floor, artefact and measured, each (2, y, x): rays through a steel rod have ten times the noise."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    truth = np.full((SIDE, SIDE), -1000.0)
    truth[np.hypot(x / 58, y / 42) < 1] = 40
    truth[np.hypot(x + 25, y) < 12] = 900
    truth[np.hypot(x + 25, y) < 8] = 100
    metal = np.hypot(x + 25, y) < 3
    truth[metal] = 3071
    projector = ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, 480))
    shadow = projector.forward(torch.from_numpy(metal[None]).float()) > 0
    noise = torch.randn(2, *shadow.shape[1:], generator=torch.Generator().manual_seed(1))
    images = [
        projector.fbp(rays).numpy().astype(np.float64) for rays in (noise, torch.where(shadow, 10 * noise, noise))
    ]
    scale = 10 / images[0].std()
    measured = np.stack([~ndimage.binary_dilation(metal, iterations=2)] * 2)
    pair = np.stack([truth, truth])
    return pair, pair + scale * images[0], pair + scale * images[1], measured


def prepared(own: float = 0.0) -> JudgedCase:
    """The scene; `own` is the noise that the clean image had before anything was simulated [HU]."""
    truth, floor, artefact, measured = scene()
    grain = own * np.random.default_rng(2).standard_normal(truth.shape)
    return judged_case(
        truth + grain, floor + grain, artefact + grain, measured=measured, window=WINDOW, pixel_mm=PIXEL_MM
    )


def smoothed(images: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, sigma, sigma))


def test_the_floor_has_no_excess_and_keeps_noise_and_edges() -> None:
    case = prepared()
    figures = excess_figures(case.floor, case)
    assert figures.excess == 0
    assert figures.bone_edges == pytest.approx(1)
    assert figures.noise_ratio == pytest.approx(1, abs=0.02)
    rmse, streak = floor_figures(case)
    assert figures.streak == streak
    in_body = np.concatenate([(case.floor - case.truth)[z][case.body[z]] for z in (0, 1)])
    assert in_body.std() == pytest.approx(10, rel=0.15)
    assert 0.8 * in_body.std() < rmse < in_body.std()  # air is clipped to the window's lower end


def test_the_input_keeps_its_noise_exactly() -> None:
    case = prepared()
    figures = excess_figures(case.artefact, case)
    assert figures.noise_ratio == pytest.approx(1, abs=1e-12)
    assert figures.excess > 5


@pytest.mark.parametrize("own", [0.0, 15.0])
def test_smoothing_shows_whether_or_not_streaks_and_the_scanner_s_own_noise_hide_it(own: float) -> None:
    case = prepared(own)
    for images in (case.floor, case.artefact):
        figures = excess_figures(smoothed(images), case)
        assert figures.noise_ratio < 0.5
        assert figures.bone_edges < 0.8
    assert excess_figures(smoothed(case.artefact, 0.4), case).noise_ratio < 0.95
    halfway = 0.5 * case.floor + 0.5 * smoothed(case.floor)
    assert 0.5 < excess_figures(halfway, case).noise_ratio < 0.8


def test_streaks_that_go_take_no_noise_with_them() -> None:
    case = prepared(own=15.0)
    half = 0.5 * (case.floor + case.artefact)
    figures = excess_figures(half, case)
    assert figures.noise_ratio == pytest.approx(1, abs=0.02)
    assert figures.excess < excess_figures(case.artefact, case).excess


def test_a_slice_with_hardly_a_streak_does_not_speak_for_the_others() -> None:
    truth, floor, artefact, measured = scene()
    streaks = (artefact - floor) * np.array([0.02, 1.0])[:, None, None]
    case = judged_case(truth, floor, floor + streaks, measured=measured, window=WINDOW, pixel_mm=PIXEL_MM)
    images = case.floor.copy()
    images[1] = smoothed(images)[1]
    whole = excess_figures(smoothed(case.floor), case).noise_ratio
    assert excess_figures(images, case).noise_ratio == pytest.approx((1 + whole) / 2, abs=0.05)


def test_noise_does_not_make_edges_steeper() -> None:
    case = prepared()
    noisy = case.floor + 40 * np.random.default_rng(3).standard_normal(case.floor.shape)
    assert excess_figures(noisy, case).bone_edges == pytest.approx(1, abs=0.03)


def test_what_is_not_measured_or_beyond_the_window_does_not_count() -> None:
    case = prepared()
    wild = np.where(case.measured, case.artefact, 1e5)
    assert excess_figures(wild, case).excess == excess_figures(case.artefact, case).excess
    bright = case.floor.copy()
    bright[:, 10, 10] = 1e6
    cut = case.floor.copy()
    cut[:, 10, 10] = WINDOW[1]
    assert excess_figures(bright, case) == excess_figures(cut, case)


def test_without_noise_or_bone_or_patient_there_is_no_figure_of_it() -> None:
    truth, _, artefact, measured = scene()
    case = judged_case(truth, truth, artefact, measured=measured, window=WINDOW, pixel_mm=PIXEL_MM)
    assert excess_figures(artefact, case).noise_ratio is None
    assert floor_figures(case)[0] == 0
    assert excess_figures(artefact, replace(case, edges=np.zeros_like(measured))).bone_edges is None
    air = np.full_like(truth, -1000.0)
    empty = judged_case(air, air, air, measured=measured, window=WINDOW, pixel_mm=PIXEL_MM)
    figures = excess_figures(air, empty)
    assert (figures.excess, figures.streak, figures.noise_ratio, figures.bone_edges) == (0, None, None, None)


def test_what_cannot_be_judged_is_refused() -> None:
    truth, floor, artefact, measured = scene()
    with pytest.raises(ValueError, match="shapes"):
        judged_case(truth, floor[:1], artefact, measured=measured, window=WINDOW, pixel_mm=PIXEL_MM)
    with pytest.raises(ValueError, match="no voxel"):
        judged_case(truth, floor, artefact, measured=~(measured | True), window=WINDOW, pixel_mm=PIXEL_MM)


@given(ERRORS, st.floats(0, 4))
@settings(deadline=None)
def test_excess_of_amplified_noise(noise: np.ndarray, factor: float) -> None:
    rmse = np.sqrt(np.mean(noise**2))
    expected = rmse * np.sqrt(max(0.0, factor**2 - 1))
    assert excess(factor * noise, noise, ALL) == pytest.approx(expected, rel=1e-6, abs=1e-5 * (1 + rmse))


@given(ERRORS, ERRORS, st.floats(0, 10))
@settings(deadline=None)
def test_excess_scales_and_never_exceeds_the_error(errors: np.ndarray, noise: np.ndarray, factor: float) -> None:
    one = excess(errors, noise, ALL)
    assert 0 <= one <= np.sqrt(np.mean(errors**2)) + 1e-9
    assert excess(factor * errors, factor * noise, ALL) == pytest.approx(factor * one, rel=1e-6, abs=1e-4)


@given(ERRORS, st.floats(-1000, 1000), st.floats(0, 10))
@settings(deadline=None)
def test_streak_amplitude_ignores_a_shift_and_scales(errors: np.ndarray, shift: float, factor: float) -> None:
    amplitude = streak_amplitude(errors, ALL)
    assert amplitude is not None and amplitude >= 0
    assert streak_amplitude(errors + shift, ALL) == pytest.approx(amplitude, abs=1e-6)
    assert streak_amplitude(factor * errors, ALL) == pytest.approx(factor * amplitude, abs=1e-6)
    assert streak_amplitude(-errors, ALL) == pytest.approx(amplitude, abs=1e-6)


def test_streak_amplitude_of_a_ramp() -> None:
    ramp = np.arange(400.0).reshape(1, 20, 20)
    assert streak_amplitude(ramp, np.ones((1, 20, 20), bool)) == 380  # 389.5 - 9.5, twenty values each
