"""Between CT numbers and linear attenuation, by definition of the Hounsfield unit (PS3.3 C.11.1.1.2: HU)."""

from __future__ import annotations

from torch import Tensor

WATER_PER_MM = 0.0192
"""Linear attenuation of water near 70 keV [1/mm] (NIST XCOM); any value serves, as the way back uses the same."""
AIR_HU = -1000.0


def hu_to_attenuation(hu: Tensor) -> Tensor:
    """Linear attenuation [1/mm] of CT numbers [HU], same shape; negative below air."""
    return (hu - AIR_HU) * (WATER_PER_MM / 1000.0)


def attenuation_to_hu_change(attenuation: Tensor) -> Tensor:
    """Change of CT number [HU] that belongs to a change of linear attenuation [1/mm], same shape."""
    return attenuation * (1000.0 / WATER_PER_MM)
