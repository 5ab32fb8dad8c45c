"""The band-limited ramp filter of filtered back-projection."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Window = Literal["ram-lak", "shepp-logan", "cosine", "hann"]


def ramp_response(n_detectors: int, detector_mm: float, window: Window = "ram-lak") -> Tensor:
    """Frequency response of the ramp, from its exact band-limited kernel (Kak & Slaney 1988, eq. 3.61).

    Sampling |f| directly would set the mean of every projection to zero and so bias the CT numbers.

    Args:
        n_detectors: detectors of the sinograms.
        detector_mm: detector spacing [mm].
        window: apodisation up to the Nyquist frequency.

    Returns:
        float32 (length // 2 + 1,) for `torch.fft.rfft` of that length [1/mm]; length is a power of two that leaves
        room for the linear convolution.

    Raises:
        ValueError: unknown window.
    """
    length = 1 << (2 * n_detectors - 1).bit_length()
    position = torch.arange(length, dtype=torch.float64)
    position = torch.minimum(position, length - position)
    kernel = torch.zeros(length, dtype=torch.float64)
    odd = position % 2 == 1
    kernel[odd] = -1 / (torch.pi * position[odd] * detector_mm) ** 2
    kernel[0] = 1 / (4 * detector_mm**2)
    response = torch.fft.rfft(kernel).real * detector_mm
    frequency = torch.linspace(0, 0.5, length // 2 + 1, dtype=torch.float64)  # cycles per detector
    if window == "shepp-logan":
        response = response * torch.sinc(frequency)
    elif window == "cosine":
        response = response * torch.cos(torch.pi * frequency)
    elif window == "hann":
        response = response * (0.5 + 0.5 * torch.cos(2 * torch.pi * frequency))
    elif window != "ram-lak":
        raise ValueError(f"unknown window {window!r}: use ram-lak, shepp-logan, cosine or hann")
    rounded: Tensor = response.to(torch.float32)
    return rounded


def filter_projections(sinograms: Tensor, response: Tensor) -> Tensor:
    """Filter along the last axis with zero padding (linear convolution).

    Args:
        sinograms: (..., detector), dimensionless.
        response: from `ramp_response`.

    Returns:
        (..., detector) [1/mm].
    """
    length = 2 * (response.shape[0] - 1)
    spectrum = torch.fft.rfft(sinograms, n=length)
    filtered: Tensor = torch.fft.irfft(spectrum * response, n=length)[..., : sinograms.shape[-1]]
    return filtered
