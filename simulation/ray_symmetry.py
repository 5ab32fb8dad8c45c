"""The eightfold symmetry of a square image under evenly spaced parallel rays.

A ray is given by its angle theta in [0, 360) degrees and its distance s >= 0 from the rotation centre. Every such ray
is the image of a ray with theta in [0, 45] degrees under one of the eight motions that map the square onto itself, so
a system matrix needs the rays of one octant only: it is applied to eight turned and mirrored copies of the image.

Motion number v = 2 q + m turns by q x 90 degrees after (m = 1) mirroring at the diagonal x = y.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MOTIONS = 8


def octant_angles(n_angles: int) -> int:
    """Number of angles in [0, 45] degrees, ends included, of `n_angles` (even) spread evenly over [0, 180)."""
    return n_angles // 4 + 1


def half_detectors(n_detectors: int) -> int:
    """Number of detectors at s >= 0."""
    return (n_detectors + 1) // 2


def moved_copies(image: Tensor) -> Tensor:
    """Return the eight moved copies of an image, as columns.

    Args:
        image: (y, x), square.

    Returns:
        (y * x, 8): column v holds the image as motion v sees it.
    """
    if image.device.type == "cpu":
        # numpy on purpose: torch would split these short copies over threads, and on a busy machine wait for each.
        plain = image.numpy()
        copies = np.empty((*plain.shape, MOTIONS), plain.dtype)
        for turns in range(4):
            turned = np.rot90(plain, turns)
            copies[..., 2 * turns], copies[..., 2 * turns + 1] = turned, turned.T
        return torch.from_numpy(copies.reshape(-1, MOTIONS))
    moved = []
    for turns in range(4):
        rotated = torch.rot90(image, turns)
        moved += [rotated, rotated.T]
    return torch.stack(moved, dim=-1).reshape(-1, MOTIONS)


def merge_copies(columns: Tensor, n_pixels: int) -> Tensor:
    """Undo the motions and add the eight copies: the exact transpose of `moved_copies`.

    Args:
        columns: (y * x, 8).
        n_pixels: side of the square.

    Returns:
        (y, x).
    """
    if columns.device.type == "cpu":
        plain = columns.numpy().reshape(n_pixels, n_pixels, MOTIONS)
        total = np.zeros((n_pixels, n_pixels), plain.dtype)
        for turns in range(4):
            turned = np.rot90(total, turns)  # a view: adding to it adds to the unturned image
            turned += plain[..., 2 * turns]
            upright = turned.T
            upright += plain[..., 2 * turns + 1]
        return torch.from_numpy(total)
    copies = columns.reshape(n_pixels, n_pixels, MOTIONS)
    merged = torch.zeros_like(copies[..., 0])
    for turns in range(4):
        merged += torch.rot90(copies[..., 2 * turns] + copies[..., 2 * turns + 1].T, -turns)
    return merged


def ray_slots(n_angles: int, n_detectors: int) -> Tensor:
    """Say where each ray of the sinogram lies among the octant's rays.

    Args:
        n_angles: angles over [0, 180), even.
        n_detectors: detectors, centred on the rotation centre.

    Returns:
        int64 (angle, detector): (octant row) * 8 + motion, octant row = octant angle * half_detectors + detector.
    """
    half = half_detectors(n_detectors)
    angle = torch.arange(n_angles)[:, None]
    detector = torch.arange(n_detectors)[None, :]
    right = detector >= n_detectors // 2
    distance = torch.where(right, detector - n_detectors // 2, n_detectors - n_detectors // 2 - 1 - detector)
    full_turn = torch.where(right, angle, angle + n_angles)
    quarter = n_angles // 2
    turns, within = full_turn // quarter, full_turn % quarter
    mirrored = within > n_angles // 4
    octant_angle = torch.where(mirrored, quarter - within, within)
    return (octant_angle * half + distance) * MOTIONS + 2 * turns + mirrored.long()
