"""The network of the MAVRIC paper: a U-Net that sees one pair of bins and gives four maps (its Figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGES, MAPS = 2, 4
LEVELS = 5
"""Resolutions; the figure shows them, but no channel numbers can be read from it: they double from level to level."""
PAPER_WIDTH = 64
"""Channels of the finest level, as in the U-Net that the paper modifies (Ronneberger et al., 2015)."""


class DualPolarityUnet(nn.Module):
    """3 x 3 convolutions with batch normalisation and ReLU; 3 x 3 / 2 pooling; 3 x 3 / 2 transposed convolution.

    Each level has a skip over its two convolutions (gray arrows), and what one level of the way down gives is
    concatenated on the way up (yellow arrows). Weights begin uniformly distributed.

    Attributes:
        multiple: both sides of the input must be multiples of this.
    """

    def __init__(self, width: int = PAPER_WIDTH) -> None:
        """Random weights.

        Args:
            width: channels of the finest level.
        """
        super().__init__()
        if width < 1:
            raise ValueError(f"the width must be 1 or more, got {width}")
        widths = [width * 2**level for level in range(LEVELS)]
        self.multiple = 2 ** (LEVELS - 1)
        self.downs = nn.ModuleList(
            _Level(before, after) for before, after in zip([IMAGES, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=1)
            for coarse, fine in zip(widths[1:], widths[:-1], strict=True)
        )
        self.joins = nn.ModuleList(_Level(2 * fine, fine) for fine in widths[:-1])
        self.head = nn.Conv2d(width, MAPS, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        # Near zero the maps say: nothing has moved, and both polarities count the same.
        nn.init.uniform_(self.head.weight, -1e-3, 1e-3)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, pair: Tensor) -> Tensor:
        """Map (batch, 2, y, x) to (batch, 4, y, x).

        Raises:
            ValueError: a side is no multiple of `multiple`.
        """
        if pair.shape[-1] % self.multiple or pair.shape[-2] % self.multiple:
            raise ValueError(f"sides must be multiples of {self.multiple}, got {tuple(pair.shape[-2:])}")
        found, kept = pair, []
        for level, down in enumerate(self.downs):
            found = down(self.pool(found) if level else found)
            kept.append(found)
        for up, join, beside in zip(reversed(self.ups), reversed(self.joins), reversed(kept[:-1]), strict=True):
            found = join(torch.cat([up(found), beside], dim=1))
        maps: Tensor = self.head(found)
        return maps


class _Level(nn.Module):
    """Two convolutions, and a skip over the second one."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = _convolved(before, after)
        self.second = _convolved(after, after)

    def forward(self, values: Tensor) -> Tensor:
        found = self.first(values)
        out: Tensor = found + self.second(found)
        return out


def _convolved(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
