"""Signal equations obey their limits, and protocols give the contrasts that radiologists know."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.mr_contrast import (
    BalancedSteadyState,
    InversionRecovery,
    PulseSequence,
    SpinEcho,
    SpoiledGradientEcho,
    Weighting,
    protocol,
)
from simulation.tissues import FIELDS_T, Relaxation, Tissue, properties, relaxation

WATER = Relaxation(t1_ms=1000, t2_ms=100, t2_star_ms=60, density=1.0, fat_share=0.0, washout=0.0)
FAT = Relaxation(t1_ms=288, t2_ms=165, t2_star_ms=100, density=1.0, fat_share=1.0, washout=0.0)


def signals(weighting: Weighting, field_t: float) -> dict[Tissue, float]:
    sequence = protocol(weighting, field_t)
    return {tissue: abs(sequence.signal(relaxation(tissue, field_t), field_t)) for tissue in Tissue}


def test_limits_of_the_equations() -> None:
    assert SpinEcho(1e6, 0).signal(WATER, 1.5) == pytest.approx(1)
    assert SpinEcho(1000, 100).signal(WATER, 1.5) == pytest.approx((1 - np.exp(-1)) * np.exp(-1))
    assert InversionRecovery(1e6, 1000 * np.log(2), 0).signal(WATER, 1.5) == pytest.approx(0, abs=1e-9)
    assert InversionRecovery(1e6, 0, 0).signal(WATER, 1.5) == pytest.approx(-1)
    assert SpoiledGradientEcho(1e6, 0, 90).signal(WATER, 1.5) == pytest.approx(1)
    ernst = np.rad2deg(np.arccos(np.exp(-30 / 1000)))
    best = SpoiledGradientEcho(30, 5, ernst).signal(WATER, 1.5)
    assert best > max(SpoiledGradientEcho(30, 5, ernst + by).signal(WATER, 1.5) for by in (-3, 3))


def test_balanced_signal_on_resonance_is_the_textbook_one() -> None:
    tr, flip = 4.0, np.deg2rad(50)
    e1, e2 = np.exp(-tr / WATER.t1_ms), np.exp(-tr / WATER.t2_ms)
    expected = np.sin(flip) * (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2) * np.sqrt(e2)
    steady = Relaxation(WATER.t1_ms, WATER.t2_ms, WATER.t2_ms, 1.0, 0.0, 0.0)
    assert BalancedSteadyState(tr, 50).signal(steady, 1.5) == pytest.approx(expected, rel=1e-6)


def test_fat_opposes_water_where_its_phase_says_so() -> None:
    period_ms = 1000 / (42.577 * 1.5 * 3.4)
    opposed = SpoiledGradientEcho(150, period_ms / 2, 70)
    in_phase = SpoiledGradientEcho(150, period_ms, 70)
    assert opposed.signal(FAT, 1.5) < 0 < in_phase.signal(FAT, 1.5)
    assert BalancedSteadyState(3.2, 60).signal(FAT, 1.5) < 0 < BalancedSteadyState(3.2, 60).signal(WATER, 1.5)
    assert SpinEcho(500, 15).signal(FAT, 1.5) > 0


@given(
    t1=st.floats(100, 4500),
    share=st.floats(0.01, 1.0),
    tr=st.floats(2, 10000),
    te=st.floats(0, 200),
    flip=st.floats(1, 90),
    fat=st.floats(0, 1),
)
def test_no_sequence_makes_more_signal_than_there_are_protons(
    t1: float, share: float, tr: float, te: float, flip: float, fat: float
) -> None:
    tissue = Relaxation(t1, t1 * share, t1 * share / 2, 0.8, fat, 0.0)
    sequences: tuple[PulseSequence, ...] = (
        SpinEcho(tr, te),
        InversionRecovery(tr, tr / 3, te),
        SpoiledGradientEcho(tr, te, flip),
        BalancedSteadyState(tr, flip),
    )
    for sequence in sequences:
        assert abs(sequence.signal(tissue, 1.5)) <= 0.8 + 1e-9


@pytest.mark.parametrize("field_t", FIELDS_T)
def test_brain_contrasts(field_t: float) -> None:
    for weighting in (Weighting.T1, Weighting.T1_INVERSION):
        found = signals(weighting, field_t)
        assert found[Tissue.FAT] > found[Tissue.WHITE_MATTER] > found[Tissue.DEEP_GREY] > found[Tissue.GREY_MATTER]
        assert found[Tissue.GREY_MATTER] > 1.5 * found[Tissue.CSF]
    t2 = signals(Weighting.T2, field_t)
    assert t2[Tissue.CSF] > t2[Tissue.LESION] > t2[Tissue.GREY_MATTER] > t2[Tissue.WHITE_MATTER] > t2[Tissue.MUSCLE]
    pd = signals(Weighting.PD, field_t)
    assert pd[Tissue.GREY_MATTER] > pd[Tissue.WHITE_MATTER]
    flair = signals(Weighting.FLAIR, field_t)
    assert flair[Tissue.LESION] > flair[Tissue.GREY_MATTER] > flair[Tissue.WHITE_MATTER] > 4 * flair[Tissue.CSF]


@pytest.mark.parametrize("field_t", FIELDS_T)
def test_body_contrasts(field_t: float) -> None:
    t1 = signals(Weighting.T1, field_t)
    assert t1[Tissue.FAT] > t1[Tissue.RED_MARROW] > t1[Tissue.MUSCLE] > 5 * t1[Tissue.CORTICAL_BONE]
    for weighting in (Weighting.STIR, Weighting.PD_FAT_SATURATED, Weighting.T2_FAT_SATURATED):
        found = signals(weighting, field_t)
        assert found[Tissue.FAT] < found[Tissue.CARTILAGE] < found[Tissue.SYNOVIAL_FLUID]
    ssfp = signals(Weighting.SSFP, field_t)
    assert ssfp[Tissue.BLOOD_POOL] > 1.8 * ssfp[Tissue.MYOCARDIUM] > 3 * ssfp[Tissue.LUNG]
    spin_echo = signals(Weighting.T1, field_t)
    assert spin_echo[Tissue.ARTERY] < 0.3 * spin_echo[Tissue.MUSCLE]  # flow void


@pytest.mark.parametrize("tissue", [t for t in Tissue if t is not Tissue.AIR])
def test_relaxation_is_that_of_the_table_and_physical(tissue: Tissue) -> None:
    t1 = [relaxation(tissue, field).t1_ms for field in np.linspace(0.55, 3.0, 12)]
    assert all(low < high for low, high in itertools.pairwise(t1))
    for index, field in enumerate(FIELDS_T):
        found = relaxation(tissue, field)
        assert found.t1_ms == pytest.approx(properties(tissue).t1_ms[index])
        assert found.t2_star_ms < found.t2_ms <= found.t1_ms
        assert 0 < found.density <= 1
    drawn = relaxation(tissue, 1.5, np.random.default_rng(0))
    assert 0.75 < drawn.t1_ms / properties(tissue).t1_ms[1] < 1.25
    assert drawn.t1_ms != properties(tissue).t1_ms[1]


@pytest.mark.parametrize("field_t", [0.2, 7.0])
def test_fields_outside_the_table_are_refused(field_t: float) -> None:
    with pytest.raises(ValueError, match=f"not at {field_t:g} T"):
        relaxation(Tissue.FAT, field_t)


def test_protocols_are_drawn_around_the_usual_ones() -> None:
    usual = protocol(Weighting.T2)
    drawn = [protocol(Weighting.T2, rng=np.random.default_rng(seed)) for seed in range(20)]
    assert isinstance(usual, SpinEcho)
    times = [sequence.te_ms for sequence in drawn if isinstance(sequence, SpinEcho)]
    assert len(set(times)) == 20
    assert min(times) > 0.8 * usual.te_ms
    assert max(times) < 1.2 * usual.te_ms
    assert protocol(Weighting.T2, rng=np.random.default_rng(3)) == drawn[3]
