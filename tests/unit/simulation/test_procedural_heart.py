"""The synthetic heart beats as hearts do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.heart import CinePhantom, make_heart
from simulation.heart_anatomy import draw_heart
from simulation.heart_motion import draw_beat, pulled_back
from simulation.tissues import Tissue


@pytest.fixture(scope="module")
def cine() -> CinePhantom:
    return make_heart(seed=2, phases=12, slices=10, n_pixels=112, pixel_mm=3.0, spacing_mm=9.0)


def test_axes_and_times(cine: CinePhantom) -> None:
    assert cine.signal.shape == (12, *cine.geometry.shape) == (12, 10, 112, 112)
    assert cine.signal.dtype == np.float32
    assert cine.trigger_times_ms[0] == 0
    assert np.allclose(np.diff(cine.trigger_times_ms), cine.rr_ms / 12)
    assert 600 < cine.rr_ms < 1200
    row, column = np.asarray(cine.geometry.row_direction), np.asarray(cine.geometry.column_direction)
    assert row @ column == pytest.approx(0, abs=1e-6)
    # From the apex (left, front, below) to the base.
    assert np.asarray(cine.geometry.normal) @ (-0.62, 0.58, 0.53) > 0.9


def test_the_ventricle_is_smallest_at_end_systole(cine: CinePhantom) -> None:
    volumes = np.asarray(cine.lv_volume_ml)
    smallest = int(volumes.argmin())
    assert volumes.argmax() == 0
    assert 250 < cine.trigger_times_ms[smallest] < 480
    assert np.all(np.diff(volumes[: smallest + 1]) < 0)  # it empties without a pause
    assert np.all(np.diff(volumes[smallest:]) > -1e-9)
    assert 80 < volumes[0] < 200
    assert 0.35 < 1 - volumes[smallest] / volumes[0] < 0.75


def test_voxels_show_the_volumes(cine: CinePhantom) -> None:
    voxel_ml = 3.0 * 3.0 * 9.0 / 1000
    counted = cine.lv_cavity.sum(axis=(1, 2, 3)) * voxel_ml
    assert counted == pytest.approx(np.asarray(cine.lv_volume_ml), rel=0.2)
    assert abs(int(counted.argmin()) - int(np.argmin(cine.lv_volume_ml))) <= 1
    bright = cine.signal[cine.lv_cavity].mean()
    assert bright > 2 * np.median(cine.signal[0][cine.mask(Tissue.MYOCARDIUM)])


def test_tissues_have_the_signal_of_ssfp(cine: CinePhantom) -> None:
    first = cine.signal[0]
    blood, muscle, liver, lung = (
        float(np.median(first[cine.mask(tissue)]))
        for tissue in (Tissue.BLOOD_POOL, Tissue.MYOCARDIUM, Tissue.LIVER, Tissue.LUNG)
    )
    assert blood > 2 * liver
    assert blood > 2.5 * muscle
    assert muscle > 2 * lung
    assert np.isfinite(cine.signal).all()
    assert 0 <= cine.signal.min() < cine.signal.max() < 1000


def test_only_the_heart_and_its_surroundings_move(cine: CinePhantom) -> None:
    moved = np.abs(cine.signal - cine.signal[:1]).max(axis=(0, 1))
    assert np.array_equal(moved[0], np.zeros(112, np.float32))
    assert (moved > 0).mean() < 0.4
    rest = cine.signal[:, :, 100:, :]
    assert np.array_equal(rest, np.broadcast_to(rest[:1], rest.shape))
    assert rest.std() > 1


def test_texture_moves_and_is_not_made_anew(cine: CinePhantom) -> None:
    """Neighbouring phases differ far less than texture that is drawn again would."""
    cavity = cine.lv_cavity.all(axis=0)
    grain = cine.signal[0][cavity].std()
    late = [phase for phase, time in enumerate(cine.trigger_times_ms) if 0.75 < time / cine.rr_ms < 0.85]
    for phase in late:  # diastasis: the heart rests
        assert np.abs(cine.signal[phase] - cine.signal[phase - 1])[cavity].mean() < 0.5 * grain
    systole = int(np.argmin(cine.lv_volume_ml))
    assert np.abs(cine.signal[systole] - cine.signal[0]).max() > 100


def test_a_heart_at_rest_is_not_deformed() -> None:
    rng = np.random.default_rng(0)
    heart, beat = draw_heart(rng), draw_beat(rng)
    points = rng.uniform(-70, 70, (500, 3)).astype(np.float32)
    assert np.allclose(pulled_back(heart, beat, points, 0.0), points, atol=1e-3)
    far = points * np.float32(1.6) / np.abs(points[:, :2]).max(axis=1)[:, None].clip(1) * 70
    assert np.allclose(pulled_back(heart, beat, far, 1.0)[:, :2], far[:, :2], atol=1e-2)


@pytest.mark.parametrize("seed", range(4))
def test_walls_thicken_and_keep_their_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heart, beat = draw_heart(rng), replace(draw_beat(rng), twist_deg=0.0)
    side = np.arange(-60, 60, 0.5, dtype=np.float32)
    y, x = np.meshgrid(side, side, indexing="ij")
    areas = []
    for contraction in (0.0, 1.0):
        then = pulled_back(heart, beat, np.stack([x, y, np.zeros_like(x)], axis=-1), contraction)
        radius, z = np.hypot(then[..., 0], then[..., 1]), then[..., 2]
        wall = (radius > heart.endocardium(z)) & (radius < heart.epicardium(z))
        cavity = radius < heart.endocardium(z)
        areas.append((float(wall.sum()), float(cavity.sum())))
    (wall, cavity), (later_wall, later_cavity) = areas
    assert later_cavity < 0.8 * cavity
    assert later_wall > wall  # thicker, since shorter
    assert later_wall * (1 - beat.shortening) == pytest.approx(wall, rel=0.12)


@given(seed=st.integers(0, 10000), time=st.floats(0, 3000))
def test_beats_repeat_and_stay_between_their_ends(seed: int, time: float) -> None:
    beat = draw_beat(np.random.default_rng(seed))
    assert -1e-9 <= beat.contraction(time) <= 1 + 1e-9
    assert beat.contraction(time) == pytest.approx(beat.contraction(time + beat.rr_ms), abs=1e-6)
    assert beat.volume_share(beat.systole_ms) == pytest.approx(1 - beat.ejection)
    assert beat.volume_share(time) >= 1 - beat.ejection - 1e-9
    assert beat.contraction(0) == 0
    assert beat.contraction(beat.rr_ms - 1e-6) == pytest.approx(0, abs=1e-4)


def test_seeds_are_patients_and_noise_is_optional() -> None:
    def make(seed: int, noise: float = 0.0) -> CinePhantom:
        return make_heart(seed=seed, phases=2, slices=1, n_pixels=64, pixel_mm=5.0, noise=noise)

    assert np.array_equal(make(1).signal, make(1).signal)
    assert np.abs(make(1).signal - make(2).signal).mean() > 5
    assert make(1).signal[0, 0, 0, 0] == 0
    assert make(1, noise=10.0).signal[0, 0, 0, 0] > 0


def test_a_cine_without_phases_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        make_heart(seed=1, phases=0)
