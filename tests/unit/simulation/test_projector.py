"""The projector against analytic integrals and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.transform import radon

from simulation.projector import ParallelGeometry, ParallelProjector

BLOBS = ((1.0, 0.10, -0.05, 0.09, 0.05, 0.4), (0.7, -0.12, 0.10, 0.05, 0.07, -0.9))
"""Height, centre x and y, widths a and b (shares of the side), tilt: Gaussians have exact line integrals."""


def blobs(size: int) -> np.ndarray:
    grid = (np.arange(size) - (size - 1) / 2) / size
    x, y = grid[None, :], grid[:, None]
    image = np.zeros((size, size))
    for height, cx, cy, a, b, tilt in BLOBS:
        u = (x - cx) * math.cos(tilt) + (y - cy) * math.sin(tilt)
        v = -(x - cx) * math.sin(tilt) + (y - cy) * math.cos(tilt)
        image += height * np.exp(-(u**2) / (2 * a**2) - v**2 / (2 * b**2))
    return image.astype(np.float32)


def blob_integrals(geometry: ParallelGeometry) -> np.ndarray:
    side = geometry.n_pixels * geometry.pixel_mm
    theta = (np.arange(geometry.n_angles) * np.pi / geometry.n_angles)[:, None]
    s = ((np.arange(geometry.detectors) - (geometry.detectors - 1) / 2) * geometry.spacing_mm / side)[None, :]
    total = np.zeros((geometry.n_angles, geometry.detectors))
    for height, cx, cy, a, b, tilt in BLOBS:
        width2 = (a * np.cos(theta - tilt)) ** 2 + (b * np.sin(theta - tilt)) ** 2
        off = s - cx * np.cos(theta) - cy * np.sin(theta)
        total += height * a * b * np.sqrt(2 * np.pi / width2) * np.exp(-(off**2) / (2 * width2)) * side
    return total


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize(
    "geometry",
    [
        ParallelGeometry(128, 0.8, 60),
        ParallelGeometry(127, 0.8, 62, n_detectors=200),
        ParallelGeometry(128, 0.8, 60, detector_mm=0.61),
    ],
)
def test_forward_equals_analytic_integrals(geometry: ParallelGeometry) -> None:
    ours = ParallelProjector(geometry).forward(torch.from_numpy(blobs(geometry.n_pixels))[None])[0].numpy()
    assert relative_error(ours, blob_integrals(geometry)) < 1e-3


def test_forward_equals_scikit_image() -> None:
    size = 129  # odd: scikit-image turns about index size // 2, which is the centre only then
    image = blobs(size)
    middle = np.arange(size) - size // 2
    image[np.hypot(middle[:, None], middle[None, :]) > size // 2] = 0  # it demands zeros outside the circle
    geometry = ParallelGeometry(size, 1.0, 60, n_detectors=size)
    ours = ParallelProjector(geometry).forward(torch.from_numpy(image)[None])[0].numpy()
    # scikit-image's y axis points up: its angle is the negative of ours.
    theirs = radon(image, theta=-np.arange(60) * 3.0, circle=True).T
    assert relative_error(ours, theirs) < 1e-3


def test_fbp_equals_the_image() -> None:
    geometry = ParallelGeometry(128, 0.8, 180)
    image = blobs(128)
    sinogram = torch.from_numpy(blob_integrals(geometry).astype(np.float32))[None]
    projector = ParallelProjector(geometry)
    assert relative_error(projector.fbp(sinogram)[0].numpy(), image) < 5e-3
    again = projector.fbp(projector.forward(torch.from_numpy(image)[None]))[0].numpy()
    assert relative_error(again, image) < 5e-3


def test_corners_of_the_square_are_seen() -> None:
    geometry = ParallelGeometry(32, 1.0, 36)
    image = torch.zeros(1, 32, 32)
    image[0, 0, 0] = image[0, 31, 31] = image[0, 0, 31] = 1.0
    projector = ParallelProjector(geometry)
    assert bool((projector.forward(image).sum(-1) > 2).all())
    assert float(projector.fbp(projector.forward(image))[0, 0, 0]) > 0.5


def test_windows_lower_the_noise_and_keep_the_mean() -> None:
    geometry = ParallelGeometry(64, 1.0, 90)
    projector = ParallelProjector(geometry)
    disc = (torch.hypot(*torch.meshgrid([torch.arange(64) - 31.5] * 2, indexing="ij")) < 20).float()[None]
    clean = projector.forward(disc)
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    middle = (slice(None), slice(24, 40), slice(24, 40))
    spread = []
    for window in ("ram-lak", "shepp-logan", "cosine", "hann"):
        spread.append(float(projector.fbp(noisy - clean, window=window)[middle].std()))
        assert float(projector.fbp(clean, window=window)[middle].mean()) == pytest.approx(1.0, abs=5e-3)
    assert spread == sorted(spread, reverse=True)


def test_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="even"):
        ParallelGeometry(16, 1.0, 7)
    with pytest.raises(ValueError, match="positive"):
        ParallelGeometry(16, 0.0, 8)
    projector = ParallelProjector(ParallelGeometry(16, 1.0, 8))
    with pytest.raises(ValueError, match="images must be"):
        projector.forward(torch.zeros(16, 16))
    with pytest.raises(ValueError, match="sinograms must be"):
        projector.fbp(torch.zeros(1, 8, 5))
    with pytest.raises(ValueError, match="unknown window"):
        projector.fbp(torch.zeros(1, 8, projector.geometry.detectors), window="boxcar")  # type: ignore[arg-type]


def test_result_does_not_depend_on_the_batch() -> None:
    projector = ParallelProjector(ParallelGeometry(24, 1.0, 10))
    images = torch.rand(5, 24, 24, generator=torch.Generator().manual_seed(1))
    together = projector.forward(images)
    for index in range(5):
        assert torch.equal(together[index], projector.forward(images[index : index + 1])[0])
