"""A CT scanner's response: polychromatic transmission, noise, scatter, and its water calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulation.materials import CORTICAL_BONE, WATER, Material
from simulation.spectrum import Spectrum, tube_spectrum

_SUBRAY_SHARE = 0.25  # sub-rays sit a quarter of a detector beside its centre
_FEW_PHOTONS = 30.0
"""Expected counts below which Poisson's law is not taken as a normal one."""
_MOST_COUNTS = 100
"""Far more than is ever drawn where fewer than `_FEW_PHOTONS` are expected."""


@dataclass(frozen=True)
class Acquisition:
    """How a slice is acquired.

    Attributes:
        kvp: tube voltage [kV].
        aluminium_mm: filtration [mm Al].
        energy_bins: energy bins of the spectrum.
        reference_kev: energy whose attenuation the CT numbers stand for [keV].
        photons: mean number of effective photons of one unattenuated ray.
        electronic_counts: standard deviation of the electronic noise [photons].
        scatter_counts: median scatter left over after the scanner's own correction [photons].
        scatter_spread: standard deviation of its natural logarithm between acquisitions. A fixed scatter would be
            learnt, or would dominate every comparison of methods.
    """

    kvp: float = 120.0
    aluminium_mm: float = 6.0
    energy_bins: int = 12
    reference_kev: float = 70.0
    photons: float = 2e7
    electronic_counts: float = 10.0
    scatter_counts: float = 20.0
    scatter_spread: float = 0.5


@dataclass(frozen=True, eq=False)
class Noise:
    """The randomness of one acquisition: the same object measured twice with it gives the same counts.

    So an acquisition with metal can be compared with the same one without, ray by ray.

    Attributes:
        scatter: leftover scatter of each slice (slice, 1, 1) [photons].
        quanta: standard normal (slice, angle, detector); rays that hardly any photon passes take the same quantile of
            Poisson's law.
        electronics: likewise, standard normal.
    """

    scatter: Tensor
    quanta: Tensor
    electronics: Tensor


class Scanner:
    """Turns path lengths into measured, noisy, water-corrected projections."""

    def __init__(self, acquisition: Acquisition) -> None:
        """Prepare spectrum and water calibration.

        Args:
            acquisition: the acquisition to model.
        """
        self.acquisition = acquisition
        self.spectrum = tube_spectrum(
            acquisition.kvp, aluminium_mm=acquisition.aluminium_mm, bins=acquisition.energy_bins
        )
        reference = np.array([acquisition.reference_kev])
        self.water_per_mm = float(WATER.attenuation(reference)[0])
        self.bone_per_mm = float(CORTICAL_BONE.attenuation(reference)[0])
        self._calibration = WaterCalibration.fit(self.spectrum, self.water_per_mm)

    def transmission(self, lengths_mm: Mapping[Material, Tensor]) -> Tensor:
        """Share of the signal that reaches each detector, without noise.

        Each detector averages the *intensity* of two rays beside its centre, not their path lengths: at a metal edge
        that difference is the non-linear partial-volume effect (Glover & Pelc, Med Phys 1980).

        Args:
            lengths_mm: path length of every ray in each material [mm], each (slice, angle, detector).

        Returns:
            float32 (slice, angle, detector), 0 to 1.
        """
        tables = {m: m.attenuation(self.spectrum.energies_kev) for m in lengths_mm}
        total: Tensor | None = None
        for left in (True, False):
            rays = {m: _subray(p, left=left) for m, p in lengths_mm.items()}
            for bin_index, signal in enumerate(self.spectrum.signal):
                exponent: Tensor | None = None
                for material, path in rays.items():
                    term = path * float(tables[material][bin_index])
                    exponent = term if exponent is None else exponent.add_(term)
                if exponent is None:
                    raise ValueError("transmission needs at least one material")
                part = exponent.neg_().exp_().mul_(0.5 * float(signal))
                total = part if total is None else total.add_(part)
        assert total is not None
        return total

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Noise:
        """Draw the randomness of an acquisition.

        Args:
            shape: (slice, angle, detector).
            generator: source of randomness, on the CPU.
        """
        a = self.acquisition
        spread = torch.randn(shape[0], 1, 1, generator=generator) * a.scatter_spread
        quanta, electronics = (torch.randn(shape, generator=generator) for _ in range(2))
        return Noise(a.scatter_counts * spread.exp(), quanta, electronics)

    def detect(self, transmission: Tensor, noise: Noise) -> Tensor:
        """Count photons: Poisson noise, leftover scatter and electronic noise.

        Args:
            transmission: share of the signal (slice, angle, detector).
            noise: of the same shape.

        Returns:
            Share of the signal as measured, at least one photon's worth.
        """
        a = self.acquisition
        expected = transmission.cpu() * a.photons + noise.scatter
        counts = expected + expected.sqrt() * noise.quanta
        few = expected < _FEW_PHOTONS
        counts[few] = _poisson_quantile(expected[few], noise.quanta[few])
        counts += noise.electronics * a.electronic_counts
        # A reading of zero or below has no logarithm; scanners clamp it to the smallest countable signal.
        return (counts.clamp_(min=1.0) / a.photons).to(transmission.device)

    def line_integrals(self, transmission: Tensor) -> Tensor:
        """Take the logarithm and correct the beam hardening of water.

        Args:
            transmission: share of the signal (slice, angle, detector), positive.

        Returns:
            Line integrals of attenuation at the reference energy, exact for water (slice, angle, detector).
        """
        return self._calibration.correct(-torch.log(transmission))


