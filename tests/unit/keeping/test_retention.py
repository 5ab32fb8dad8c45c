"""Retention's promises on SQLite."""

import pytest
from retention_behaviours import (
    AgeBehaviour,
    CrashBehaviour,
    DiskBehaviour,
    HoldBehaviour,
    LateImageBehaviour,
    site,
)

from dicom_node.database import Database

__all__ = ["site"]


@pytest.fixture
def database(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path}/var/node.sqlite")
    yield database
    database.close()


class TestAge(AgeBehaviour):
    pass


class TestHolds(HoldBehaviour):
    pass


class TestDisk(DiskBehaviour):
    pass


class TestCrashes(CrashBehaviour):
    pass


class TestLateImages(LateImageBehaviour):
    pass
