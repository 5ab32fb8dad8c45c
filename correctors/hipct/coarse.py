"""The scene's square at half the resolution, for what is smooth where it counts: an eighth of the work."""

from __future__ import annotations

from simulation.projector import ParallelGeometry, ParallelProjector


def half_resolution(fine: ParallelProjector) -> ParallelProjector:
    """Of the same square and device with half the pixels and angles; sides must be even, angles divide by four."""
    return ParallelProjector(_halved(fine.geometry), str(fine.device))


class HalfResolution:
    """Keeps the projector of the last grid that was asked for."""

    def __init__(self) -> None:
        self._coarse: ParallelProjector | None = None

    def of(self, fine: ParallelProjector) -> ParallelProjector:
        """`half_resolution`, built once for each grid."""
        if self._coarse is None or self._coarse.geometry != _halved(fine.geometry):
            self._coarse = None  # free the old matrices before the new ones are built
            self._coarse = half_resolution(fine)
        return self._coarse


def _halved(fine: ParallelGeometry) -> ParallelGeometry:
    return ParallelGeometry(fine.n_pixels // 2, 2 * fine.pixel_mm, fine.n_angles // 2)
