"""The figures of an evaluation: their names, how they are printed, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from training.metrics import HIGHER_IS_BETTER


class Group(StrEnum):
    """Figures of one table: what they need."""

    EVERY = ""
    """The truth alone: every case has them."""
    FLOOR = "against the noise floor"
    LESIONS = "of lesions"
    REGIONS = "by region"


@dataclass(frozen=True)
class FigureKind:
    """One figure.

    Attributes:
        name: in documents.
        heading: of a column; `{units}` stands for the image's.
        digits: after the point.
        higher_is_better: which way is up; without meaning where there is a target.
        target: the best value where neither way is better.
        group: in whose table it stands.
    """

    name: str
    heading: str
    digits: int
    higher_is_better: bool = False
    target: float | None = None
    group: Group = Group.EVERY

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
    FigureKind("excess", "excess error ({units}) ↓", 2, group=Group.FLOOR),
    FigureKind("streak", "streak amplitude ({units}) ↓", 1, group=Group.FLOOR),
    FigureKind("noise_ratio", "noise ratio → 1", 3, target=1.0, group=Group.FLOOR),
    FigureKind("bone_edges", "bone edges → 1", 3, target=1.0, group=Group.FLOOR),
    FigureKind("lesion_contrast", "lesion contrast → 0", 3, target=0.0, group=Group.LESIONS),
    FigureKind("lesion_worst", "worst lesion ↓", 3, group=Group.LESIONS),
    FigureKind("near_nrmse", "NRMSE near ↓", 4, group=Group.REGIONS),
    FigureKind("near_ssim", "SSIM near ↑", 4, higher_is_better=True, group=Group.REGIONS),
    FigureKind("far_nrmse", "NRMSE far ↓", 4, group=Group.REGIONS),
    FigureKind("far_ssim", "SSIM far ↑", 4, higher_is_better=True, group=Group.REGIONS),
)
"""In the order of their columns. The group EVERY is there for each case, the others where they could be measured."""
