"""K-means with k = 3 on CT numbers, as the near-hip paper segments metal (arXiv seed 004, section II-A)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray

CLUSTERS = 3
LOWEST_HU = -500.0
BIN_HU = 8.0
HIGHEST_HU = 4096.0
"""All that is brighter counts as this: else the brightest of several metals would have a cluster of its own [HU]."""
MOST_SPLITS = 4


def lloyd(values: NDArray[np.float64], weights: NDArray[np.float64], clusters: int = CLUSTERS) -> NDArray[np.float64]:
    """Cluster centres of weighted 1-D data by Lloyd's iteration, started evenly between the extremes.

    Args:
        values: (n,) sorted sample values.
        weights: (n,) how often each occurs.
        clusters: number of clusters k.

    Returns:
        (k,) centres, ascending; a cluster that lost all its members keeps its last centre.
    """
    centres = np.linspace(values[0], values[-1], clusters)
    for _ in range(200):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        mass = np.bincount(nearest, weights, clusters)
        total = np.bincount(nearest, weights * values, clusters)
        moved = np.where(mass > 0, total / np.maximum(mass, 1e-12), centres)
        if np.allclose(moved, centres, atol=1e-3):
            break
        centres = np.sort(moved)
    return centres


def metal_threshold(pixels: FloatArray, lowest_metal_centre_hu: float) -> float | None:
    """Value that parts the metal cluster from the rest, None when no cluster is metal.

    The histogram of all voxels above air is clustered with k = 3. A small implant may share its cluster with dense
    bone; the top cluster is therefore clustered again while its centre is too low to be metal. On a series without
    metal no centre ever gets there.

    Args:
        pixels: (z, y, x) CT numbers [HU].
        lowest_metal_centre_hu: a cluster with a lower centre is no metal [HU].

    Returns:
        Threshold [HU] or None.
    """
    edges = np.arange(LOWEST_HU, HIGHEST_HU + BIN_HU, BIN_HU)
    counts = np.zeros(len(edges) - 1, dtype=np.float64)
    for one in pixels:
        counts += np.histogram(np.clip(one[one > LOWEST_HU], LOWEST_HU, HIGHEST_HU), edges)[0]
    occupied = counts > 0
    values, weights = ((edges[:-1] + edges[1:]) / 2)[occupied], counts[occupied]
    for _ in range(MOST_SPLITS):
        if len(values) < CLUSTERS:
            return None
        centres = lloyd(values, weights)
        boundary = float((centres[-1] + centres[-2]) / 2)
        if centres[-1] >= lowest_metal_centre_hu:
            return boundary
        above = values > boundary
        values, weights = values[above], weights[above]
    return None
