"""A residual U-Net whose untrained form gives zero: for networks that predict a change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1


class ResidualUnet(nn.Module):
    """A residual U-Net without normalisation: values are absolute, and their scale must pass through.

    The finest level works on 2 x 2 pixels at a time (pixel shuffle; Shi et al., CVPR 2016), for speed. The last layer
    begins at zero: an untrained network changes nothing.

    Attributes:
        multiple: both sides of the input must be multiples of this.
    """

    def __init__(self, channels: int, outputs: int, widths: Sequence[int]) -> None:
        """Random weights.

        Args:
            channels: of the input.
            outputs: of the output.
            widths: channels of each level, finest first.
        """
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"a U-Net needs two levels or more, got the widths {list(widths)}")
        self.multiple = 2 ** len(widths)
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(_Residual(width) for width in widths)
        steps = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.ups = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.decoders = nn.ModuleList(_Residual(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 4 * outputs, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Map (batch, channel, y, x) to (batch, output, y, x).

        Raises:
            ValueError: a side is no multiple of `multiple`.
        """
        if values.shape[-1] % self.multiple or values.shape[-2] % self.multiple:
            raise ValueError(f"sides must be multiples of {self.multiple}, got {tuple(values.shape[-2:])}")
        found = self.encoders[0](self.stem(self.unshuffle(values)))
        skipped = []
        for down, encoder in zip(self.downs, self.encoders[1:], strict=True):
            skipped.append(found)
            found = encoder(down(found))
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            wide = functional.interpolate(up(found), scale_factor=2, mode="bilinear", align_corners=False)
            found = decoder(wide + skipped.pop())
        out: Tensor = self.shuffle(self.head(functional.leaky_relu(found, SLOPE)))
        return out


class _Residual(nn.Module):
    """Two convolutions beside an identity; the second begins small, so that depth does not amplify."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.1 * (9 * width) ** -0.5)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.first(functional.leaky_relu(values, SLOPE))
        out: Tensor = values + self.second(functional.leaky_relu(inner, SLOPE))
        return out
