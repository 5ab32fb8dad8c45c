"""Every pair of states, legal and illegal, against the table and against a real row."""

import itertools

import pytest
from sqlalchemy import select, update

from dicom_node.database import Database
from dicom_node.errors import IllegalTransition
from dicom_node.jobs import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, DeliveryState, JobLedger, JobState, RetryPolicy
from dicom_node.jobs import tables as t
from dicom_node.jobs.model import NewJob
from dicom_node.jobs.transitions import move_delivery, move_job

LEGAL_JOB = {
    ("QUEUED", "LEASED"),
    ("QUEUED", "CANCELLED"),
    ("LEASED", "QUEUED"),
    ("LEASED", "DERIVED"),
    ("LEASED", "UNCHANGED"),
    ("LEASED", "REFUSED"),
    ("LEASED", "DEAD"),
    ("DERIVED", "DELIVERED"),
    ("DERIVED", "DEAD"),
    ("DERIVED", "CANCELLED"),
    ("UNCHANGED", "QUEUED"),
    ("REFUSED", "QUEUED"),
    ("DEAD", "QUEUED"),
    ("DEAD", "DERIVED"),
    ("DEAD", "CANCELLED"),
    ("CANCELLED", "QUEUED"),
}
LEGAL_DELIVERY = {
    ("PENDING", "LEASED"),
    ("PENDING", "CANCELLED"),
    ("LEASED", "PENDING"),
    ("LEASED", "DONE"),
    ("LEASED", "DEAD"),
    ("LEASED", "CANCELLED"),
    ("DEAD", "PENDING"),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('states')}/node.sqlite")
    yield database
    database.close()


@pytest.fixture(scope="module")
def job_id(database):
    new = NewJob("route", "hipct", "li", {}, ("pacs",), (), "set", "digest")
    with database.begin() as tx:
        job = JobLedger(RetryPolicy()).submit(tx, new, 1.0)
    assert job is not None
    return job.id


@pytest.fixture(scope="module")
def delivery_id(database, job_id):
    values = {"attempts": 0, "setbacks": 0, "lost": 0, "updated_at": 1.0, "not_before": 1.0, "token": 0}
    with database.begin() as tx:
        insert = t.deliveries.insert().values(job_id=job_id, derived_token=1, peer="pacs", state="PENDING", **values)
        return tx.execute(insert.returning(t.deliveries.c.id)).scalar_one()


@pytest.mark.parametrize(("origin", "target"), list(itertools.product(JobState, JobState)))
def test_job_pair(database, job_id, origin, target):
    legal = (str(origin), str(target)) in LEGAL_JOB
    assert (target in JOB_TRANSITIONS[origin]) == legal
    with database.begin() as tx:
        tx.execute(update(t.jobs).values(state=origin))
        if legal:
            assert move_job(tx, job_id, origin, target, 2.0, code="Test")
        else:
            with pytest.raises(IllegalTransition, match=f"from {origin} to {target}"):
                move_job(tx, job_id, origin, target, 2.0, code="Test")
        assert tx.execute(select(t.jobs.c.state)).scalar_one() == (target if legal else origin)


@pytest.mark.parametrize(("origin", "target"), list(itertools.product(DeliveryState, DeliveryState)))
def test_delivery_pair(database, delivery_id, origin, target):
    legal = (str(origin), str(target)) in LEGAL_DELIVERY
    assert (target in DELIVERY_TRANSITIONS[origin]) == legal
    with database.begin() as tx:
        tx.execute(update(t.deliveries).values(state=origin))
        if legal:
            assert move_delivery(tx, delivery_id, origin, target, 2.0, code="Test")
        else:
            with pytest.raises(IllegalTransition, match=f"from {origin} to {target}"):
                move_delivery(tx, delivery_id, origin, target, 2.0, code="Test")
        assert tx.execute(select(t.deliveries.c.state)).scalar_one() == (target if legal else origin)


def test_a_row_in_another_state_or_under_another_token_is_left_alone(database, job_id):
    with database.begin() as tx:
        tx.execute(update(t.jobs).values(state="LEASED", token=4))
        assert not move_job(tx, job_id, JobState.QUEUED, JobState.CANCELLED, 3.0, code="Test")
        assert not move_job(tx, job_id, JobState.LEASED, JobState.DEAD, 3.0, code="Test", token=3)
        assert tx.execute(select(t.jobs.c.state)).scalar_one() == "LEASED"
        assert move_job(tx, job_id, JobState.LEASED, JobState.DEAD, 3.0, code="Test", token=4)
