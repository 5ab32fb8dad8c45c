"""Repair: whatever the ledger has lost, it says afterwards what the files say, and nothing that came is gone."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keeping_site import DAY_S, START, ReceiverStandIn, Site, make_site, study, work
from sqlalchemy import text

from dicom_node import faults
from dicom_node.archive import tables as t
from dicom_node.database import Database
from dicom_node.jobs import JobState
from dicom_node.keeping import milestones
from dicom_node.keeping.leaving import forget
from dicom_node.keeping.ledger_file import set_aside_if_damaged
from dicom_node.keeping.repair import Findings, Repair

NOW = START + DAY_S


def opened(folder: Path) -> Database:
    return Database.open(f"sqlite:///{folder}/node.sqlite")


@pytest.fixture
def site(tmp_path):
    one = make_site(tmp_path / "var", opened(tmp_path / "var"))
    yield one
    faults.arm(None)
    one.database.close()


def reopen(site: Site) -> Site:
    """The site with the ledger that its folder has now."""
    site.database.close()
    set_aside_if_damaged(f"sqlite:///{site.folder}/node.sqlite", NOW)
    again = make_site(site.folder, opened(site.folder))
    site.database, site.room, site.ledger = again.database, again.room, again.ledger
    return site


def lose_ledger(site: Site) -> None:
    site.database.close()
    for path in site.folder.glob("node.sqlite*"):
        path.unlink()
    reopen(site)


def repair(site: Site, *, verify: bool = False) -> Findings:
    return Repair(site.folder, site.database, lambda *_: None).run(NOW, verify=verify)


def found(**counts: int) -> Findings:
    return Findings(**counts)


def contents(site: Site) -> dict[str, tuple[str, str, str, str]]:
    rows = site.rows(t.instances)
    return {r.sop_instance_uid: (r.sha256, r.series_instance_uid, r.patient_key, r.tags) for r in rows}


def fill(site: Site) -> dict[str, tuple[str, str, str, str]]:
    for number in range(3):
        site.push(study(number, slices=3, patient=number // 2), START)
    site.route(START)
    return contents(site)


def test_a_lost_ledger_is_rebuilt_from_the_archive(site):
    before = fill(site)
    lose_ledger(site)
    assert site.instances() == set()
    assert repair(site) == found(entered=9)
    assert contents(site) == before
    site.is_consistent()
    (patient, *_others) = site.rows(t.patients)
    assert patient.last_arrival <= NOW
    work(site.room.intake(), NOW + 100)
    assert {row.series_instance_uid for row in site.rows(t.explanations)} == {
        study(n).series_instance_uid for n in range(3)
    }, "patients are routed at the next start"
    assert repair(site) == found(), "a second repair finds nothing to do"
    with site.database.read() as tx:
        done = milestones.read(tx, milestones.REPAIR)
    assert done is not None and done.at == NOW


def test_a_copy_from_an_hour_ago_learns_what_came_since(site, tmp_path):
    fill(site)
    site.push(study(7), START)
    site.route(START)
    site.database.close()
    shutil.copy(site.folder / "node.sqlite", tmp_path / "copy.sqlite")
    reopen(site)
    site.push(study(8), START)
    sent = study(9)
    site.push(sent, START, file=False)
    site.route(START)
    site.section = site.section.model_copy(update={"keep_days": 0.5})
    with site.database.begin() as tx:
        tx.execute(
            text("UPDATE studies SET last_arrival = 0 WHERE study_instance_uid = :uid"),
            {"uid": study(7).study_instance_uid},
        )
    site.keep(START + DAY_S / 4)
    assert site.lacks(study(7))
    after = contents(site)
    site.database.close()
    for path in site.folder.glob("node.sqlite*"):
        path.unlink()
    shutil.copy(tmp_path / "copy.sqlite", site.folder / "node.sqlite")
    reopen(site)
    done = repair(site)
    assert (done.entered, done.lost) == (4, 2)
    assert contents(site) == after
    site.is_consistent()
    work(site.room.intake(), NOW)
    assert site.holds(sent)


def test_what_waited_in_the_spool_is_filed_after_all(site):
    fill(site)
    waiting = study(9)
    receiver = ReceiverStandIn(site.folder / "spool")
    for path in waiting.write(site.folder.parent / "waiting"):
        receiver.receive(path, NOW)
    receiver.die()
    lose_ledger(site)
    assert repair(site) == found(entered=9)
    work(site.room.intake(), NOW)
    assert site.holds(waiting)
    assert site.rows(t.quarantine) == []
    site.is_consistent()


def test_an_association_that_was_open_in_the_copy_holds_nobody_back(site):
    fill(site)
    with site.database.begin() as tx:
        tx.execute(text("UPDATE associations SET closed_at = NULL"))
        tx.execute(text("INSERT INTO received (path, association_id, received_at) VALUES ('spool/files/gone', 'x', 1)"))
    assert repair(site) == found(spool_forgotten=1)
    with site.database.read() as tx:
        counts = site.room.index.counts(tx)
    assert (counts["open_associations"], counts["unfiled"]) == (0, 0)


@pytest.mark.parametrize("where", [0, 100, 40_000], ids=["header", "first page", "in the middle"])
def test_a_damaged_ledger_is_moved_aside_and_rebuilt(site, where):
    before = fill(site)
    site.database.close()
    path = site.folder / "node.sqlite"
    with path.open("r+b") as file:
        file.seek(where)
        file.write(os.urandom(5000))
    damaged = path.read_bytes()
    reopen(site)
    (aside,) = (p for p in site.folder.glob("node.sqlite.damaged-*"))
    assert aside.read_bytes() == damaged
    assert repair(site) == found(entered=9)
    assert contents(site) == before


def test_a_log_of_changes_without_its_ledger_is_moved_aside(site):
    before = fill(site)
    copy = (site.folder / "node.sqlite-wal").read_bytes()
    assert copy
    site.database.close()
    (site.folder / "node.sqlite").unlink()
    (site.folder / "node.sqlite-wal").write_bytes(copy)
    reopen(site)
    assert [p.name.endswith("-wal") for p in site.folder.glob("node.sqlite.damaged-*")] == [True]
    repair(site)
    assert contents(site) == before


def test_a_sound_ledger_stays_where_it_is(site):
    before = fill(site)
    reopen(site)
    assert not list(site.folder.glob("*damaged*"))
    assert contents(site) == before
    assert set_aside_if_damaged("postgresql+psycopg://node@/node", NOW) is None


def test_images_whose_file_is_gone_are_taken_out_and_the_rest_is_routed_anew(site):
    fill(site)
    one = study(0, slices=3)
    site.store.path(one.sop_instance_uid(1)).unlink()
    for n in range(3):
        site.store.path(study(2, slices=3).sop_instance_uid(n)).unlink()
    assert repair(site) == found(lost=4)
    site.is_consistent()
    (patient,) = site.rows(t.patients)
    assert patient.generation > patient.routed_generation
    assert patient.waiting_since is not None
    work(site.room.intake(), NOW)
    assert {row.series_instance_uid for row in site.rows(t.explanations)} == {
        study(n).series_instance_uid for n in range(2)
    }


def test_what_retention_was_taking_away_is_not_mourned(site):
    fill(site)
    for n in range(3):
        site.store.path(study(2, slices=3).sop_instance_uid(n)).unlink()
    with site.database.begin() as tx:
        tx.execute(t.instances.update().values(leaving_since=1.0))
    assert repair(site) == found()
    site.keep(NOW)
    assert site.instances() == set()


def test_files_beside_the_instances_are_examined(site):
    before = fill(site)
    one, other, missing = (site.store.path(study(0, slices=3).sop_instance_uid(n)) for n in range(3))
    second_copy = one.with_name(f"{one.name}.orphan-00aa")
    second_copy.write_bytes(one.read_bytes())
    altered = other.with_name(f"{other.name}.orphan-00bb")
    altered.write_bytes(other.read_bytes() + b"\0\0")
    found_again = missing.with_name(f"{missing.name}.orphan-00cc")
    missing.rename(found_again)
    broken = one.with_name(f"{one.name}.orphan-00dd")
    broken.write_bytes(b"nothing")
    half = one.with_name(f".{one.name}.12ab")
    half.write_bytes(b"half")
    strange = one.with_name("readme.txt")
    strange.write_text("whose is this?")
    misnamed = site.folder / "archive" / "a" / f"ab{'0' * 62}.dcm"
    misnamed.parent.mkdir(exist_ok=True)
    misnamed.write_bytes(one.read_bytes())
    assert repair(site) == found(removed=2, set_aside=3, strange=1)
    assert contents(site) == before
    assert strange.exists()
    strange.unlink()
    site.is_consistent()
    reasons = sorted(row.reason for row in site.rows(t.quarantine))
    assert len(reasons) == 3
    assert any("already archived with other content" in reason for reason in reasons)
    assert any("is not named after its SOP Instance UID" in reason for reason in reasons)
    assert {p.name for p in (site.folder / "quarantine").iterdir()} == {altered.name, broken.name, misnamed.name}


def test_an_archive_of_version_0_1_stays_where_it_is(site):
    """It had 256 folders; what is sent again since lies in one of 16 too."""
    fill(site)
    uids = [study(0, slices=3).sop_instance_uid(n) for n in range(3)]
    old = {}
    for uid in uids:
        path = site.store.path(uid)
        old[uid] = site.folder / "archive" / path.name[:2] / path.name
        old[uid].parent.mkdir(exist_ok=True)
        path.rename(old[uid])
        with site.database.begin() as tx:
            moved = t.instances.update().where(t.instances.c.sop_instance_uid == uid)
            tx.execute(moved.values(path=str(old[uid].relative_to(site.folder))))
    assert repair(site, verify=True) == found(verified=9)
    shutil.copy(old[uids[0]], site.store.path(uids[0]))
    site.store.path(uids[1]).write_bytes(old[uids[1]].read_bytes() + b"\0\0")
    assert repair(site) == found(removed=1, set_aside=1)
    lose_ledger(site)
    (site.folder / "quarantine" / site.store.path(uids[1]).name).unlink()
    assert repair(site) == found(entered=9)
    shutil.copy(old[uids[0]], site.store.path(uids[0]))
    site.route(NOW + 100)
    site.keep(NOW + 100 * DAY_S)
    assert not list((site.folder / "archive").rglob("*.dcm"))


def test_the_quarantine_gets_its_rows_back(site):
    fill(site)
    folder = site.folder / "quarantine"
    folder.mkdir()
    archived = site.store.path(study(0, slices=3).sop_instance_uid(0)).read_bytes()
    (folder / "broken").write_bytes(archived[:-300])
    (folder / "conflict").write_bytes(archived + b"\0\0")
    new = study(9).write(site.folder.parent / "new")[0]
    shutil.copy(new, folder / "readable")
    gone = {"reason": "r", "association_id": "a", "received_at": 1.0, "quarantined_at": 1.0}
    with site.database.begin() as tx:
        rows = [{"path": "quarantine/gone", **gone}, {"path": "spool/files/never came", **gone}]
        tx.execute(t.quarantine.insert(), rows)
    assert repair(site) == found(quarantine_entered=3, quarantine_lost=1)
    reasons = {Path(row.path).name: row.reason for row in site.rows(t.quarantine)}
    assert "truncated" in reasons["broken"]
    assert "other content" in reasons["conflict"]
    assert "send it again" in reasons["readable"]
    assert "never came" in reasons, "somebody must know that it is gone"


def test_altered_files_are_found_and_set_aside(site):
    fill(site)
    path = site.store.path(study(0, slices=3).sop_instance_uid(1))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert repair(site) == found(), "without being asked nobody reads all the files"
    assert repair(site, verify=True) == found(verified=9, altered=1)
    assert not path.exists()
    assert (site.folder / "quarantine" / path.name).read_bytes() == content
    assert "altered" in site.rows(t.quarantine)[0].reason
    site.is_consistent()
    assert repair(site, verify=True) == found(verified=8)


def test_outputs_of_unknown_jobs_go_and_missing_outputs_are_made_again(site):
    fill(site)
    done, lost, kept = (site.job(study(n), end=end) for n, end in enumerate(("delivered", "derived", "derived")))
    for job in (lost, done):
        shutil.rmtree(site.folder / "outbox" / job)
    (site.folder / "outbox" / "ffff").mkdir()
    assert repair(site) == found(outbox_removed=1, jobs_queued=1)
    assert site.outbox.jobs() == [kept]
    with site.database.begin() as tx:
        states = {job.id: job.state for job in site.ledger.find(tx)}
        assert states == {lost: JobState.QUEUED, kept: JobState.DERIVED, done: JobState.DELIVERED}
        lease = site.ledger.lease_delivery(tx, "d", 60, NOW)
        assert lease is not None and lease.delivery.job_id == kept
        assert site.ledger.lease_delivery(tx, "d", 60, NOW) is None, "nothing is sent that is not there"


class Death(BaseException):
    """What `kill -9` is to a test inside one process."""


@pytest.mark.parametrize("point", ["repair.entered", "repair.rejected", "keeper.forgotten"])
def test_an_interrupted_repair_is_repeated(site, monkeypatch, point):
    monkeypatch.setattr("dicom_node.keeping.repair._BATCH", 2)
    before = fill(site)
    uid = study(0, slices=3).sop_instance_uid(1)
    lose_ledger(site)
    aside = site.store.path(uid).with_name(f"{site.store.path(uid).name}.orphan-00aa")
    aside.write_bytes(b"nothing")

    def die(reached: str) -> None:
        if reached == point:
            raise Death

    faults.arm(die)
    if point == "keeper.forgotten":
        repair(site)
    else:
        with pytest.raises(Death):
            repair(site)
    faults.arm(None)
    repair(site)
    assert contents(site) == before
    assert len(site.rows(t.quarantine)) == 1
    site.is_consistent()


TABLES = ("instances", "series", "studies", "patients", "associations", "explanations", "received", "journals")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(0, 5), max_size=6, unique=True),
    files=st.lists(st.integers(0, 5), max_size=3, unique=True),
    offset=st.booleans(),
)
def test_whatever_is_missing_files_and_rows_agree_afterwards(tmp_path, rows, files, offset):
    folder = tmp_path / os.urandom(4).hex() / "var"
    folder.mkdir(parents=True)
    with closing(opened(folder)) as database:
        site = make_site(folder, database)
        for number in range(2):
            site.push(study(number, slices=3, patient=number), START)
        uids = [study(number, slices=3).sop_instance_uid(n) for number in range(2) for n in range(3)]
        with database.begin() as tx:
            for number in rows:
                taken = {"uid": uids[number]}
                tx.execute(text("UPDATE instances SET leaving_since = 1 WHERE sop_instance_uid = :uid"), taken)
            marked = tx.execute(text("SELECT id FROM instances WHERE leaving_since = 1")).scalars().all()
            forget(tx, marked)
            if offset:
                tx.execute(text("DELETE FROM journals"))
        for number in files:
            site.store.path(uids[number]).unlink()
        repair(site)
        site.is_consistent()
        assert site.instances() == {uid for number, uid in enumerate(uids) if number not in files}
        work(site.room.intake(), NOW)
        assert site.instances() == {uid for number, uid in enumerate(uids) if number not in files}
        site.is_consistent()
