"""The eightfold symmetry of a square image under evenly spaced parallel rays.

A ray is given by its angle theta in [0, 360) degrees and its distance s >= 0 from the rotation centre. Every such ray
is the image of a ray with theta in [0, 45] degrees under one of the eight motions that map the square onto itself, so
a system matrix needs the rays of one octant only: it is applied to eight turned and mirrored copies of the image.

Motion number v = 2 q + m turns by q x 90 degrees after (m = 1) mirroring at the diagonal x = y.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOTIONS = 8


def octant_angles(n_angles: int) -> int:
    """Number of angles in [0, 45] degrees, ends included, of `n_angles` (even) spread evenly over [0, 180)."""
    return n_angles // 4 + 1


def half_detectors(n_detectors: int) -> int:
    """Number of detectors at s >= 0."""
    return (n_detectors + 1) // 2


def moved_copies(images: Tensor) -> Tensor:
    """Return the eight moved copies of each image, as columns.

    Args:
        images: (batch, y, x), square.

    Returns:
        (y * x, batch * 8): column 8 i + v holds image i as motion v sees it.
    """
    copies = []
    for turns in range(4):
        turned = torch.rot90(images, turns, (1, 2))
        copies += [turned, turned.transpose(1, 2)]
    batch, height, width = images.shape
    return torch.stack([c.permute(1, 2, 0) for c in copies], dim=-1).reshape(height * width, batch * MOTIONS)


def merge_copies(columns: Tensor, n_pixels: int) -> Tensor:
    """Undo the motions and add the eight copies: the exact transpose of `moved_copies`.

    Args:
        columns: (y * x, batch * 8).
        n_pixels: side of the square.

    Returns:
        (batch, y, x).
    """
    copies = columns.reshape(n_pixels, n_pixels, -1, MOTIONS)
    merged: Tensor | None = None
    for turns in range(4):
        pair = copies[..., 2 * turns] + copies[..., 2 * turns + 1].transpose(0, 1)
        turned = torch.rot90(pair, -turns, (0, 1))
        merged = turned if merged is None else merged + turned
    assert merged is not None
    return merged.permute(2, 0, 1).contiguous()


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
