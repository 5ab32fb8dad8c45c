"""Attenuation and spectra against published values."""

from __future__ import annotations

import numpy as np
import pytest

from simulation.materials import (
    COCRMO,
    CORTICAL_BONE,
    IMPLANT_MATERIALS,
    STEEL_316L,
    TI6AL4V,
    UHMWPE,
    WATER,
    Material,
    implant_material,
)
from simulation.spectrum import tube_spectrum


@pytest.mark.parametrize(
    ("material", "per_cm"),
    [
        (WATER, (0.206, 0.193, 0.171)),  # NIST XCOM, 60, 70 and 100 keV
        (CORTICAL_BONE, (0.604, 0.494, 0.356)),
        (TI6AL4V, (3.28, 2.30, 1.18)),
        (COCRMO, (11.8, 7.9, 3.5)),
        (STEEL_316L, (10.2, 6.9, 3.1)),
        (UHMWPE, (0.185, 0.177, 0.162)),
    ],
)
def test_attenuation_is_the_published_one(material: Material, per_cm: tuple[float, ...]) -> None:
    ours = material.attenuation(np.array([60.0, 70.0, 100.0])) * 10
    np.testing.assert_allclose(ours, per_cm, rtol=0.03)


def test_materials_are_found_by_name() -> None:
    assert {implant_material(m.name) for m in IMPLANT_MATERIALS} == set(IMPLANT_MATERIALS)
    with pytest.raises(ValueError, match="CoCrMo"):
        implant_material("unobtainium")


def test_spectrum_lies_below_the_tube_voltage_and_hardens_with_filtration() -> None:
    thin, thick = tube_spectrum(120, aluminium_mm=3), tube_spectrum(120, aluminium_mm=12)
    assert thin.energies_kev.max() < 120
    assert thin.signal.sum() == pytest.approx(1)
    assert thick.mean_kev > thin.mean_kev + 2
    assert 60 < tube_spectrum(120).mean_kev < 72
    assert tube_spectrum(80).mean_kev < tube_spectrum(140).mean_kev


def test_water_hardens_the_beam() -> None:
    spectrum = tube_spectrum(120)
    lengths = np.array([100.0, 200.0, 400.0])
    effective = -np.log(spectrum.transmission(WATER.attenuation(spectrum.energies_kev), lengths)) / lengths
    assert effective[0] > effective[1] > effective[2]


def test_refuses_impossible_tubes() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        tube_spectrum(20)
