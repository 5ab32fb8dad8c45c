"""Retention's promises on a real PostgreSQL, and two that only a server with many writers can break."""

import sys
import threading
from pathlib import Path

from sqlalchemy import text
from test_postgresql_ledger import database, opened, server

from dicom_node.archive import tables as t
from dicom_node.database.totals import fold_totals, read_totals

sys.path.append(str(Path(__file__).parents[1] / "unit" / "keeping"))
import retention_behaviours
from keeping_site import DAY_S, START, study

site = retention_behaviours.site
__all__ = ["database", "opened", "server"]


class TestAge(retention_behaviours.AgeBehaviour):
    pass


class TestHolds(retention_behaviours.HoldBehaviour):
    pass


class TestCrashes(retention_behaviours.CrashBehaviour):
    pass


def test_an_image_that_is_being_filed_while_its_study_is_marked_is_kept(site):
    """Filing holds its lock: marking waits, and then sees that an image came."""
    one = study()
    site.push(one, START)
    site.route(START)
    now = START + 11 * DAY_S
    kept = threading.Thread(target=site.keep, args=(now,))
    real_file = site.room.index.file

    def file_slowly(tx, arrivals, at):
        done = real_file(tx, arrivals, at)
        kept.start()
        kept.join(0.3)
        assert kept.is_alive(), "marking waits for the filing"
        return done

    site.room.index.file = file_slowly
    site.push(one, now, [0])
    kept.join()
    assert site.holds(one)
    site.is_consistent()


def test_counters_of_many_connections_are_added_up_without_waiting(database):
    rows = "INSERT INTO patients (patient_key, generation, routed_generation, last_arrival) VALUES ('{}', 0, 0, 1)"
    with database.begin() as tx:
        for writer in range(40):
            tx.execute(text(f"INSERT INTO totals (name, writer, amount) VALUES ('patients', {writer + 1}, 2)"))
    with database.begin() as held:
        held.execute(text(rows.format("held")))
        held.execute(text("UPDATE totals SET amount = 3 WHERE writer = 7"))
        with database.begin() as tx:
            assert fold_totals(tx) == 39, "all but the row that is held"
    with database.begin() as tx:
        assert read_totals(tx)["patients"] == 40 * 2 + 1 + 1
        assert fold_totals(tx) == 0, "few rows are left alone"
        tx.execute(t.patients.delete())
        assert read_totals(tx)["patients"] == 81


def test_counts_follow_every_way_in_and_out(site):
    jobs = [site.job(study(number), end=end) for number, end in enumerate(("delivered", "dead", "queued"))]
    with site.database.begin() as tx:
        counts = {key: number for key, number in site.ledger.counts(tx).items() if number}
        assert counts == {("job", "DELIVERED"): 1, ("job", "DEAD"): 1, ("job", "QUEUED"): 1, ("delivery", "DONE"): 1}
        tx.execute(text("UPDATE jobs SET state = 'CANCELLED' WHERE state <> 'DELIVERED'"))
        assert site.ledger.counts(tx)["job", "CANCELLED"] == 2
        tx.execute(text("DELETE FROM jobs WHERE id <> :kept"), {"kept": jobs[1]})
        counts = {key: number for key, number in site.ledger.counts(tx).items() if number}
        assert counts == {("job", "CANCELLED"): 1}, "a cascade counts too"
