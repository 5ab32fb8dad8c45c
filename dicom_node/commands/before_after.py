"""One slice before and after, as a picture, and the error where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

from dicom_node.contracts import Volume

_WINDOW_HU = (-200.0, 300.0)
_DIFFERENCE_HU = (-200.0, 200.0)
_METAL_MARGIN = 2
"""Voxels around metal that are left out of the error: partial volume is neither metal nor tissue."""


@dataclass(frozen=True)
class Errors:
    """Root mean square error against the truth, outside metal, over the slices with metal [HU]."""

    before_hu: float
    after_hu: float
    slices: int


def errors(before: Volume, after: Volume, truth: Volume, metal_hu: float) -> Errors:
    """RMSE of both against the truth, where the truth is below `metal_hu` and not beside metal [HU]."""
    metal = truth.pixels >= metal_hu
    slices = np.flatnonzero(metal.any(axis=(1, 2)))
    plane = np.ones((1, 3, 3), bool)
    squared = np.zeros(2)
    voxels = 0
    for z in slices:
        outside = ~binary_dilation(metal[z : z + 1], plane, iterations=_METAL_MARGIN)[0]
        voxels += int(outside.sum())
        for i, image in enumerate((before, after)):
            difference = (image.pixels[z] - truth.pixels[z])[outside].astype(np.float64)
            squared[i] += float((difference**2).sum())
    rmse = np.sqrt(squared / max(voxels, 1))
    return Errors(float(rmse[0]), float(rmse[1]), len(slices))


def most_changed_slice(before: Volume, after: Volume) -> int:
    """Index of the slice that the correction changed most."""
    return int(np.argmax([np.abs(a - b).mean() for a, b in zip(before.pixels, after.pixels, strict=True)]))


def picture(before: Volume, after: Volume, truth: Volume | None, z: int, path: Path) -> None:
    """Write a PNG: before, after, what changed, and the truth where known, on one stated window."""
    low, high = _WINDOW_HU
    panels = [
        (f"before, {low:g} to {high:g} HU", _grey(before.pixels[z], _WINDOW_HU)),
        ("after, same window", _grey(after.pixels[z], _WINDOW_HU)),
        (
            f"after - before, {_DIFFERENCE_HU[0]:g} to {_DIFFERENCE_HU[1]:g} HU",
            _grey(after.pixels[z] - before.pixels[z], _DIFFERENCE_HU),
        ),
    ]
    if truth is not None:
        panels.append(("truth, same window", _grey(truth.pixels[z], _WINDOW_HU)))
    height, width = before.pixels.shape[1:]
    sheet = Image.new("L", (len(panels) * (width + 4), height + 18), 0)
    draw = ImageDraw.Draw(sheet)
    for i, (title, panel) in enumerate(panels):
        sheet.paste(Image.fromarray(panel), (i * (width + 4), 18))
        draw.text((i * (width + 4) + 4, 3), title, fill=255)
    sheet.save(path)


def _grey(image: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    scaled: NDArray[np.uint8] = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled
