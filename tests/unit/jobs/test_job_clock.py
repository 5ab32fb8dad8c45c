"""The ledger and a clock that is set back, on SQLite."""

import pytest
from clock_behaviours import ClockBehaviour
from ledger_behaviours import steps

from dicom_node.database import Database

__all__ = ["steps"]


@pytest.fixture
def database(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path}/node.sqlite")
    yield database
    database.close()


class TestClock(ClockBehaviour):
    pass
