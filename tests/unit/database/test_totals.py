"""Counts, studies and series of jobs after a migration, and counts that triggers keep from then on."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from dicom_node.archive import tables as archive
from dicom_node.database import Database, migrate, sqlite
from dicom_node.database.totals import fold_totals, read_totals
from dicom_node.jobs import tables as jobs

PATIENT = {"patient_key": "p", "generation": 1, "routed_generation": 0, "last_arrival": 1.0}
JOB = {
    "version": 1, "route": "r", "corrector": "c", "method": "m", "input_digest": "d", "recipe": "", "attempts": 0,
    "setbacks": 0, "lost": 0, "created_at": 1.0, "updated_at": 1.0, "not_before": 1.0, "token": 0,
}  # fmt: skip
DOCUMENT = {"parameters": "{}", "send_to": "[]", "outputs": "[]", "warnings": "[]", "metrics": "{}"}


def instance(uid, study="1", received_at=1.0):
    return {
        "sop_instance_uid": uid, "sop_class_uid": "4", "series_instance_uid": "1.2", "study_instance_uid": study,
        "transfer_syntax_uid": "5", "patient_key": "p", "tags": "{}", "path": uid, "sha256": "a", "own_output": False,
        "association_id": "x", "received_at": received_at,
    }  # fmt: skip


@pytest.fixture
def before(tmp_path):
    """A database of the schema before, with rows."""
    url = f"sqlite:///{tmp_path}/node.sqlite"
    engine = create_engine(url)
    sqlite.prepare(engine)
    config = Config()
    config.set_main_option("script_location", str(migrate.script_folder()))
    config.set_main_option("path_separator", "os")
    with engine.begin() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "0002")
        tx.execute(archive.patients.insert(), [PATIENT])
        tx.execute(archive.instances.insert(), [instance("1"), instance("2", received_at=7.0), instance("3", "other")])
        aside = {"path": "x", "reason": "r", "association_id": "a", "received_at": 1.0, "quarantined_at": 1.0}
        tx.execute(archive.quarantine.insert(), [aside, aside])
        for number in range(450):
            job = {"id": f"{number:03}", "state": "DEAD" if number % 3 else "DELIVERED", "set_key": f"s{number}", **JOB}
            tx.execute(jobs.jobs.insert(), [job])
            inputs = '[["ct","1","1.2","a",null,"",{}],["ct","2","1.3","a",null,"",{}],["ct","2","1.3","b",null,"",{}]]'
            tx.execute(jobs.job_documents.insert(), [{"job_id": job["id"], "inputs": inputs, **DOCUMENT}])
    engine.dispose()
    return url


def test_an_older_ledger_gets_what_retention_and_counts_need(before):
    database = Database.open(before)
    with database.read() as tx:
        assert dict(read_totals(tx)).items() >= {
            "instances": 3, "quarantined": 2, "patients": 1, "series": 0,
            "job:DEAD": 300, "job:DELIVERED": 150, "job:QUEUED": 0,
        }.items()  # fmt: skip
        row = archive.studies.c
        found = tx.execute(archive.studies.select().order_by(row.study_instance_uid)).all()
        assert [(s.patient_key, s.study_instance_uid, s.last_arrival) for s in found] == [
            ("p", "1", 7.0),
            ("p", "other", 1.0),
        ]
        links = tx.execute(jobs.job_series.select().where(jobs.job_series.c.job_id == "449")).all()
        assert {link.series_instance_uid for link in links} == {"1.2", "1.3"}
        assert tx.execute(text("SELECT count(*) FROM job_series")).scalar() == 900
    database.close()


def test_a_number_of_the_quarantine_is_used_once(before):
    database = Database.open(before)
    with database.begin() as tx:
        tx.execute(text("DELETE FROM quarantine"))
        tx.execute(
            text(
                "INSERT INTO quarantine (path, reason, association_id, received_at, quarantined_at) "
                "VALUES ('y', 'r', 'a', 1, 1)"
            )
        )
        assert tx.execute(text("SELECT id FROM quarantine")).scalar() == 3
    database.close()


def test_counts_follow_every_way_in_and_out(before):
    database = Database.open(before)
    with database.begin() as tx:
        tx.execute(text("INSERT INTO instances SELECT * FROM instances WHERE true ON CONFLICT DO NOTHING"))
        tx.execute(text("DELETE FROM instances WHERE sop_instance_uid = '1'"))
        tx.execute(text("UPDATE jobs SET state = 'QUEUED', attempts = 1 WHERE id < '100'"))
        tx.execute(text("UPDATE jobs SET state = state, attempts = 2"))
        delivery = {"derived_token": 1, "peer": "p", "state": "DONE", "job_id": "449"} | {
            name: JOB[name] for name in ("attempts", "setbacks", "lost", "updated_at", "not_before", "token")
        }
        tx.execute(jobs.deliveries.insert(), [delivery, delivery | {"peer": "q"}])
        assert read_totals(tx)["delivery:DONE"] == 2
        tx.execute(text("DELETE FROM jobs WHERE id >= '440'"))
        found = read_totals(tx)
        for name, count in found.items():
            table, _, state = name.partition(":")
            table = {"job": "jobs", "delivery": "deliveries", "quarantined": "quarantine"}.get(table, table)
            where = f" WHERE state = '{state}'" if state else ""
            assert count == tx.execute(text(f"SELECT count(*) FROM {table}{where}")).scalar(), name
        assert found["delivery:DONE"] == 0, "a cascade counts too"
        assert fold_totals(tx) == 0
    with pytest.raises(ZeroDivisionError), database.begin() as tx:
        tx.execute(text("DELETE FROM instances"))
        _ = 1 / 0
    with database.read() as tx:
        assert read_totals(tx)["instances"] == 2, "what is rolled back was never counted"
    database.close()
