"""What `ArchiveIndex` promises on any engine. Test modules subclass this with a `database` fixture of their engine."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from dicom_node.archive import tables
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import (
    Arrival,
    AssociationClosed,
    AssociationOpened,
    Filing,
    Quarantined,
    Received,
    Settled,
)
from dicom_node.contracts.headers import FileRef, InstanceHeader
from dicom_node.errors import LedgerError

DATA = Path("/data")
HEADER = InstanceHeader(
    sop_instance_uid="1.2.1",
    sop_class_uid="4.2",
    series_instance_uid="1.2",
    study_instance_uid="1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    patient_key="patient",
    tags={
        "Modality": "CT",
        "ImagePositionPatient": (1.0, -2.5, 3.25),
        "Rows": 512,
        "KVP": 120.0,
        "Odd": "山田\x00\ud800",
    },
    file=FileRef(DATA / "archive/aa/one.dcm"),
    sha256="a" * 64,
)


class Steps:
    """One transaction a call. Every entry comes from a journal of its own."""

    def __init__(self, database):
        self.database = database
        self.index = ArchiveIndex(DATA)
        self.numbers = itertools.count()

    def __getattr__(self, name):
        def call(*args, **kwargs):
            with self.database.begin() as tx:
                return getattr(self.index, name)(tx, *args, **kwargs)

        return call

    def entered(self, receiver="r0", **entries):
        self.absorb(f"{receiver}-{next(self.numbers)}.log", 0, 100, receiver=receiver, **entries)

    def open(self, receiver="r0", now=0.0):
        one = AssociationOpened(f"{receiver} {next(self.numbers)}", "CT", "NODE", "::1", now)
        self.entered(receiver, opened=[one])
        return one.id

    def close_association(self, association, how, now):
        self.entered(closed=[AssociationClosed(association, how, now)])

    def receive(self, association, now):
        """Its row number."""
        path = DATA / f"spool/files/{next(self.numbers)}.dcm"
        self.entered(received=[Received(0, path, association, now)])
        return self.received(path).id

    def received(self, path):
        return next(one for one in self.unfiled() if one.path == path)

    def file_one(self, number, header, now):
        waiting = {one.id: one for one in self.unfiled()}
        return self.file([Arrival(waiting.get(number, Received(number, DATA, "", 0.0)), header)], now)[0]

    def arrive(self, association, now, header=HEADER):
        return self.file_one(self.receive(association, now), header, now)


@pytest.fixture
def index(database):
    return Steps(database)


def other(number, **changes):
    return replace(HEADER, sop_instance_uid=f"1.2.{number}", sha256=f"{number:064}", **changes)


class IndexBehaviour:
    def test_received_files_wait_in_order_until_filed(self, index):
        association = index.open()
        paths = [DATA / f"spool/files/{n}.dcm" for n in range(3)]
        index.entered(received=[Received(0, path, association, float(n)) for n, path in enumerate(paths)])
        waiting = index.unfiled()
        assert [r.path for r in waiting] == paths
        assert index.unfiled(2) == waiting[:2]
        assert waiting[0] == Received(waiting[0].id, paths[0], association, 0.0)
        index.file([Arrival(waiting[0], HEADER)], 1.0)
        assert index.unfiled() == waiting[1:]
        with pytest.raises(LedgerError, match="not waiting to be filed"):
            index.file([Arrival(waiting[0], HEADER)], 1.0)

    def test_a_stretch_of_a_journal_counts_once_and_only_behind_the_one_before(self, index):
        one = Received(0, DATA / "spool/files/1.dcm", "a", 1.0)
        index.absorb("r-0.log", 0, 70, receiver="r", received=[one])
        for start, end in ((0, 70), (0, 90), (60, 90), (71, 90)):
            with pytest.raises(LedgerError, match="another intake"):
                index.absorb("r-0.log", start, end, receiver="r", received=[one])
        with pytest.raises(LedgerError, match="another intake"):
            index.absorb("r-1.log", 5, 90, receiver="r", received=[one])
        index.absorb("r-0.log", 70, 90, receiver="r", received=[one])
        assert len(index.unfiled()) == 2
        assert index.absorbed() == {"r-0.log": 90}
        index.forget_journals(["r-0.log", "never there"])
        assert index.absorbed() == {}

    def test_a_batch_is_filed_as_one_by_one(self, index):
        association, elsewhere = index.open(), index.open()
        headers = [HEADER, other(2), HEADER, replace(HEADER, sha256="b" * 64), other(3, patient_key="someone else")]
        paths = [DATA / f"spool/files/{n}.dcm" for n in range(5)]
        index.entered(received=[Received(0, path, association, 10.0 + n) for n, path in enumerate(paths)])
        waiting = index.unfiled()
        waiting[4] = replace(waiting[4], association_id=elsewhere)
        filings = index.file([Arrival(*pair) for pair in zip(waiting, headers, strict=True)], 50.0)
        assert filings == [Filing.NEW, Filing.NEW, Filing.DUPLICATE, Filing.CONFLICT, Filing.NEW]
        assert index.unfiled() == [waiting[3]], "a conflict waits for the quarantine"
        index.close_association(association, "released", 15.0)
        assert index.settled_patients(30, 41.9) == []
        assert index.settled_patients(30, 100.0) == [], "the conflict arrived in the quiet period"
        index.quarantine([Quarantined(waiting[3], DATA / "quarantine/x", "conflict")], 50.0)
        assert index.settled_patients(30, 42.0) == [Settled("patient", 2)]
        assert [len(s.instances) for s in index.series_of_patient("patient")] == [2]
        assert index.counts() | {"instances": 3, "series": 2, "patients": 2} == index.counts()

    def test_a_study_remembers_its_last_image_even_one_that_was_known(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        index.arrive(association, 8.0, other(2))
        index.arrive(association, 9.0, other(3, study_instance_uid="2"))
        index.arrive(association, 30.0)
        with index.database.read() as tx:
            row = tables.studies.c
            found = tx.execute(select(row.study_instance_uid, row.last_arrival).order_by(row.study_instance_uid)).all()
        assert found == [("1", 30.0), ("2", 9.0)]

    def test_a_duplicate_stays_though_it_was_about_to_leave(self, index):
        association = index.open()
        index.arrive(association, 1.0)
        with index.database.begin() as tx:
            tx.execute(update(tables.instances).values(leaving_since=5.0))
        assert index.arrive(association, 6.0) is Filing.DUPLICATE
        with index.database.read() as tx:
            assert tx.execute(select(tables.instances.c.leaving_since)).scalar_one() is None

    def test_a_clock_set_back_does_not_make_patients_wait_for_it(self, index):
        association = index.open()
        index.arrive(association, 5000.0)
        index.close_association(association, "released", 5000.0)
        assert index.next_settling(30, 1000.0) == 5030.0
        assert index.calm_clock(1000.0) == 1
        assert index.next_settling(30, 1000.0) == 1030.0
        assert index.settled_patients(30, 1030.0) == [Settled("patient", 1)]
        assert index.calm_clock(1030.0) == 0

    def test_a_header_comes_back_as_it_went_in(self, index):
        index.arrive(index.open(), 1.0)
        (series,) = index.series_of_patient("patient")
        assert series.instances == (HEADER,)
        assert series.modality == "CT"
        with index.database.read() as tx:
            (moved,) = ArchiveIndex(Path("/moved")).series_of_patient(tx, "patient")
        assert moved.instances[0].file.path == Path("/moved/archive/aa/one.dcm")

    def test_the_same_instance_again_is_told_from_one_that_changed(self, index):
        association = index.open()
        assert index.arrive(association, 1.0) is Filing.NEW
        assert index.arrive(association, 2.0) is Filing.DUPLICATE
        assert index.arrive(association, 3.0, replace(HEADER, sha256="b" * 64)) is Filing.CONFLICT
        (series,) = index.series_of_patient("patient")
        assert [i.sha256 for i in series.instances] == ["a" * 64]
        assert [r.received_at for r in index.unfiled()] == [3.0]

    def test_series_are_grouped_in_order_of_arrival_and_own_output_keeps_its_flag(self, index):
        association = index.open()
        index.arrive(association, 1.0, other(1, series_instance_uid="9"))
        index.arrive(association, 2.0, other(2))
        index.arrive(association, 3.0, other(3, series_instance_uid="9", own_output=True))
        index.arrive(association, 4.0, other(4, patient_key="someone else"))
        series = index.series_of_patient("patient")
        assert [(s.series_instance_uid, len(s.instances)) for s in series] == [("9", 2), ("1.2", 1)]
        assert [i.own_output for i in series[0].instances] == [False, True]

    def test_a_patient_settles_after_the_quiet_period_and_the_end_of_the_association(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        assert index.settled_patients(30, 100.0) == []
        index.close_association(association, "released", 15.0)
        assert index.settled_patients(30, 39.9) == []
        assert index.settled_patients(30, 40.0) == [Settled("patient", 1)]

    def test_only_associations_that_sent_the_patient_count(self, index):
        association, busy = index.open(), index.open()
        index.arrive(association, 10.0)
        index.arrive(busy, 10.0, other(2, patient_key="someone else"))
        index.close_association(association, "aborted", 11.0)
        assert index.settled_patients(30, 50.0) == [Settled("patient", 1)]

    def test_a_resend_under_way_holds_the_patient_back_even_with_duplicates(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        index.close_association(association, "aborted", 11.0)
        again = index.open()
        assert index.arrive(again, 30.0) is Filing.DUPLICATE
        assert index.settled_patients(30, 70.0) == []
        index.close_association(again, "released", 70.0)
        assert index.settled_patients(30, 59.0) == []
        assert index.settled_patients(30, 70.0) == [Settled("patient", 1)]

    def test_an_unfiled_file_of_the_quiet_period_holds_back_and_a_later_one_does_not(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        index.close_association(association, "released", 11.0)
        waiting = index.receive(association, 39.0)
        assert index.settled_patients(30, 100.0) == []
        index.file_one(waiting, other(2, patient_key="someone else"), 100.0)
        index.receive(association, 41.0)
        assert index.settled_patients(30, 100.0) == [Settled("patient", 1)]

    def test_a_routed_patient_rests_until_something_new_comes(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        index.close_association(association, "released", 11.0)
        index.mark_routed("patient", 1, [], 50.0)
        index.arrive(association, 60.0)
        assert index.settled_patients(30, 1000.0) == [], "a duplicate is nothing new"
        index.arrive(association, 2000.0, other(2))
        assert index.settled_patients(30, 2029.0) == []
        assert index.settled_patients(30, 2030.0) == [Settled("patient", 2)]

    def test_what_came_during_routing_is_routed_again(self, index):
        association = index.open()
        index.arrive(association, 10.0)
        index.arrive(association, 11.0, other(2))
        index.close_association(association, "released", 11.0)
        index.mark_routed("patient", 1, [], 50.0)
        assert index.settled_patients(30, 50.0) == [Settled("patient", 2)]
        index.mark_routed("patient", 2, [], 50.0)
        index.mark_routed("patient", 1, [], 51.0)
        assert index.settled_patients(30, 50.0) == []

    def test_a_dead_receivers_associations_are_lost(self, index):
        index.open("r0")
        held, done = index.open("r1"), index.open("r1")
        index.close_association(done, "released", 1.0)
        index.arrive(held, 1.0)
        assert index.close_associations_of("r1", 2.0) == 1
        assert index.counts()["open_associations"] == 1
        assert index.settled_patients(0, 2.0) == [Settled("patient", 1)]

    def test_unreadable_files_leave_the_queue_with_their_reason(self, index):
        association = index.open()
        index.receive(association, 1.0)
        (waiting,) = index.unfiled()
        bad = Quarantined(waiting, DATA / "quarantine/x", "truncated at byte 12")
        index.quarantine([bad], 2.0)
        assert index.unfiled() == []
        assert index.counts()["quarantined"] == 1
        with pytest.raises(LedgerError):
            index.quarantine([bad], 3.0)
        index.quarantine([replace(bad, received=replace(waiting, id=0))], 3.0)
        assert index.counts()["quarantined"] == 2, "one that never had a row"

    def test_the_latest_explanation_of_each_series_is_kept(self, index):
        index.arrive(index.open(), 1.0)
        first = {"series_instance_uid": "1.2", "taken": False, "rule": None, "reasons": ("no kernel",)}
        index.mark_routed("patient", 1, [first, {**first, "series_instance_uid": "9"}], 2.0)
        index.mark_routed("patient", 2, [{**first, "taken": True}], 3.0)
        index.mark_routed("someone else", 1, [{**first, "series_instance_uid": "7"}], 3.0)
        assert [e["series_instance_uid"] for e in index.explanations()] == ["1.2", "7"]
        assert index.explanations("1.2") == [{**first, "taken": True, "reasons": ["no kernel"]}]
        assert index.explanations("nonsense") == []

    def test_counts(self, index):
        association = index.open()
        for n in range(3):
            index.arrive(association, float(n), other(n))
        index.arrive(association, 3.0, other(2))
        index.arrive(association, 3.0, other(3, series_instance_uid="9", patient_key="someone else"))
        index.receive(association, 4.0)
        assert index.counts() == {
            "instances": 4,
            "series": 2,
            "patients": 2,
            "unfiled": 1,
            "quarantined": 0,
            "open_associations": 1,
        }
