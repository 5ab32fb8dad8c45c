"""Fan-beam CT projector: line integrals along the fan's own rays, their exact transpose, filtered back-projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulation.fan_beam import FanGeometry
from simulation.fan_matrix import fan_joseph, fan_pixels
from simulation.fan_symmetry import FanEighth
from simulation.fbp import Window, apodisation, filter_projections, transform_length
from simulation.projection import check_shape
from simulation.ray_matrix import CompressedRows, SymmetricRayMatrix, apply


def body_fan(
    n_pixels: int, pixel_mm: float, n_views: int = 960, *, source_mm: float = 595.0, field_share: float = 1.05
) -> FanGeometry:
    """A body scanner whose detectors are a pixel apart at the centre.

    Args:
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].
        n_views: views over 360 degrees, a multiple of four.
        source_mm: distance of the source from the centre [mm]; 530 to 610 on scanners of today.
        field_share: radius of the field over half the side of the image.
    """
    field_mm = min(0.5 * field_share * n_pixels * pixel_mm, 0.9 * source_mm)
    detectors = math.ceil(2 * math.asin(field_mm / source_mm) * source_mm / pixel_mm) + 1
    return FanGeometry(source_mm, field_mm, n_views, detectors | 1)


class FanProjector:
    """Joseph line integrals with exact transpose, and filtered back-projection, of an equiangular fan.

    The ray of view beta and fan angle gamma is the line x cos(theta) + y sin(theta) = s with theta = beta + gamma and
    s = source_mm * sin(gamma), x along image columns and y along image rows (downwards), from the image's centre, index
    (n_pixels - 1) / 2. The source is at source_mm * (-sin(beta), cos(beta)).

    Matrices are built when first needed and kept: about 0.5 GB each for `forward` and for `fbp` at 512 x 512 and 960
    views; as much again once gradients ask for the transposes.

    Attributes:
        fan: the fan's geometry.
    """

    def __init__(self, fan: FanGeometry, n_pixels: int, pixel_mm: float, device: str = "cpu") -> None:
        """Prepare for one geometry.

        Args:
            fan: the fan's geometry; its views a multiple of four.
            n_pixels: side of the square image.
            pixel_mm: pixel size [mm].
            device: torch device string.

        Raises:
            ValueError: the views are no multiple of four, sizes are not positive, or the source is in the image.
        """
        if fan.n_views % 4:
            raise ValueError(f"the views must be a multiple of four, got {fan.n_views}")
        if n_pixels < 1 or pixel_mm <= 0:
            raise ValueError(f"sizes must be positive, got {n_pixels} pixels of {pixel_mm} mm")
        if n_pixels * pixel_mm >= 2 * fan.source_mm:
            raise ValueError(f"the source, {fan.source_mm} mm from the centre, is in the image")
        self.fan = fan
        self._n_pixels, self._pixel_mm = n_pixels, pixel_mm
        self._device = torch.device(device)
        self._eighth = FanEighth(fan.n_views, fan.n_detectors, 2 * fan.half_fan / (fan.n_detectors - 1))
        self._joseph: SymmetricRayMatrix | None = None
        self._pixel_driven: SymmetricRayMatrix | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Integrate along every ray.

        Args:
            images: float32 (batch, y, x) [1/mm].

        Returns:
            float32 (batch, view, detector), dimensionless. Differentiable: the gradient is `adjoint`.

        Raises:
            ValueError: wrong shape.
        """
        check_shape(images, (self._n_pixels, self._n_pixels), "images")
        return apply(images, self._joseph_matrix(), transpose=False)

    def adjoint(self, sinograms: Tensor) -> Tensor:
        """Apply the exact transpose of `forward`.

        Args:
            sinograms: float32 (batch, view, detector).

        Returns:
            float32 (batch, y, x), in units of the sinogram times mm. Differentiable.

        Raises:
            ValueError: wrong shape.
        """
        check_shape(sinograms, (self.fan.n_views, self.fan.n_detectors), "sinograms")
        return apply(sinograms, self._joseph_matrix(), transpose=True)

    def fbp(self, sinograms: Tensor, *, window: Window = "ram-lak") -> Tensor:
        """Reconstruct by weighted filtered back-projection, pixel-driven (Kak & Slaney 1988, section 3.4.1).

        Args:
            sinograms: float32 (batch, view, detector), dimensionless.
            window: apodisation of the ramp; `ram-lak` is the bare ramp.

        Returns:
            float32 (batch, y, x) [1/mm]; zero outside the field. Differentiable.

        Raises:
            ValueError: wrong shape or unknown window.
        """
        fan, step = self.fan, self._eighth.step
        check_shape(sinograms, (fan.n_views, fan.n_detectors), "sinograms")
        gamma = (torch.arange(fan.n_detectors, dtype=torch.float64) - (fan.n_detectors - 1) / 2) * step
        weights = (fan.source_mm * torch.cos(gamma)).to(sinograms)
        response = fan_response(fan.n_detectors, step, window) * (2 * math.pi / fan.n_views)
        filtered = filter_projections(sinograms * weights, response.to(sinograms))
        return apply(filtered, self._pixel_matrix(), transpose=True)

    def _joseph_matrix(self) -> SymmetricRayMatrix:
        if self._joseph is None:
            rows = fan_joseph(self._eighth, self.fan.source_mm, self._n_pixels, self._pixel_mm)
            self._joseph = self._symmetric(rows, transposed=False)
        return self._joseph

    def _pixel_matrix(self) -> SymmetricRayMatrix:
        if self._pixel_driven is None:
            fan = self.fan
            rows = fan_pixels(self._eighth, fan.source_mm, fan.field_mm, self._n_pixels, self._pixel_mm)
            self._pixel_driven = self._symmetric(rows, transposed=True)
        return self._pixel_driven

    def _symmetric(self, rows: CompressedRows, *, transposed: bool) -> SymmetricRayMatrix:
        return SymmetricRayMatrix(
            rows, transposed=transposed, n_pixels=self._n_pixels, slots=self._eighth.slots(), device=self._device
        )


def fan_response(n_detectors: int, step: float, window: Window = "ram-lak") -> Tensor:
    """Frequency response of the fan's ramp: half of (gamma / sin(gamma))^2 times the band-limited one (eq. 3.96).

    Args:
        n_detectors: detectors of the sinograms.
        step: angle between them [rad].
        window: apodisation up to the Nyquist frequency.

    Returns:
        float32 (length // 2 + 1,) for real transforms of `fbp.transform_length` [1/rad].
    """
    length = transform_length(n_detectors)
    position = torch.arange(length, dtype=torch.float64)
    position = torch.minimum(position, length - position)
    kernel = torch.zeros(length, dtype=torch.float64)
    # Further apart than the fan is wide, no two detectors are.
    odd = (position % 2 == 1) & (position < n_detectors)
    kernel[odd] = -1 / (2 * (torch.pi * torch.sin(position[odd] * step)) ** 2)
    kernel[0] = 1 / (8 * step**2)
    response: Tensor = (torch.fft.rfft(kernel).real * step * apodisation(length, window)).to(torch.float32)
    return response
