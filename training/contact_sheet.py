"""Pictures of cases side by side: artefact, each method and truth, and beneath what is left of the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.contracts import BoolArray, FloatArray
from dicom_node.errors import StorageFailed
from training.subject import Scale

PANEL = 288
"""Longest side of one picture [pixels]; larger images are averaged down."""
GAP = 4
LINE = 16
ROWS = 6
"""Cases on one sheet."""
TINT = (255, 140, 0)
TINT_SHARE = 0.35
Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One slice by every method.

    Attributes:
        label: printed above; no patient data.
        artefact: (y, x), physical units.
        images: (y, x) by method.
        truth: (y, x).
        excluded: bool (y, x), voxels that are not judged.
    """

    label: str
    artefact: FloatArray
    images: Mapping[str, FloatArray]
    truth: FloatArray
    excluded: BoolArray


def write_sheets(rows: Sequence[SheetRow], scale: Scale, folder: Path, stem: str) -> list[Path]:
    """Write sheets of at most six cases, `STEM-1.png` and so on.

    Raises:
        StorageFailed: the disk refuses.
    """
    paths = []
    for number, start in enumerate(range(0, len(rows), ROWS), start=1):
        path = folder / f"{stem}-{number}.png"
        try:
            draw_sheet(rows[start : start + ROWS], scale).save(path)
        except OSError as error:
            raise StorageFailed(f"{path}: {error.strerror or error}") from error
        paths.append(path)
    return paths


def draw_sheet(rows: Sequence[SheetRow], scale: Scale) -> Image.Image:
    """One sheet.

    Args:
        rows: cases; all have the same methods.
        scale: windows of pictures and of differences.

    Returns:
        An RGB image: for each row a line of text, the pictures, and under each its difference to the truth.
    """
    names = ["artefact", *rows[0].images, "truth"]
    sizes = [_fitted(row.truth.shape) for row in rows]
    width = len(names) * (max(w for _, w in sizes) + GAP)
    height = sum(2 * (h + GAP) + LINE for h, _ in sizes) + 2 * LINE
    sheet = Image.new("RGB", (width, height), (0, 0, 0))
    text = ImageDraw.Draw(sheet)
    step = width // len(names)
    for column, name in enumerate(names):
        text.text((column * step + GAP, 2), name, fill=(255, 255, 255))
    top = LINE
    for row, (high, wide) in zip(rows, sizes, strict=True):
        text.text((GAP, top + 2), _plain(row.label), fill=(200, 200, 200))
        top += LINE
        for column, image in enumerate([row.artefact, *row.images.values(), row.truth]):
            shown = tinted(grey(image, scale.shown), row.excluded)
            sheet.paste(_resized(shown, high, wide), (column * step, top))
            if column < len(names) - 1:
                error = tinted(grey(image - row.truth, (-scale.difference, scale.difference)), row.excluded)
                sheet.paste(_resized(error, high, wide), (column * step, top + high + GAP))
        top += 2 * (high + GAP)
    low, highest = scale.shown
    units = scale.units.value
    legend = (
        f"pictures {low:g} to {highest:g} {units}; beneath: minus truth, -{scale.difference:g} to "
        f"{scale.difference:g} {units}; orange: not judged"
    )
    text.text((GAP, top + 2), legend, fill=(200, 200, 200))
    return sheet


def grey(image: FloatArray, window: tuple[float, float]) -> Picture:
    """Map a window to 0..255, uint8 (y, x)."""
    low, high = window
    scaled: Picture = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled


def tinted(picture: Picture, excluded: BoolArray) -> Picture:
    """Colour (y, x, 3) of a grey picture, with the excluded voxels in orange."""
    colour = np.repeat(picture[..., None], 3, axis=2).astype(np.float32)
    colour[excluded] = (1 - TINT_SHARE) * colour[excluded] + TINT_SHARE * np.array(TINT, np.float32)
    rounded: Picture = np.rint(colour).astype(np.uint8)
    return rounded


def _plain(text: str) -> str:
    """What every build of Pillow has letters for."""
    return text.encode("ascii", "replace").decode("ascii")


def _fitted(shape: tuple[int, ...]) -> tuple[int, int]:
    factor = min(1.0, PANEL / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resized(picture: Picture, height: int, width: int) -> Image.Image:
    return Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
