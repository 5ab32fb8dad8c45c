"""The figures of an evaluation: their names, how they are printed, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.metrics import HIGHER_IS_BETTER


@dataclass(frozen=True)
class FigureKind:
    """One figure.

    Attributes:
        name: in documents.
        heading: of a column; `{units}` stands for the image's.
        digits: after the point.
        higher_is_better: which way is up; without meaning where there is a target.
        target: the best value where neither way is better.
        floored: whether it needs a noise floor, or lesions.
    """

    name: str
    heading: str
    digits: int
    higher_is_better: bool = False
    target: float | None = None
    floored: bool = False

    def ranked(self, values: Sequence[float]) -> list[float]:
        """Values in whose order methods are ranked: the distance to the target where there is one."""
        return list(values) if self.target is None else [abs(value - self.target) for value in values]


_COLUMNS = {
    "psnr_db": ("PSNR (dB) ↑", 2),
    "ssim": ("SSIM ↑", 4),
    "rmse": ("RMSE ({units}) ↓", 2),
    "vif": ("VIF ↑", 4),
    "vif_z": ("VIF(z) ↑", 4),
}
FIGURES: tuple[FigureKind, ...] = (
    *(FigureKind(name, *_COLUMNS[name], higher_is_better=higher) for name, higher in HIGHER_IS_BETTER.items()),
    FigureKind("excess", "excess error ({units}) ↓", 2, floored=True),
    FigureKind("streak", "streak amplitude ({units}) ↓", 1, floored=True),
    FigureKind("noise_ratio", "noise ratio → 1", 3, target=1.0, floored=True),
    FigureKind("bone_edges", "bone edges → 1", 3, target=1.0, floored=True),
    FigureKind("lesion_contrast", "lesion contrast → 0", 3, target=0.0, floored=True),
    FigureKind("lesion_worst", "worst lesion ↓", 3, floored=True),
)
"""In the order of their columns. The first five are there for every case, the others where they could be measured."""
