"""Laws of solids that are cut, turned and moved."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import shapes, solids
from simulation.stacks import random_turn

seeds = st.integers(0, 2**31 - 1)
sizes = st.floats(1.0, 40.0)


def points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-50, 50, (500, 3)).astype(np.float32)


@given(sizes, sizes, sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_boxes_and_columns_hold_what_lies_within_their_sides(a: float, b: float, c: float, seed: int) -> None:
    here, centre = points(seed), (3.0, -2.0, 5.0)
    x, y, z = np.abs(here - np.asarray(centre, np.float32)).T
    box, column = solids.box(centre, (a, b, c)), solids.column(centre, (a, b), c)
    inside = (x < a) & (y < b) & (z < c)
    assert np.array_equal(box.distance(here) < 0, inside)
    assert np.array_equal(column.distance(here) < 0, ((x / a) ** 2 + (y / b) ** 2 < 1) & (z < c))
    away = np.linalg.norm(here - np.asarray(centre, np.float32), axis=-1)
    assert (away[inside] <= box.reach_mm + 1e-3).all()


@given(seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_distances_move_with_the_solid(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    turn = random_turn(rng, 40.0) @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    origin = shapes.as_point(rng.uniform(-30, 30, 3))
    solid = solids.without(solids.box((4.0, 0.0, 0.0), (9.0, 5.0, 7.0)), shapes.sphere((9.0, 2.0, 0.0), 5.0).distance)
    own = points(seed)
    there = solids.placed(solid, turn, origin)
    moved = (own @ turn.T + np.asarray(origin)).astype(np.float32)
    np.testing.assert_allclose(there.distance(moved), solid.distance(own), atol=1e-3)
    assert np.linalg.norm(turn @ solid.centre + origin - there.centre) < 1e-6


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_hole_is_empty_and_the_rest_stays(seed: int) -> None:
    here, ball, hole = points(seed), shapes.sphere((0.0, 0.0, 0.0), 40.0), shapes.sphere((20.0, 0.0, 0.0), 30.0)
    left = solids.without(ball, hole.distance).distance(here) < 0
    assert np.array_equal(left, (ball.distance(here) < 0) & (hole.distance(here) > 0))