@dataclass(frozen=True)
class WaterCalibration:
    """Cubic polynomial without constant term that makes projections of water monochromatic (Herman 1979).

    Attributes:
        coefficients: of p, p^2 and p^3, where p is the polychromatic projection.
        largest: p of the thickest calibrated layer; beyond it the correction goes on along its tangent, since a
            cubic is worth nothing outside the range it was fitted on and metal lies far outside.
    """

    coefficients: tuple[float, float, float]
    largest: float

    @classmethod
    def fit(cls, spectrum: Spectrum, water_per_mm: float, thickest_mm: float = 500.0) -> WaterCalibration:
        """Fit to water layers up to `thickest_mm`, for attenuation `water_per_mm` [1/mm] at the reference energy."""
        lengths = np.linspace(0.0, thickest_mm, 251)[1:]
        measured = -np.log(spectrum.transmission(WATER.attenuation(spectrum.energies_kev), lengths))
        powers = np.stack([measured, measured**2, measured**3], axis=1)
        # Relative errors are what CT numbers see, so each layer is weighted with one over its own projection.
        solution, *_ = np.linalg.lstsq(powers / measured[:, None], water_per_mm * lengths / measured, rcond=None)
        first, second, third = (float(c) for c in solution)
        return cls((first, second, third), float(measured[-1]))

    def correct(self, projections: Tensor) -> Tensor:
        """Map polychromatic to monochromatic projections of water."""
        first, second, third = self.coefficients
        inside = projections.clamp(max=self.largest)
        slope = first + 2 * second * self.largest + 3 * third * self.largest**2
        return ((third * inside + second) * inside + first) * inside + slope * (projections - inside)


def _poisson_quantile(expected: Tensor, quanta: Tensor) -> Tensor:
    """Counts of Poisson's law at the quantile of standard normal numbers.

    Not drawn one after the other: each count depends on its own ray only, so that rays beside the metal count the same
    with it and without.
    """
    share = torch.special.ndtr(quanta.double())
    term = (-expected.double()).exp()
    reached, counts = term.clone(), torch.zeros_like(term)
    for count in range(1, _MOST_COUNTS + 1):
        more = share > reached
        if not bool(more.any()):
            break
        counts += more
        term *= expected / count
        reached += term
    return counts.to(expected.dtype)


def _subray(paths: Tensor, *, left: bool) -> Tensor:
    """Interpolate path lengths a quarter of a detector to one side."""
    neighbour = (
        torch.cat([paths[..., :1], paths[..., :-1]], -1) if left else torch.cat([paths[..., 1:], paths[..., -1:]], -1)
    )
    return torch.lerp(paths, neighbour, _SUBRAY_SHARE)
