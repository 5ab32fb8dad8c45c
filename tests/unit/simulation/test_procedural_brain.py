"""The synthetic head looks like a head, in every contrast."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from simulation.brain import make_brain
from simulation.mr_contrast import Weighting, protocol
from simulation.mr_phantom import MrPhantom
from simulation.stacks import Plane
from simulation.tissues import Tissue


@cache
def brain(weighting: Weighting = Weighting.T1, seed: int = 3) -> MrPhantom:
    return make_brain(
        seed=seed, slices=7, n_pixels=144, pixel_mm=1.6, spacing_mm=15.0, sequence=protocol(weighting), lesions=12
    )


@pytest.fixture(scope="module")
def t1() -> MrPhantom:
    return brain()


def mean(phantom: MrPhantom, tissue: Tissue) -> float:
    """Of voxels that are not at an edge where there are such."""
    mask = phantom.mask(tissue)
    core = np.stack([ndimage.binary_erosion(layer) for layer in mask])
    return float(np.median(phantom.signal[core if core.sum() > 5 else mask]))


@pytest.mark.parametrize("seed", [3, 8])
def test_tissues_have_the_volumes_of_adults(seed: int) -> None:
    phantom = brain(seed=seed)
    litres = 1.6 * 1.6 * 15 / 1e6
    grey, white, csf = (
        float(phantom.mask(tissue).sum()) * litres for tissue in (Tissue.GREY_MATTER, Tissue.WHITE_MATTER, Tissue.CSF)
    )
    assert 0.75 < grey + white < 1.6  # the stack leaves the crown and the lowest part out
    assert 0.6 < grey / white < 1.7
    assert 0.08 < csf < 0.6
    for tissue in (Tissue.CORTICAL_BONE, Tissue.FAT, Tissue.DEEP_GREY, Tissue.FLUID):
        assert phantom.mask(tissue).any()


def test_layers_lie_inside_one_another(t1: MrPhantom) -> None:
    middle = 4
    labels = t1.labels[middle]
    row = labels[72][labels[72] != tuple(Tissue).index(Tissue.AIR)]
    order = tuple(Tissue)
    assert [order[row[0]], order[row[-1]]] == [Tissue.SKIN] * 2 or Tissue.FAT in {order[row[0]], order[row[-1]]}
    inside = ndimage.binary_fill_holes(t1.mask(Tissue.CORTICAL_BONE)[middle])
    for tissue in (Tissue.GREY_MATTER, Tissue.WHITE_MATTER, Tissue.CSF):
        assert inside[t1.mask(tissue)[middle]].mean() > 0.99


def test_cortex_is_folded(t1: MrPhantom) -> None:
    """Far more grey matter touches fluid than a smooth hull would let it."""
    middle = 5
    brain_mask = np.isin(t1.labels[middle], [tuple(Tissue).index(t) for t in (Tissue.GREY_MATTER, Tissue.WHITE_MATTER)])
    hull = ndimage.binary_fill_holes(ndimage.binary_closing(brain_mask, iterations=8))
    white = t1.mask(Tissue.WHITE_MATTER)[middle]

    def edge(mask: np.ndarray) -> int:
        return int((mask & ~ndimage.binary_erosion(mask)).sum())

    assert edge(white) > 1.8 * edge(hull)


def test_contrasts_order_the_tissues() -> None:
    grey, white, csf, lesion = Tissue.GREY_MATTER, Tissue.WHITE_MATTER, Tissue.CSF, Tissue.LESION
    t1 = brain(Weighting.T1_INVERSION)
    assert mean(t1, white) > 1.2 * mean(t1, grey) > 2 * mean(t1, csf)
    t2 = brain(Weighting.T2)
    assert mean(t2, csf) > mean(t2, grey) > mean(t2, white)
    flair = brain(Weighting.FLAIR)
    assert mean(flair, lesion) > mean(flair, white) > 2 * mean(flair, csf)
    assert np.array_equal(t1.labels, t2.labels)  # one patient
    assert np.array_equal(t1.labels, flair.labels)


def test_signal_is_physical_and_textured(t1: MrPhantom) -> None:
    assert t1.signal.dtype == np.float32
    assert t1.signal.shape == t1.geometry.shape
    assert np.isfinite(t1.signal).all()
    assert 0 <= t1.signal.min() < t1.signal.max() < 1200
    assert t1.signal[0, 0, 0] == 0  # no noise unless asked for
    core = np.stack([ndimage.binary_erosion(layer, iterations=2) for layer in t1.mask(Tissue.WHITE_MATTER)])
    values = t1.signal[core]
    assert 0.01 < values.std() / values.mean() < 0.12


def test_seeds_are_patients_and_noise_is_optional() -> None:
    def make(seed: int, noise: float = 0.0) -> np.ndarray:
        return make_brain(seed=seed, slices=1, n_pixels=64, pixel_mm=3.6, noise=noise).signal

    assert np.array_equal(make(1), make(1))
    assert np.abs(make(1) - make(2)).mean() > 15
    assert (make(1, noise=20.0) - make(1)).std() == pytest.approx(20, rel=0.4)


def test_lesions_are_counted_in() -> None:
    healthy = make_brain(seed=5, slices=3, n_pixels=80, pixel_mm=2.8, spacing_mm=12.0)
    ill = make_brain(seed=5, slices=3, n_pixels=80, pixel_mm=2.8, spacing_mm=12.0, lesions=40)
    assert not healthy.mask(Tissue.LESION).any()
    assert ill.mask(Tissue.LESION).sum() > 10
    assert healthy.mask(Tissue.WHITE_MATTER)[ill.mask(Tissue.LESION)].all()  # lesions lie in white matter


@pytest.mark.parametrize("plane", list(Plane))
def test_planes_cut_the_same_head(plane: Plane) -> None:
    cut = make_brain(seed=3, plane=plane, slices=1, n_pixels=100, pixel_mm=2.4)
    ventricle_and_more = cut.mask(Tissue.CSF).sum()
    assert ventricle_and_more > 50
    assert cut.mask(Tissue.WHITE_MATTER).sum() > 500
    body = np.argwhere(cut.labels[0] != tuple(Tissue).index(Tissue.AIR))
    assert body.min() >= 0
    assert len(body) > 2500


def test_the_face_is_in_front_and_low() -> None:
    """Eyes lie at the front (small y, patient's anterior) of a slice below the middle of the brain."""
    low = make_brain(seed=3, slices=8, n_pixels=100, pixel_mm=2.4, spacing_mm=12.0)
    eyes = np.argwhere(low.mask(Tissue.FLUID))
    assert len(eyes) > 10
    assert eyes[:, 1].mean() < 35  # of 100 rows
    assert eyes[:, 0].mean() < 3
    assert (eyes[:, 2] < 50).any()
    assert (eyes[:, 2] > 50).any()  # one on each side
