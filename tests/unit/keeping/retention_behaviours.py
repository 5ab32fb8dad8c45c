"""What retention promises on any engine. Test modules subclass these with a `database` fixture of their engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from keeping_site import DAY_S, START, Site, bring, make_site, study
from sqlalchemy import delete, update

from dicom_node import faults
from dicom_node.archive import tables as t
from dicom_node.config import RetentionSection
from dicom_node.contracts import FileRef
from dicom_node.errors import StorageFailed
from dicom_node.jobs import JobInput, NewJob
from dicom_node.keeping import milestones

LATER = START + 11 * DAY_S
POINTS = ("keeper.marked", "keeper.unlinked", "keeper.synced", "keeper.forgotten")


class Death(BaseException):
    """What `kill -9` is to a test inside one process."""


@pytest.fixture
def site(tmp_path, database):
    yield make_site(tmp_path / "var", database)
    faults.arm(None)


def held(site: Site) -> dict[str, int]:
    with site.database.read() as tx:
        found = milestones.read(tx, milestones.RETENTION)
    assert found is not None
    return dict(found.document["held"])


class AgeBehaviour:
    def test_a_study_leaves_when_its_days_are_over_and_only_then(self, site):
        old, young, other = study(1, patient=1), study(2, patient=1), study(3, patient=2)
        site.push(old, START)
        site.push(young, START + 2 * DAY_S)
        site.push(other, START)
        site.route(START + 2 * DAY_S)
        site.keep(START + 9.9 * DAY_S)
        assert site.holds(old, young, other)
        site.keep(LATER)
        assert site.lacks(old, other)
        assert site.holds(young)
        assert len(site.rows(t.patients)) == 1
        assert len(site.rows(t.association_patients)) == 2
        site.is_consistent()
        site.keep(LATER + 2 * DAY_S)
        assert site.rows(t.patients) == site.rows(t.explanations) == site.rows(t.association_patients) == []
        site.is_consistent()

    def test_without_days_or_watermark_nothing_ever_leaves(self, site):
        site.section = RetentionSection()
        site.push(study(), START)
        site.route(START)
        site.keep(START + 10_000 * DAY_S)
        assert site.holds(study())

    def test_an_image_that_is_sent_again_keeps_its_study_young(self, site):
        site.push(study(slices=3), START)
        site.route(START)
        site.push(study(slices=3), START + 5 * DAY_S, [1])
        site.keep(LATER)
        assert site.holds(study(slices=3))
        site.keep(LATER + 5 * DAY_S)
        assert site.lacks(study(slices=3))

    @pytest.mark.parametrize(("limit", "value"), [("_BATCH", 3), ("_LONGEST_HOLD_S", -1.0)])
    def test_a_study_of_many_images_leaves_in_several_batches(self, site, monkeypatch, limit, value):
        monkeypatch.setattr(f"dicom_node.keeping.leaving.{limit}", value)
        site.push(study(slices=8), START)
        site.route(START)
        site.keep(LATER)
        assert site.lacks(study(slices=8))
        site.is_consistent()

    def test_one_study_uid_of_two_patients_is_two_studies(self, site):
        mine, theirs = study(1, patient=1, study_seed=9), study(2, patient=2, study_seed=9)
        assert mine.study_instance_uid == theirs.study_instance_uid
        site.push(mine, START)
        site.push(theirs, START + 5 * DAY_S)
        site.route(START + 5 * DAY_S)
        site.keep(LATER)
        assert site.holds(theirs)
        assert not site.instances() & {mine.sop_instance_uid(n) for n in range(2)}
        site.is_consistent()

    def test_quarantined_files_leave_after_the_same_days(self, site):
        folder = site.folder / "quarantine"
        folder.mkdir()
        for name, at in (("old", START), ("new", START + 5 * DAY_S)):
            (folder / name).write_bytes(b"x")
            row = {"path": f"quarantine/{name}", "reason": "r", "association_id": "a", "received_at": at}
            with site.database.begin() as tx:
                tx.execute(t.quarantine.insert(), [row | {"quarantined_at": at}])
        faults.arm(die_at("keeper.quarantine_unlinked"))
        with pytest.raises(Death):
            site.keep(LATER)
        faults.arm(None)
        site.keep(LATER)
        assert [row.path for row in site.rows(t.quarantine)] == ["quarantine/new"]
        assert [path.name for path in folder.iterdir()] == ["new"]


class HoldBehaviour:
    @pytest.mark.parametrize(
        ("end", "why"),
        [
            ("queued", "a job is not done"),
            ("leased", "a job is not done"),
            ("derived", "a job is not done"),
            ("dead", "a job or delivery is dead"),
            ("delivery dead", "a job or delivery is dead"),
            ("unverified", "a delivery is not verified"),
            ("verification failed", "a delivery is not verified"),
        ],
    )
    def test_what_is_not_delivered_and_verified_keeps_every_study_it_was_made_of(self, site, end, why):
        ct, mr = study(1, patient=1), study(2, patient=1)
        for one in (ct, mr):
            site.push(one, START)
        site.route(START)
        site.job(ct, mr, end=end)
        site.keep(LATER)
        assert site.holds(ct, mr)
        assert held(site) == {why: 2}

    @pytest.mark.parametrize("end", ["delivered", "refused", "unchanged", "cancelled", "given up"])
    def test_what_has_ended_well_or_was_given_up_does_not(self, site, end):
        site.push(study(), START)
        site.route(START)
        job = site.job(study(), end=end)
        site.keep(LATER)
        assert site.lacks(study())
        assert job not in site.outbox.jobs()
        with site.database.read() as tx:
            assert site.ledger.get(tx, job).id == job, "the ledger still tells what was done"

    def test_a_peer_that_is_not_asked_holds_nothing_back(self, site):
        site.unverified_peers = ("pacs",)
        site.push(study(), START)
        site.route(START)
        site.job(study(), end="unverified")
        site.keep(LATER)
        assert site.lacks(study())

    def test_an_earlier_derivation_does_not_count(self, site):
        """Deliveries of a job that was replayed after it was given up stay as history."""
        site.push(study(), START)
        site.route(START)
        job = site.job(study(), end="delivery dead")
        with site.database.begin() as tx:
            site.ledger.cancel(tx, job, START)
            site.ledger.retry(tx, job, START)
        bring(site, job, "delivered", START)
        site.keep(LATER)
        assert site.lacks(study())

    def test_images_that_were_not_routed_yet_stay(self, site):
        site.push(study(), START)
        site.keep(LATER)
        assert site.holds(study())
        assert held(site) == {"not routed yet": 1}

    def test_a_patient_who_is_being_sent_stays(self, site):
        first, second = study(1), study(2)
        site.push(first, START)
        site.route(START)
        row = t.associations.c
        with site.database.begin() as tx:
            tx.execute(update(t.associations).values(closed_at=None))
        site.keep(LATER)
        assert held(site) == {"images of its patient are being received": 1}
        with site.database.begin() as tx:
            association = tx.execute(update(t.associations).values(closed_at=START).returning(row.id)).scalar_one()
            waiting = {"path": "spool/files/x", "association_id": association, "received_at": LATER}
            tx.execute(t.received.insert(), [waiting])
        site.keep(LATER)
        assert site.holds(first), "an image of that association is not filed yet"
        with site.database.begin() as tx:
            tx.execute(delete(t.received))
        site.keep(LATER)
        assert site.lacks(first, second)


class DiskBehaviour:
    @pytest.fixture
    def disk(self, monkeypatch):
        """Free space [MB] as retention sees it: grows by one for each study that is gone."""
        size = {"free": 0.0}
        monkeypatch.setattr("dicom_node.keeping.retention.Retention.free_mb", lambda _: size["free"])
        return size

    def test_the_oldest_leave_until_there_is_room_again(self, site, disk):
        site.section = RetentionSection(start_below_free_mb=7)
        studies = [study(n) for n in range(5)]
        for number, one in enumerate(studies):
            site.push(one, START + number * DAY_S)
        site.route(START + 5 * DAY_S)
        disk["free"] = 8.0
        site.keep(LATER)
        assert site.holds(*studies)
        disk["free"] = 5.0
        retention = site.retention()
        while retention.step(LATER) == 0.0:
            disk["free"] = 5.0 + 5 - len(site.rows(t.studies))
        assert site.lacks(*studies[:2])
        assert site.holds(*studies[2:])

    def test_nothing_young_and_nothing_undelivered_leaves_however_full_it_is(self, site, disk):
        site.section = RetentionSection(start_below_free_mb=7, keep_at_least_h=24)
        undelivered, young = study(1, patient=1), study(2, patient=2)
        site.push(undelivered, START)
        site.push(young, LATER - 0.9 * DAY_S)
        site.route(LATER - 0.9 * DAY_S)
        site.job(undelivered, end="dead")
        site.keep(LATER)
        assert site.holds(undelivered, young)
        site.keep(LATER + 0.2 * DAY_S)
        assert site.lacks(young)

    def test_a_clock_that_is_set_back_deletes_nothing(self, site, disk):
        site.section = RetentionSection(keep_days=1, start_below_free_mb=7, keep_at_least_h=1)
        site.push(study(), START)
        site.route(START)
        site.keep(START - 100 * DAY_S)
        assert site.holds(study())


def die_at(point: str):
    def hook(reached: str) -> None:
        if reached == point:
            raise Death

    return hook


class CrashBehaviour:
    @pytest.mark.parametrize("point", POINTS)
    def test_killed_at_any_point_it_ends_the_same(self, site, point):
        site.push(study(slices=5), START)
        site.route(START)
        job = site.job(study(slices=5))
        faults.arm(die_at(point))
        with pytest.raises(Death):
            site.keep(LATER)
        faults.arm(None)
        with site.database.read() as tx:
            (patient,) = site.rows(t.patients) or [None]
            if patient is not None:
                assert site.room.index.series_of_patient(tx, patient.patient_key) == [], "routing sees nothing of it"
        site.keep(LATER)
        assert site.lacks(study(slices=5))
        assert job not in site.outbox.jobs()
        site.is_consistent()

    @pytest.mark.parametrize("point", POINTS)
    @pytest.mark.parametrize("frames", [[0], [0, 1, 2, 3, 4]], ids=["one image", "the whole study"])
    def test_what_is_sent_again_meanwhile_is_kept(self, site, point, frames):
        one = study(slices=5)
        site.push(one, START)
        site.route(START)
        # Inside the transaction that removes files, an image can only arrive in the spool.
        inside = point == "keeper.unlinked"

        def again(reached: str) -> None:
            if reached == point:
                faults.arm(None)
                site.push(one, LATER, frames, file=not inside)

        faults.arm(again)
        site.keep(LATER)
        site.push(study(2, patient=5), LATER)
        sent = {one.sop_instance_uid(n) for n in frames}
        assert sent <= site.instances()
        assert all(site.store.holds(uid) for uid in sent)
        assert all(row.leaving_since is None for row in site.rows(t.instances))
        site.is_consistent()

    def test_a_disk_that_refuses_loses_nothing_and_is_tried_again(self, site, monkeypatch):
        site.push(study(), START)
        site.route(START)
        real = type(site.store).sync
        monkeypatch.setattr(type(site.store), "sync", lambda *_: (_ for _ in ()).throw(StorageFailed("read-only")))
        with pytest.raises(StorageFailed):
            site.keep(LATER)
        assert len(site.instances()) == 2
        monkeypatch.setattr(type(site.store), "sync", real)
        site.keep(LATER)
        assert site.lacks(study())


class LateImageBehaviour:
    def whole_patient(self, site):
        """Routing that takes all images of a patient, as one set."""

        def plan(series):
            headers = sorted((i for s in series for i in s.instances), key=lambda i: i.sop_instance_uid)
            inputs = tuple(
                JobInput("ct", i.sop_instance_uid, i.series_instance_uid, FileRef(i.file.path), i.sha256, {})
                for i in headers
            )
            digest = ",".join(i.sop_instance_uid for i in headers)
            job = NewJob("hip", "hipct", "li", {}, (), inputs, "one set", digest)
            told = {"taken": True, "rule": "hip", "role": "ct", "reasons": ["fits"]}
            return [job], [{"series_instance_uid": s.series_instance_uid, **told} for s in series]

        site.room.plan = plan

    def versions(self, site):
        with site.database.read() as tx:
            return [job.version for job in reversed(site.ledger.find(tx))]

    def finish(self, site, now):
        with site.database.begin() as tx:
            lease = site.ledger.lease(tx, "w", 60, now)
            site.ledger.derived(tx, lease, (), (), {}, now)

    def test_a_late_image_alone_does_not_replace_the_whole(self, site):
        self.whole_patient(site)
        one = study(slices=5)
        site.push(one, START, range(4))
        site.route(START)
        self.finish(site, START + DAY_S)
        site.keep(LATER)
        assert site.instances() == set()
        site.push(one, LATER, [4])
        site.route(LATER)
        assert self.versions(site) == [1]
        with site.database.read() as tx:
            (told,) = site.room.index.explanations(tx)
        assert told["taken"] is False
        assert "4 of the 4 images that version 1 was made from have left" in told["reasons"][0]
        site.push(one, LATER + DAY_S)
        site.route(LATER + DAY_S)
        assert self.versions(site) == [1, 2], "sent again, whole, it is corrected with the late image"

    def test_the_same_study_again_is_known(self, site):
        self.whole_patient(site)
        site.push(study(), START)
        site.route(START)
        self.finish(site, START + DAY_S)
        site.keep(LATER)
        site.push(study(), LATER)
        site.route(LATER)
        assert self.versions(site) == [1]
        assert site.holds(study())

    def test_a_set_that_a_rule_makes_smaller_is_made_anew(self, site):
        self.whole_patient(site)
        site.push(study(slices=4), START)
        site.route(START)
        self.finish(site, START + DAY_S)
        everything = site.room.plan
        site.room.plan = lambda series: everything([replace(s, instances=s.instances[1:]) for s in series])
        site.push(study(7), START + 2 * DAY_S)
        site.route(START + 2 * DAY_S)
        assert self.versions(site) == [1, 2]
