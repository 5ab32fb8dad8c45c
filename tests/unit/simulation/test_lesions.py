"""Lesions lie where they may, and are what they say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.lesions import CONTRAST_HU, DIAMETER_MM, DISTANCE_MM, random_lesions

SIDE = 160


def tissue() -> np.ndarray:
    hu = np.full((SIDE, SIDE), -1000.0, np.float32)
    hu[10:150, 10:150] = 40.0
    hu[60:100, 60:80] = 900.0
    return hu


def metal() -> np.ndarray:
    found = np.zeros((SIDE, SIDE), bool)
    found[70:90, 64:76] = True
    return found


@given(st.integers(0, 2**31), st.floats(0.7, 1.4))
@settings(max_examples=20, deadline=None)
def test_lesions_lie_in_soft_tissue_near_the_metal(seed: int, pixel_mm: float) -> None:
    made = random_lesions(tissue(), metal(), pixel_mm, np.random.default_rng(seed), mean_count=3)
    change = made.hu - tissue()
    away_mm = (
        np.min(
            [np.hypot(*(np.indices((SIDE, SIDE)) - np.array(at)[:, None, None])) for at in np.argwhere(metal())], axis=0
        )
        * pixel_mm
    )
    touched = np.abs(change) > 1.0
    assert not touched[tissue() != 40.0].any()
    assert not touched.any() or away_mm[touched].min() > DISTANCE_MM[0] - 2 * pixel_mm
    for lesion in made.lesions:
        assert CONTRAST_HU[0] <= abs(lesion.contrast_hu) <= CONTRAST_HU[1]
        assert DIAMETER_MM[0] <= 2 * lesion.radius_mm <= DIAMETER_MM[1]
        assert abs(change[lesion.centre] - lesion.contrast_hu) < 0.1 * abs(lesion.contrast_hu)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_profile_has_the_area_of_its_disc(seed: int) -> None:
    made = random_lesions(tissue(), metal(), 1.0, np.random.default_rng(seed), mean_count=3)
    for lesion in made.lesions:
        assert abs(lesion.profile((SIDE, SIDE), 1.0).sum() / (np.pi * lesion.radius_mm**2) - 1) < 0.1


def test_without_metal_nothing_is_put_in() -> None:
    made = random_lesions(tissue(), np.zeros((SIDE, SIDE), bool), 1.0, np.random.default_rng(1), mean_count=5)
    assert made.lesions == ()
    assert np.array_equal(made.hu, tissue())
