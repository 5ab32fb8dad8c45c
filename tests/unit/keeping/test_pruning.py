"""Old rows leave once nothing needs them; the keeper's steps do not wait for each other."""

from __future__ import annotations

import threading

import pytest
from keeping_site import DAY_S, START, Site, make_site, study
from sqlalchemy import text, update

from dicom_node.archive import tables as t
from dicom_node.database import Database
from dicom_node.errors import LedgerError, RequestError
from dicom_node.jobs import tables as jobs
from dicom_node.keeping.pruning import Pruning
from dicom_node.keeping.rounds import Step, repeat_all

YEARS_LATER = START + 1000 * DAY_S


@pytest.fixture
def site(tmp_path):
    one = make_site(tmp_path / "var", Database.open(f"sqlite:///{tmp_path}/var/node.sqlite"))
    yield one
    one.database.close()


def prune(site: Site, now: float) -> None:
    pruning = Pruning(site.database, site.folder, 365)
    while pruning.step(now) == 0.0:
        pass


def known(site: Site) -> set[str]:
    return {row.id for row in site.rows(jobs.jobs)}


def test_ended_jobs_leave_after_their_days_if_their_images_are_gone(site, monkeypatch):
    monkeypatch.setattr("dicom_node.keeping.pruning._PAGE", 2)
    gone = [site.job(study(n), end=end) for n, end in enumerate(("delivered", "refused", "unchanged", "given up"))]
    site.push(study(20), START)
    stays = [site.job(study(20)), site.job(study(10), end="dead"), site.job(study(30), now=START + 900 * DAY_S)]
    stays.append(site.job(study(11), end="queued"))
    prune(site, START + 364 * DAY_S)
    assert known(site) == {*gone, *stays}
    prune(site, YEARS_LATER)
    assert known(site) == set(stays)
    for table in (jobs.job_documents, jobs.job_events, jobs.job_series, jobs.deliveries):
        assert {row.job_id for row in site.rows(table)} <= set(stays)
    with site.database.read() as tx, pytest.raises(RequestError):
        site.ledger.get(tx, gone[0])


def test_associations_leave_once_no_image_of_theirs_can_be_here(site):
    for day in (0, 10, 20):
        site.push(study(day), START + day * DAY_S)
    site.route(START + 20 * DAY_S)
    prune(site, START + 300 * DAY_S)
    assert len(site.rows(t.associations)) == 3
    prune(site, YEARS_LATER)
    assert len(site.rows(t.associations)) == 3, "the oldest image is of the first one"
    site.section = site.section.model_copy(update={"keep_days": 995})
    site.keep(YEARS_LATER)
    prune(site, YEARS_LATER)
    assert [row.opened_at for row in site.rows(t.associations)] == [START + 10 * DAY_S, START + 20 * DAY_S]


def test_who_sent_whom_is_forgotten_when_nothing_hangs_on_it(site):
    for number in range(3):
        site.push(study(number, patient=number), START)
    row = t.associations.c
    still_open, unfiled, _over = [one.id for one in site.rows(t.associations)]
    with site.database.begin() as tx:
        tx.execute(update(t.associations).where(row.id == still_open).values(closed_at=None))
        waiting = {"path": "spool/files/x", "association_id": unfiled, "received_at": START}
        tx.execute(t.received.insert(), [waiting])
    prune(site, START)
    assert {one.association_id for one in site.rows(t.association_patients)} == {still_open, unfiled}


def test_a_quarantined_file_that_somebody_removed_is_forgotten(site):
    folder = site.folder / "quarantine"
    folder.mkdir()
    (folder / "there").write_bytes(b"x")
    rest = "'r', 'a', 1, 1"
    with site.database.begin() as tx:
        for path in ("quarantine/there", "quarantine/removed", "spool/files/never came"):
            columns = "path, reason, association_id, received_at, quarantined_at"
            tx.execute(text(f"INSERT INTO quarantine ({columns}) VALUES ('{path}', {rest})"))
    prune(site, START)
    assert [row.path for row in site.rows(t.quarantine)] == ["quarantine/there", "spool/files/never came"]


def test_one_steps_trouble_is_not_anothers():
    stop, did, beats = threading.Event(), [], []

    def troubled(now: float) -> float:
        did.append("troubled")
        raise LedgerError("locked")

    def busy(now: float) -> float:
        did.append("busy")
        if did.count("busy") == 3:
            stop.set()
        return 0.0

    def rare(now: float) -> float:
        did.append("rare")
        return 3600.0

    repeat_all([Step("troubled", troubled), Step("busy", busy), Step("rare", rare)], stop, lambda: beats.append(1))
    assert did == ["troubled", "busy", "rare", "busy", "busy"]
    assert len(beats) == 3
