"""Simulated slices put into a series: grid, rounding, range and what is not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dicom_node.contracts import Geometry, Units, Volume
from simulation.hip_sites import HipSite
from simulation.implanted_ct import implanted, part, replaced, unmeasured
from simulation.implants import ImplantKind, random_implant
from simulation.scanner import Acquisition


def volume(rows: int, columns: int, slices: int = 3, value: float = 40.25) -> Volume:
    geometry = Geometry(
        (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (3.0, 3.0), tuple((-90.0, -90.0, 5.0 * z) for z in range(slices)),
        rows, columns, 5.0,
    )  # fmt: skip
    return Volume(np.full((slices, rows, columns), value, np.float32), Units.HU, geometry)


@pytest.mark.parametrize(("rows", "columns"), [(20, 20), (21, 21), (16, 27), (27, 16)])
def test_slices_come_back_to_their_place_on_any_grid(rows: int, columns: int) -> None:
    given = volume(rows, columns)
    marked = given.pixels.copy()
    marked[1, 2, 3] = 500.0
    given = given.with_pixels(marked)

    def change(slices, projector):
        assert slices.shape == (2, projector.geometry.n_pixels, projector.geometry.n_pixels)
        assert projector.geometry.n_pixels % 2 == 0
        return slices + 1.5, slices, slices > 400, slices + 0.6

    made = replaced(given, slice(1, 3), change, angles=8)
    assert np.array_equal(made.artefact.pixels[0], given.pixels[0])
    assert np.array_equal(made.truth.pixels[1:], np.rint(given.pixels[1:]))
    assert np.array_equal(made.artefact.pixels[1:], np.rint(given.pixels[1:] + 1.5))
    assert np.array_equal(made.floor.pixels[1:], np.rint(given.pixels[1:] + 0.6))
    assert [tuple(int(i) for i in index) for index in np.argwhere(made.metal)] == [(1, 2, 3)]


def test_new_slices_are_clipped_to_their_range() -> None:
    def change(slices, projector):
        metal = torch.zeros(slices.shape, dtype=torch.bool)
        return slices + 1e5, slices - 1e5, metal, slices

    twelve = replaced(volume(20, 20), slice(0, 1), change, angles=8)
    assert (twelve.artefact.pixels[0].max(), twelve.truth.pixels[0].min()) == (3071, -1024)
    wide = replaced(volume(20, 20), slice(0, 1), change, range_hu=(-8000, 9000), angles=8)
    assert (wide.artefact.pixels[0].max(), wide.truth.pixels[0].min()) == (9000, -8000)


def test_what_is_not_measured_is_air_to_the_scanner_and_stays_as_it_was() -> None:
    given = volume(20, 20)
    pixels = given.pixels.copy()
    pixels[:, 0] = -3024.0
    padding = np.zeros(pixels.shape, bool)
    padding[:, -1] = True
    given = replace(given, pixels=pixels, padding=padding)
    assert unmeasured(given).sum() == 3 * 40
    seen = []

    def change(slices, projector):
        seen.append(slices.clone())
        return slices + 100, slices, torch.ones(slices.shape, dtype=torch.bool), slices

    made = replaced(given, slice(0, 1), change, angles=8)
    assert (seen[0][0, 0] == -1000).all() and (seen[0][0, -1] == -1000).all()
    assert (made.artefact.pixels[0, 0] == -3024).all()
    assert np.array_equal(made.artefact.pixels[0, -1], given.pixels[0, -1])
    assert not made.metal[0, [0, -1]].any()
    assert made.metal[0, 1:-1].all()


@pytest.mark.parametrize("fan", [False, True])
def test_a_scanned_implant_is_bright_where_it_is_and_disturbs_the_rest(fan: bool) -> None:
    site = HipSite("right", (-30.0, -10.0, 5.0), 24.0)
    implant = random_implant(site, np.random.default_rng(1), ImplantKind.RESURFACING)
    given = volume(60, 60)
    made = implanted(given, (implant,), slice(1, 2), acquisition=Acquisition(), seed=3, angles=60, fan=fan)
    assert made.metal[1].any() and not made.metal[[0, 2]].any()
    assert (made.truth.pixels[made.metal] > 2000).all()
    away = ~made.metal[1] & (np.abs(made.truth.pixels[1] - 40) < 1)
    assert (made.artefact.pixels[1] - made.truth.pixels[1])[away].std() > 50
    again = implanted(given, (implant,), slice(1, 2), acquisition=Acquisition(), seed=3, angles=60, fan=fan)
    assert np.array_equal(made.artefact.pixels, again.artefact.pixels)


def test_a_part_of_the_stack_keeps_its_place() -> None:
    geometry = volume(20, 20, slices=5).geometry
    taken = part(geometry, slice(2, 4))
    assert taken.shape == (2, 20, 20)
    assert taken.slice_origins_mm == geometry.slice_origins_mm[2:4]
