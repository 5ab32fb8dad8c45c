"""How a heart moves: a volume curve, and the deformation of its tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray
from simulation.heart_anatomy import HeartAnatomy

_FADE_MM = 26.0
"""How far outside the heart its surroundings give way [mm]."""


@dataclass(frozen=True)
class Beat:
    """One patient's heart beat.

    Attributes:
        rr_ms: time between heart beats [ms].
        systole_ms: time from the R wave to the smallest volume [ms].
        ejection: ejection fraction of the left ventricle.
        shortening: of its long axis, as a share of its length.
        right_share: by how much the right ventricle becomes shallower, as a share of its depth.
        twist_deg: how far the apex turns against the chest [degrees].
        kick: share of the filling that the atria add at the end.
    """

    rr_ms: float
    systole_ms: float
    ejection: float
    shortening: float
    right_share: float
    twist_deg: float
    kick: float

    @property
    def thinning(self) -> float:
        """By how much the cavity's radius falls at end systole, as a share: what is left for the ejection fraction."""
        return 1 - float(np.sqrt((1 - self.ejection) / (1 - self.shortening)))

    def contraction(self, time_ms: float) -> float:
        """How far the heart has contracted: 0 at the R wave, 1 at end systole."""
        time = time_ms % self.rr_ms
        if time <= self.systole_ms:
            return float(np.sin(np.pi / 2 * time / self.systole_ms) ** 2)
        rest = (time - self.systole_ms) / (self.rr_ms - self.systole_ms)
        early = _ease(rest / 0.42)
        late = _ease((rest - 0.74) / 0.26)
        return 1 - (1 - self.kick) * early - self.kick * late

    def volume_share(self, time_ms: float) -> float:
        """Volume of the left ventricle, as a share of that at end diastole."""
        s = self.contraction(time_ms)
        return (1 - self.thinning * s) ** 2 * (1 - self.shortening * s)


def draw_beat(rng: np.random.Generator) -> Beat:
    """Draw a beat of a heart that works normally or moderately badly."""
    rr = 60000 / rng.uniform(52, 92)
    ejection = rng.uniform(0.42, 0.70)
    return Beat(
        rr_ms=rr,
        systole_ms=0.17 * rr + rng.uniform(150, 180),
        ejection=ejection,
        shortening=rng.uniform(0.10, 0.18) * ejection / 0.6,
        right_share=rng.uniform(0.35, 0.55),
        twist_deg=rng.uniform(5, 12) * ejection / 0.6,
        kick=rng.uniform(0.12, 0.3),
    )


def pulled_back(heart: HeartAnatomy, beat: Beat, points: FloatArray, contraction: float) -> FloatArray:
    """Where the tissue that is at some points now was at end diastole.

    Walls keep their volume: each ring of myocardium is as large in area times length as before (Guccione et al. 1991).

    Args:
        heart: at end diastole.
        beat: how it beats.
        points: (..., 3) in the heart's own frame [mm].
        contraction: 0 to 1, as `Beat.contraction` says.

    Returns:
        (..., 3) in the same frame [mm]; the same points where nothing moves, far from the heart.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    apex = heart.apex_mm - 0.8 * heart.wall_mm
    stretch = 1 - beat.shortening * contraction
    limit = heart.epicardium(z) + heart.right_depth(angle, z)
    along = np.clip(1 - (radius - limit) / _FADE_MM, 0, 1)
    along = along * along * (3 - 2 * along) * np.clip(1 + (z - apex) / 15, 0, 1)
    highest = (heart.base_mm - apex) * (1 - stretch)
    before = z + along * np.clip((z - apex) * (1 / stretch - 1), 0, highest)

    outer, depth = heart.epicardium(before), heart.right_depth(angle, before)
    inner = np.minimum(heart.endocardium(before), outer)
    ventricle = np.clip((heart.base_mm + 5 - before) / 8, 0, 1)  # atria fill while the ventricles empty
    now_inner = inner * (1 - (beat.thinning * ventricle - 0.10 * (1 - ventricle)) * contraction)
    now_outer = np.sqrt(now_inner**2 + (outer**2 - inner**2) / stretch)
    now_depth = depth * (1 - (beat.right_share * ventricle - 0.12 * (1 - ventricle)) * contraction)
    fixed = np.maximum(outer, now_outer) + np.maximum(depth, now_depth) + _FADE_MM
    then_knots = (np.zeros_like(inner), inner, outer, outer + depth, fixed)
    now_knots = (np.zeros_like(inner), now_inner, now_outer, now_outer + now_depth, fixed)
    then = radius.copy()
    for low, high, now_low, now_high in zip(then_knots, then_knots[1:], now_knots, now_knots[1:], strict=False):
        share = (radius - now_low) / np.maximum(now_high - now_low, 1e-3)
        then = np.where((radius >= now_low) & (radius < now_high), low + share * (high - low), then)

    height = np.clip((before - heart.apex_mm) / (heart.base_mm - heart.apex_mm), 0, 1)
    turn = np.deg2rad(beat.twist_deg) * contraction * (1 - 1.35 * height)
    turned = angle - turn * np.clip(1 - (radius - now_outer) / 10, 0, 1)
    return np.stack([then * np.cos(turned), then * np.sin(turned), before], axis=-1).astype(np.float32)


def _ease(share: float) -> float:
    """From 0 to 1 without corners."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)
