"""The index's promises on SQLite, and that they outlive the process."""

import pytest
from index_behaviours import HEADER, IndexBehaviour, Steps, index

from dicom_node.archive.model import Settled
from dicom_node.database import Database

__all__ = ["index"]


@pytest.fixture
def database(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path}/node.sqlite")
    yield database
    database.close()


class TestIndex(IndexBehaviour):
    pass


def test_a_restart_inside_the_quiet_period_still_fires(tmp_path):
    url = f"sqlite:///{tmp_path}/node.sqlite"
    before = Database.open(url)
    steps = Steps(before)
    association = steps.open("r0")
    steps.arrive(association, 10.0)
    before.close()
    after = Database.open(url)
    steps = Steps(after)
    assert steps.close_associations_of("r0", 20.0) == 1
    assert steps.settled_patients(30, 40.0) == [Settled(HEADER.patient_key, 1)]
    after.close()
