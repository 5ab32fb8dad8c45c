"""Figures with known answers: closed forms, scikit-image, and what other programs print."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from training.metrics import Figures, figures, mean_of, psnr, rmse, ssim, vif, vif_z, visual_information

WINDOW = (0.0, 255.0)
SIDE = 64
ALL = np.ones((SIDE, SIDE), dtype=bool)
Y, X = np.mgrid[:SIDE, :SIDE]
TRUTH = 127.5 + 60 * np.sin(X / 3.0) * np.cos(Y / 5.0) + 40 * np.sign(np.sin((X + Y) / 11.0))
IMAGE = TRUTH + 12 * np.sin(X * Y / 7.0)


def test_psnr_and_ssim_are_those_of_scikit_image_inside_the_window() -> None:
    image, truth = (np.clip(one, *WINDOW) for one in (IMAGE, TRUTH))
    expected = peak_signal_noise_ratio(truth, image, data_range=255)
    assert psnr(IMAGE, TRUTH, window=WINDOW, measured=ALL) == pytest.approx(expected, rel=1e-12)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(truth, image, **options)
    assert ssim(IMAGE, TRUTH, window=WINDOW, measured=ALL) == pytest.approx(expected, rel=1e-12)


def test_vif_is_that_of_sewar_and_torchmetrics() -> None:
    """Values printed by sewar 0.4.10 (`vifp`) and torchmetrics 1.9 for these arrays."""
    assert visual_information(IMAGE, TRUTH) == pytest.approx(0.5310147263531584, rel=1e-10)
    assert visual_information(1.1 * TRUTH, TRUTH) == pytest.approx(1.0303181648535127, rel=1e-10)


def test_vif_maps_the_window_to_grey_levels_before_anything_else() -> None:
    grey = np.clip(IMAGE, 50, 200), np.clip(TRUTH, 50, 200)
    expected = visual_information(*((one - 50) * 255 / 150 for one in grey))
    assert vif(IMAGE, TRUTH, window=(50.0, 200.0), measured=ALL) == pytest.approx(expected, rel=1e-12)


def test_the_z_scored_variant_hardly_sees_noise_that_vif_sees() -> None:
    noisy = TRUTH + np.random.default_rng(0).normal(0, 20, TRUTH.shape)
    assert vif(noisy, TRUTH, window=WINDOW, measured=ALL) < 0.5
    assert vif_z(noisy, TRUTH, measured=ALL) > 0.75


def test_psnr_of_a_known_error() -> None:
    truth = np.full((SIDE, SIDE), 100.0, np.float32)
    assert psnr(truth + 25.5, truth, window=WINDOW, measured=ALL) == pytest.approx(20.0)
    assert psnr(truth + 1e6, truth, window=WINDOW, measured=ALL) == pytest.approx(20 * np.log10(255 / 155))
    assert rmse(truth + 1e6, truth, measured=ALL) == pytest.approx(1e6)


def test_means_are_taken_in_float64() -> None:
    """Squares of float32 of this size leave nothing of the small error when they are summed in float32."""
    side = 512
    truth = np.full((side, side), 3.0e4, np.float32)
    image = truth.copy()
    image[0, 0] += 4096
    image[1:] += 0.015625
    exact = np.sqrt((4096**2 + (side - 1) * side * 0.015625**2) / side**2)
    assert rmse(image, truth, measured=np.ones((side, side), bool)) == pytest.approx(exact, rel=1e-12)


def test_a_truth_without_contrast() -> None:
    flat = np.full((SIDE, SIDE), 7.0)
    assert visual_information(flat.copy(), flat) == 1.0
    assert visual_information(TRUTH, flat) == 0.0


def test_ssim_at_the_rim_counts_where_nothing_else_is_measured() -> None:
    rim = ALL.copy()
    rim[5:-5, 5:-5] = False
    assert ssim(IMAGE, TRUTH, window=WINDOW, measured=rim) < 1


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="no voxel"):
        rmse(IMAGE, TRUTH, measured=~ALL)
    with pytest.raises(ValueError, match="shapes"):
        figures(IMAGE, TRUTH[:-1], window=WINDOW, measured=ALL)
    with pytest.raises(ValueError, match="41 pixels"):
        figures(IMAGE[:40], TRUTH[:40], window=WINDOW, measured=ALL[:40])
    with pytest.raises(ValueError, match="nothing to average"):
        mean_of([])


def test_the_mean_of_figures() -> None:
    assert mean_of([Figures(20, 0.5, 10, 0.2, 0.4), Figures(30, 0.7, 20, 0.4, 0.8)]) == Figures(
        25, pytest.approx(0.6), 15, pytest.approx(0.3), pytest.approx(0.6)
    )
