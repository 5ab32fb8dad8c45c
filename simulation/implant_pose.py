"""Axes of one hip, along which implants are placed."""

from __future__ import annotations

import numpy as np

from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.shapes import Point


class Pose:
    """Axes of neck and femoral shaft on one side: the patient's own where the site knows them, with some scatter.

    Attributes:
        head: middle of the femoral head [mm, LPS].
        calcar: where the axes of neck and shaft meet [mm, LPS].
        neck_direction: from the head to the calcar, of length one.
        lateral: away from the body, at right angles to the shaft, of length one.
    """

    def __init__(self, site: HipSite, rng: np.random.Generator) -> None:
        """Draw the axes.

        Args:
            site: which hip.
            rng: source of randomness.
        """
        outwards = -1.0 if site.side == "right" else 1.0
        shaft = np.array([-outwards * 0.1 + rng.normal(0, 0.02), rng.normal(0, 0.03), -1.0])
        self._shaft = shaft / np.linalg.norm(shaft)
        self._length = rng.uniform(110, 160)
        head = np.asarray(site.centre_mm) + rng.normal(0, 1.5, 3)
        if site.shaft_mm is None:
            neck = np.array([outwards * 0.74, rng.normal(0.12, 0.08), -0.66 + rng.normal(0, 0.05)])
            calcar = head + rng.uniform(44, 54) * neck / np.linalg.norm(neck)
        else:
            below = np.asarray(site.shaft_mm) + rng.normal(0, 1, 3)
            rise = min(head[2] - rng.uniform(28, 36) - below[2], 0.9 * (head[2] - below[2]))
            calcar = below + rise / self._shaft[2] * self._shaft
            calcar[1] = 0.55 * head[1] + 0.45 * below[1]  # the femur bows: its neck leaves the shaft's line in y
            self._shaft = (below - calcar) / np.linalg.norm(below - calcar)
        self._neck = (calcar - head) / np.linalg.norm(calcar - head)
        self.head, self.calcar = shapes.as_point(head), shapes.as_point(calcar)
        self.neck_direction = shapes.as_point(self._neck)
        aside = np.array([outwards, 0.0, 0.0])
        aside -= (aside @ self._shaft) * self._shaft
        self.lateral = shapes.as_point(aside / np.linalg.norm(aside))

    def down_shaft(self, share: float) -> Point:
        """Point in the shaft at a share of the stem's length below the calcar."""
        return shapes.as_point(np.asarray(self.calcar) + share * self._length * self._shaft)

    def along_shaft(self, distance_mm: float, lateral_mm: float = 0.0, behind_mm: float = 0.0) -> Point:
        """Point so far below the calcar, to the outside of the shaft's axis and behind it."""
        behind = np.cross(self._shaft, self.lateral)
        behind *= np.sign(behind[1])
        place = np.asarray(self.calcar) + distance_mm * self._shaft
        return shapes.as_point(place + lateral_mm * np.asarray(self.lateral) + behind_mm * behind)

    def above_shaft(self, distance_mm: float) -> Point:
        """Point on the shaft's axis above the calcar."""
        return shapes.as_point(np.asarray(self.calcar) - distance_mm * self._shaft)
