"""The networks of method `best`: one for the field, one for what is left in the image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from correctors.common.residual_unet import ResidualUnet

FIELD_CHANNELS, FIELD_OUTPUTS = 15, 2
"""Seen of a slice; a change of the field and one of the attention's logit."""
IMAGE_CHANNELS, IMAGE_OUTPUTS = 22, 2
"""Seen once the field is known; a share of the corrected image in the result, and what is left to add."""


class MavricNetworks(nn.Module):
    """Two residual U-Nets; untrained they change neither the field nor the image.

    Attributes:
        field: maps (z, FIELD_CHANNELS, y, x) to (z, FIELD_OUTPUTS, y, x).
        image: maps (z, IMAGE_CHANNELS, y, x) to (z, IMAGE_OUTPUTS, y, x).
        multiple: both sides of their input must be multiples of this.
    """

    def __init__(self, field_widths: Sequence[int], image_widths: Sequence[int]) -> None:
        """Random weights.

        Args:
            field_widths: channels of each level, finest first.
            image_widths: the same of the other network.
        """
        super().__init__()
        self.field = ResidualUnet(FIELD_CHANNELS, FIELD_OUTPUTS, field_widths)
        self.image = ResidualUnet(IMAGE_CHANNELS, IMAGE_OUTPUTS, image_widths)
        self.multiple = max(self.field.multiple, self.image.multiple)

    def forward(self, channels: Tensor) -> Tensor:
        """Run the one that takes so many channels.

        Raises:
            ValueError: neither does.
        """
        for network, taken in ((self.field, FIELD_CHANNELS), (self.image, IMAGE_CHANNELS)):
            if channels.shape[1] == taken:
                found: Tensor = network(channels)
                return found
        raise ValueError(f"there is no network for {channels.shape[1]} channels")
