"""Which device a corrector computes on."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> str:
    """Torch device string for a host's choice.

    Args:
        device: `auto` (CUDA where there is one, else CPU), `cpu` or `cuda[:n]`.

    Raises:
        ValueError: CUDA was asked for, but torch finds none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("CUDA was asked for, but torch finds no CUDA device: use auto or cpu")
    return device
