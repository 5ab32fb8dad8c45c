"""A scanner and a projector that tests share: their tables take a second to make."""

from __future__ import annotations

import pytest

from simulation.projector import ParallelGeometry, ParallelProjector
from simulation.scanner import Acquisition, Scanner

SIZE, PIXEL_MM = 128, 3.2


@pytest.fixture(scope="session")
def scanner() -> Scanner:
    return Scanner(Acquisition())


@pytest.fixture(scope="session")
def projector() -> ParallelProjector:
    return ParallelProjector(ParallelGeometry(SIZE, PIXEL_MM, 180))
