"""The ledger's promises on SQLite."""

import pytest
from ledger_behaviours import (
    DeliveryBehaviour,
    FailureBehaviour,
    LeaseBehaviour,
    LookingBehaviour,
    SubmitBehaviour,
    steps,
)

from dicom_node.database import Database

__all__ = ["steps"]


@pytest.fixture
def database(tmp_path):
    database = Database.open(f"sqlite:///{tmp_path}/node.sqlite")
    yield database
    database.close()


class TestSubmit(SubmitBehaviour):
    pass


class TestLease(LeaseBehaviour):
    pass


class TestFailure(FailureBehaviour):
    pass


class TestDelivery(DeliveryBehaviour):
    pass


class TestLooking(LookingBehaviour):
    pass
