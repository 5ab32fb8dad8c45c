"""Attenuation of tissues and implant materials, from the tables of xraydb (Elam, Ravel & Sieber 2002)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PER_CM_TO_PER_MM = 0.1


@dataclass(frozen=True)
class Material:
    """A homogeneous material.

    Attributes:
        name: short name, unique.
        mass_fractions: (element symbol, share of the mass) pairs.
        density_g_cm3: mass density [g/cm3].
    """

    name: str
    mass_fractions: tuple[tuple[str, float], ...]
    density_g_cm3: float

    def attenuation(self, energies_kev: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear attenuation coefficient, coherent scatter included.

        Args:
            energies_kev: photon energies [keV], any shape.

        Returns:
            Same shape [1/mm].
        """
        import xraydb  # opens its database on import: only when physics is asked for

        energies_ev = np.asarray(energies_kev, dtype=np.float64).reshape(-1) * 1e3
        total = sum(share for _, share in self.mass_fractions)
        mass_attenuation = np.zeros_like(energies_ev)
        for element, share in self.mass_fractions:
            mass_attenuation += share / total * np.asarray(xraydb.mu_elam(element, energies_ev))
        return (mass_attenuation * (self.density_g_cm3 * _PER_CM_TO_PER_MM)).reshape(np.shape(energies_kev))


WATER = Material("water", (("H", 0.1119), ("O", 0.8881)), 1.0)
CORTICAL_BONE = Material(
    "cortical bone",  # ICRU report 44
    (
        *(("H", 0.034), ("C", 0.155), ("N", 0.042), ("O", 0.435), ("Na", 0.001)),
        *(("Mg", 0.002), ("P", 0.103), ("S", 0.003), ("Ca", 0.225)),
    ),
    1.92,
)
TI6AL4V = Material("Ti6Al4V", (("Ti", 0.90), ("Al", 0.06), ("V", 0.04)), 4.43)  # ISO 5832-3
COCRMO = Material("CoCrMo", (("Co", 0.65), ("Cr", 0.28), ("Mo", 0.06), ("Mn", 0.005), ("Si", 0.005)), 8.3)  # ISO 5832-4
STEEL_316L = Material(
    "316L", (("Fe", 0.655), ("Cr", 0.175), ("Ni", 0.13), ("Mo", 0.025), ("Mn", 0.01), ("Si", 0.005)), 8.0
)  # ISO 5832-1
ZIRCONIA = Material("ZrO2", (("Zr", 0.7403), ("O", 0.2597)), 6.05)
ALUMINA = Material("Al2O3", (("Al", 0.5293), ("O", 0.4707)), 3.98)
UHMWPE = Material("UHMWPE", (("C", 0.8563), ("H", 0.1437)), 0.94)
BONE_CEMENT = Material(  # PMMA with a tenth of barium sulphate (ISO 5833)
    "bone cement", (("C", 0.5398), ("H", 0.0725), ("O", 0.3150), ("Ba", 0.0589), ("S", 0.0138)), 1.27
)

IMPLANT_MATERIALS = (TI6AL4V, COCRMO, STEEL_316L, ZIRCONIA, ALUMINA, UHMWPE, BONE_CEMENT)


def implant_material(name: str) -> Material:
    """Return the implant material of that name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    for material in IMPLANT_MATERIALS:
        if material.name == name:
            return material
    raise ValueError(f"unknown material {name!r}: known are {', '.join(m.name for m in IMPLANT_MATERIALS)}")
