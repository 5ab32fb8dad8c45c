"""The sinogram network of the near-hip paper (section II-C, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

NEGATIVE_SLOPE = 0.2


class SinogramCnn(nn.Module):
    """Convolutions one after the other, each followed by leaky ReLU and batch normalisation; the last one by nothing.

    Zeros are padded along the margins, so that the output has the input's size.
    """

    def __init__(self, width: int = 64, layers: int = 6, kernel: Sequence[int] = (5, 5)) -> None:
        """Make a network with random weights.

        Args:
            width: channels between the layers. The paper's figure gives none; 64 makes 413,761 parameters.
            layers: convolutions, the output layer included.
            kernel: odd (angle, detector) size of every convolution.

        Raises:
            ValueError: sizes without meaning.
        """
        super().__init__()
        if width < 1 or layers < 2 or len(kernel) != 2 or any(k < 1 or k % 2 == 0 for k in kernel):
            raise ValueError(f"width and layers must be positive and kernels odd, got {width}, {layers}, {kernel}")
        size = (int(kernel[0]), int(kernel[1]))
        padding = (size[0] // 2, size[1] // 2)
        parts: list[nn.Module] = []
        for number in range(layers - 1):
            parts.append(nn.Conv2d(width if number else 1, width, size, padding=padding))
            parts.append(nn.LeakyReLU(NEGATIVE_SLOPE))
            parts.append(nn.BatchNorm2d(width))
        parts.append(nn.Conv2d(width, 1, size, padding=padding))
        self.layers = nn.Sequential(*parts)
        self.reach = (padding[0] * layers, padding[1] * layers)
        """How far one output sample sees to each side (angles, detectors)."""

    def forward(self, sinograms: Tensor) -> Tensor:
        """Map sinograms whose metal trace is filled to sinograms without trace.

        Args:
            sinograms: float (batch, 1, angle, detector), dimensionless.

        Returns:
            Same shape.
        """
        inpainted: Tensor = self.layers(sinograms)
        return inpainted
