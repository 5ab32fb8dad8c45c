"""X-ray tube spectra as a CT detector weighs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ANODE_ANGLE_DEGREES = 12.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Energy bins and their share of the detected signal without an object.

    Attributes:
        energies_kev: float64 (bin,), signal-weighted mean energy of each bin [keV].
        signal: float64 (bin,), share of the signal, sums to one.
    """

    energies_kev: NDArray[np.float64]
    signal: NDArray[np.float64]

    @property
    def mean_kev(self) -> float:
        """Signal-weighted mean energy [keV]."""
        return float(self.energies_kev @ self.signal)

    def transmission(self, attenuation: NDArray[np.float64], lengths_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the signal behind a homogeneous layer.

        Args:
            attenuation: (bin,) linear attenuation of the layer at `energies_kev` [1/mm].
            lengths_mm: (n,) thicknesses [mm].

        Returns:
            (n,) between 0 and 1.
        """
        return np.asarray(np.exp(-np.outer(lengths_mm, attenuation)) @ self.signal)


@lru_cache(maxsize=32)  # takes a third of a second, and training asks for the same few thousands of times
def tube_spectrum(kvp: float, *, aluminium_mm: float = 6.0, bins: int = 12) -> Spectrum:
    """Model a tungsten tube with an energy-integrating detector (spekpy, Poludniowski et al., Med Phys 2021).

    The bins have equal width: bins of equal signal would blur the hardest photons, and those alone pass metal.

    Args:
        kvp: peak tube voltage [kV], 60 to 150.
        aluminium_mm: total filtration [mm Al]; body scanners have 6 to 10 with the flat part of the bow-tie.
        bins: number of energy bins.

    Returns:
        The binned spectrum.

    Raises:
        ValueError: voltage outside 60..150 kV, or no bins.
    """
    if not 60 <= kvp <= 150 or bins < 1:
        raise ValueError(f"kvp must lie in 60..150 kV with at least one bin, got {kvp} kV and {bins} bins")
    import spekpy  # takes a second to import: only when physics is asked for

    tube = spekpy.Spek(kvp=kvp, th=_ANODE_ANGLE_DEGREES)
    tube.filter("Al", aluminium_mm)
    energies, fluence = (np.asarray(a, dtype=np.float64) for a in tube.get_spectrum())
    signal = fluence * energies
    lowest = energies[np.searchsorted(np.cumsum(signal), 1e-4 * signal.sum())]
    edges = np.linspace(lowest, kvp, bins + 1)
    which = np.clip(np.searchsorted(edges, energies, side="right") - 1, 0, bins - 1)
    total = np.bincount(which, signal, bins)
    mean = np.bincount(which, signal * energies, bins) / np.maximum(total, np.finfo(float).tiny)
    filled = total > 0
    return Spectrum(mean[filled], total[filled] / total.sum())
