"""Which device a corrector computes on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

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


def half_precision(device: torch.device) -> AbstractContextManager[object]:
    """Networks run in half precision on a GPU; not while they learn, where small gradients would vanish."""
    if device.type == "cuda" and not torch.is_grad_enabled():
        return torch.autocast("cuda", dtype=torch.float16)
    return nullcontext()
