"""How much of a lesion's contrast is left, and which slices can tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.lesions import both_or_neither, lesion_figures

SIDE = 64


def lesions(*contrasts: float) -> tuple[np.ndarray, np.ndarray]:
    """Difference (1, y, x) that discs of radius 4 make, and their numbers."""
    y, x = np.mgrid[:SIDE, :SIDE]
    change, labels = np.zeros((1, SIDE, SIDE)), np.zeros((1, SIDE, SIDE), np.int32)
    for number, contrast in enumerate(contrasts, start=1):
        inside = np.hypot(x - 16 * number, y - 30) < 4
        change[0][inside], labels[0][inside] = contrast, number
    return change, labels


ALL = np.ones((1, SIDE, SIDE), bool)


@given(st.floats(0, 2), st.floats(-100, 100), st.floats(20, 60))
@settings(deadline=None)
def test_contrast_scales_and_ignores_a_shift(factor: float, shift: float, contrast: float) -> None:
    true, labels = lesions(contrast, -contrast)
    found = lesion_figures(factor * true + shift, true, labels, ALL)
    assert found.contrast == pytest.approx(factor - 1, abs=1e-9)
    assert found.worst == pytest.approx(abs(factor - 1), abs=1e-9)
    assert found.count == 2


def test_the_worst_is_that_of_one_lesion() -> None:
    true, labels = lesions(30, 40, -50)
    shown = true * np.select([labels == 1, labels == 2], [0.4, 1.2], 1.0)
    found = lesion_figures(shown, true, labels, ALL)
    assert found.contrast == pytest.approx((-0.6 + 0.2 + 0) / 3)
    assert found.worst == pytest.approx(0.6)


def test_smoothing_takes_contrast() -> None:
    true, labels = lesions(30, -30)
    found = lesion_figures(ndimage.gaussian_filter(true, (0, 2, 2)), true, labels, ALL)
    assert found.contrast < -0.1


def test_what_is_not_measured_tells_nothing() -> None:
    true, labels = lesions(30, 40)
    measured = ALL & (labels != 2)
    assert lesion_figures(true, true, labels, measured).count == 1
    assert lesion_figures(true, true, labels, ~ALL) is None
    assert lesion_figures(true, true, 0 * labels, ALL) is None


def test_a_slice_that_one_of_the_two_left_alone_does_not_count() -> None:
    given, given_without = np.full((4, 4), 2.0), np.full((4, 4), 1.0)
    inputs = [(given, given_without)] * 4
    changed = [(given + 5, given_without + 5), (given, given_without), (given + 5, given_without), (given, given * 3)]
    assert both_or_neither(changed, inputs) == [True, True, False, False]
