"""The band-limited ramp filter of filtered back-projection."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from scipy import fft
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
        float32 (length // 2 + 1,) for real transforms of `transform_length` [1/mm].

    Raises:
        ValueError: unknown window.
    """
    length = transform_length(n_detectors)
    position = torch.arange(length, dtype=torch.float64)
    position = torch.minimum(position, length - position)
    kernel = torch.zeros(length, dtype=torch.float64)
    odd = position % 2 == 1
    kernel[odd] = -1 / (torch.pi * position[odd] * detector_mm) ** 2
    kernel[0] = 1 / (4 * detector_mm**2)
    response = torch.fft.rfft(kernel).real * detector_mm
    rounded: Tensor = (response * apodisation(length, window)).to(torch.float32)
    return rounded


def apodisation(length: int, window: Window) -> Tensor:
    """Factors that a window puts on a filter's response.

    Args:
        length: of the transforms, even.
        window: which; `ram-lak` is one throughout.

    Returns:
        float64 (length // 2 + 1,).

    Raises:
        ValueError: unknown window.
    """
    frequency = torch.linspace(0, 0.5, length // 2 + 1, dtype=torch.float64)  # cycles per detector
    if window == "ram-lak":
        return torch.ones_like(frequency)
    if window == "shepp-logan":
        return torch.sinc(frequency)
    if window == "cosine":
        return torch.cos(torch.pi * frequency)
    if window == "hann":
        return 0.5 + 0.5 * torch.cos(2 * torch.pi * frequency)
    raise ValueError(f"unknown window {window!r}: use ram-lak, shepp-logan, cosine or hann")


def filter_projections(sinograms: Tensor, response: Tensor) -> Tensor:
    """Filter along the last axis with zero padding (linear convolution).

    Args:
        sinograms: float32 (..., detector), dimensionless.
        response: from `ramp_response`, for the same number of detectors.

    Returns:
        (..., detector) [1/mm]. Differentiable.
    """
    filtered: Tensor = _Filter.apply(sinograms, response)  # type: ignore[no-untyped-call]
    return filtered


class _Filter(torch.autograd.Function):
    """Convolution with an even kernel, which is its own transpose."""

    @staticmethod
    def forward(ctx: Any, sinograms: Tensor, response: Tensor) -> Tensor:
        ctx.save_for_backward(response)
        detectors = sinograms.shape[-1]
        length = transform_length(detectors)
        if sinograms.device.type == "cpu":
            # One thread on purpose: the transforms are short, and torch would wait for threads on a busy machine.
            spectrum = fft.rfft(sinograms.detach().numpy(), n=length)
            spectrum *= response.numpy()
            return torch.from_numpy(np.ascontiguousarray(fft.irfft(spectrum, n=length)[..., :detectors]))
        filtered: Tensor = torch.fft.irfft(torch.fft.rfft(sinograms, n=length) * response, n=length)
        return filtered[..., :detectors].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (response,) = ctx.saved_tensors
        return filter_projections(gradients[0], response), None


def transform_length(n_detectors: int) -> int:
    """Even length of the Fourier transforms: fast, and without wrap-around."""
    return 2 * int(fft.next_fast_len(n_detectors, real=True))
