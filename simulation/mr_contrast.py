"""Signal equations of pulse sequences, and protocols of the usual contrasts.

Signals are signed (real part): fat may oppose water in gradient echoes, and inversion leaves some tissues negative. Mix
the tissues of a voxel first and take the magnitude then, as a scanner does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from simulation.tissues import Relaxation, Tissue, relaxation

GAMMA_MHZ_PER_T = 42.577
FAT_SHIFT_PPM = -3.4
"""Chemical shift of the methylene peak of fat against water."""
_INFLOW = 0.33


class PulseSequence(Protocol):
    """Anything that turns relaxation into signal."""

    def signal(self, tissue: Relaxation, field_t: float) -> float:
        """Signed signal; fully relaxed water without decay gives 1."""
        ...


@dataclass(frozen=True)
class SpinEcho:
    """Spin echo: (1 - exp(-TR/T1)) exp(-TE/T2) (Haacke et al., Magnetic Resonance Imaging, 1999, eq. 8.41).

    Attributes:
        tr_ms: repetition time [ms].
        te_ms: (effective) echo time [ms].
        fat_suppression: share of the fat signal that is suppressed before excitation.
    """

    tr_ms: float
    te_ms: float
    fat_suppression: float = 0.0

    def signal(self, tissue: Relaxation, field_t: float) -> float:
        """See `PulseSequence`."""
        recovered = 1 - np.exp(-self.tr_ms / tissue.t1_ms)
        return float(recovered * np.exp(-self.te_ms / tissue.t2_ms) * _refocused(tissue, self.fat_suppression))


@dataclass(frozen=True)
class InversionRecovery:
    """Inversion recovery with a spin-echo readout: (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2).

    For TE << TR (Bernstein et al., Handbook of MRI Pulse Sequences, 2004, section 14.2). With a short TE it also stands
    for MPRAGE, whose readout train is not modelled.

    Attributes:
        tr_ms: repetition time [ms].
        ti_ms: inversion time [ms].
        te_ms: (effective) echo time [ms].
        fat_suppression: share of the fat signal that is suppressed before excitation.
    """

    tr_ms: float
    ti_ms: float
    te_ms: float
    fat_suppression: float = 0.0

    def signal(self, tissue: Relaxation, field_t: float) -> float:
        """See `PulseSequence`."""
        recovered = 1 - 2 * np.exp(-self.ti_ms / tissue.t1_ms) + np.exp(-self.tr_ms / tissue.t1_ms)
        return float(recovered * np.exp(-self.te_ms / tissue.t2_ms) * _refocused(tissue, self.fat_suppression))


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """Spoiled gradient echo (Ernst and Anderson 1966): sin a (1 - E1) / (1 - cos a E1) exp(-TE/T2*).

    Fat turns against water by its chemical shift during TE: opposed at 2.3 ms and 1.5 T, in phase at 4.6 ms.

    Attributes:
        tr_ms: repetition time [ms].
        te_ms: echo time [ms].
        flip_deg: flip angle [degrees].
        fat_suppression: share of the fat signal that is suppressed before excitation.
    """

    tr_ms: float
    te_ms: float
    flip_deg: float
    fat_suppression: float = 0.0

    def signal(self, tissue: Relaxation, field_t: float) -> float:
        """See `PulseSequence`."""
        flip, e1 = np.deg2rad(self.flip_deg), np.exp(-self.tr_ms / tissue.t1_ms)
        steady = np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-self.te_ms / tissue.t2_star_ms)
        turn = np.cos(2 * np.pi * _fat_hertz(field_t) * self.te_ms / 1000)
        fat = tissue.fat_share * (1 - self.fat_suppression) * turn
        return float(tissue.density * steady * (1 - tissue.fat_share + fat))


@dataclass(frozen=True)
class BalancedSteadyState:
    """Balanced SSFP with alternating pulses and TE = TR/2 (Freeman and Hill 1971; Hargreaves et al. 2001).

    Fat lies in the neighbouring pass band where TR is chosen so: it then opposes water, and edges between them are
    black.
    Dephasing within a voxel (lung) attenuates as in a gradient echo; spins that flow in fresh add up to a third (Markl
    and Pelc, J Magn Reson Imaging 20:697, 2004, show more signal with flow; the share here is a round value).

    Attributes:
        tr_ms: repetition time [ms].
        flip_deg: flip angle [degrees].
    """

    tr_ms: float
    flip_deg: float

    def signal(self, tissue: Relaxation, field_t: float) -> float:
        """See `PulseSequence`."""
        water = self._at(tissue, 0.0)
        fat = self._at(tissue, _fat_hertz(field_t))
        lost = self.tr_ms / 2 * max(1 / tissue.t2_star_ms - 1 / tissue.t2_ms, 0.0)
        mixed = (1 - tissue.fat_share) * water + tissue.fat_share * fat
        return float(tissue.density * mixed * np.exp(-lost) * (1 + _INFLOW * tissue.washout))

    def _at(self, tissue: Relaxation, hertz: float) -> float:
        """Signal of unit density off resonance by `hertz`, along the axis that water has."""
        flip = np.deg2rad(self.flip_deg)
        e1, e2 = np.exp(-self.tr_ms / tissue.t1_ms), np.exp(-self.tr_ms / tissue.t2_ms)
        turn = 2 * np.pi * hertz * self.tr_ms / 1000
        between = turn + np.pi  # alternating pulses
        below = (1 - e1 * np.cos(flip)) * (1 - e2 * np.cos(between)) - e2 * (e1 - np.cos(flip)) * (e2 - np.cos(between))
        after = (1 - e1) * np.sin(flip) * complex(e2 * np.sin(between), 1 - e2 * np.cos(between)) / below
        echo = after * np.exp(-self.tr_ms / 2 / tissue.t2_ms) * np.exp(-0.5j * turn)
        return float(echo.imag)


class Weighting(StrEnum):
    """The usual contrasts."""

    T1 = "t1"
    T1_INVERSION = "t1-inversion"
    T1_OPPOSED = "t1-opposed"
    T2 = "t2"
    PD = "pd"
    FLAIR = "flair"
    STIR = "stir"
    T1_FAT_SATURATED = "t1-fat-saturated"
    T2_FAT_SATURATED = "t2-fat-saturated"
    PD_FAT_SATURATED = "pd-fat-saturated"
    SSFP = "ssfp"


def protocol(weighting: Weighting, field_t: float = 1.5, rng: np.random.Generator | None = None) -> PulseSequence:
    """A usual protocol for a contrast.

    Args:
        weighting: the contrast.
        field_t: field strength [T].
        rng: draws TR, TE, TI and flip angle within what hospitals use; None gives the middle.

    Returns:
        The sequence; inversion times follow the T1 of what they null.

    Raises:
        ValueError: the field strength is outside 0.5 to 3.1 T.
    """

    def about(value: float, by: float = 0.15) -> float:
        return value * (1.0 if rng is None else float(rng.uniform(1 - by, 1 + by)))

    saturated = about(0.93, 0.05)
    fat, white = (relaxation(tissue, field_t).t1_ms for tissue in (Tissue.FAT, Tissue.WHITE_MATTER))
    sequences: dict[Weighting, PulseSequence] = {
        Weighting.T1: SpinEcho(about(550 * (1 if field_t < 2 else 1.25)), about(12)),
        Weighting.T1_INVERSION: InversionRecovery(about(1900, 0.1), about(max(1.08 * white, 700), 0.06), about(3.5)),
        Weighting.T1_OPPOSED: SpoiledGradientEcho(about(150), 3.45 / field_t, about(65)),
        Weighting.T2: SpinEcho(about(4500), about(95)),
        Weighting.PD: SpinEcho(about(3000), about(18)),
        Weighting.FLAIR: InversionRecovery(about(9000, 0.0), about(2450, 0.02), about(110)),
        Weighting.STIR: InversionRecovery(about(4500), about(float(np.log(2)) * fat, 0.04), about(45)),
        Weighting.T1_FAT_SATURATED: SpinEcho(about(600), about(12), saturated),
        Weighting.T2_FAT_SATURATED: SpinEcho(about(4200), about(75), saturated),
        Weighting.PD_FAT_SATURATED: SpinEcho(about(2900), about(30), saturated),
        Weighting.SSFP: BalancedSteadyState(about(3.2, 0.08) * min(1.0, 1.5 / field_t), about(60)),
    }
    return sequences[weighting]


def _refocused(tissue: Relaxation, fat_suppression: float) -> float:
    """Protons that a spin echo finds: fat in phase with water, moving blood gone."""
    return tissue.density * (1 - tissue.fat_share * fat_suppression) * (1 - tissue.washout)


def _fat_hertz(field_t: float) -> float:
    return GAMMA_MHZ_PER_T * field_t * FAT_SHIFT_PPM
