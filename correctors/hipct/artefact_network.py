"""The image network of method `best`: what is left of the metal's artefacts, from a slice and what is known of it."""

from __future__ import annotations

from correctors.common.residual_unet import ResidualUnet


class ArtefactUnet(ResidualUnet):
    """Under the name that its weights packages and recipes know."""
