"""Real processes on one SQLite file: every job is leased exactly once."""

import multiprocessing
from dataclasses import replace

from ledger_behaviours import NEW, OUTPUTS, RETRY

from dicom_node.database import Database
from dicom_node.jobs import JobLedger

JOBS = 30


def _work(url, owner, start, results):
    database, ledger, done = Database.open(url), JobLedger(RETRY), []
    start.wait()
    while True:
        with database.begin() as tx:
            lease = ledger.lease(tx, owner, 60, 10.0)
        if lease is None:
            break
        with database.begin() as tx:
            ledger.heartbeat(tx, lease, 60, 10.0)
        with database.begin() as tx:
            ledger.derived(tx, lease, OUTPUTS, (), {}, 11.0)
        done.append((lease.job.id, lease.token))
    database.close()
    results.put(done)


def test_workers_share_the_jobs_without_doing_one_twice(tmp_path):
    url = f"sqlite:///{tmp_path}/node.sqlite"
    database, ledger = Database.open(url), JobLedger(RETRY)
    with database.begin() as tx:
        jobs = [ledger.submit(tx, replace(NEW, set_key=f"set-{n}"), float(n) / JOBS) for n in range(JOBS)]
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Event(), spawn.Queue()
    workers = [spawn.Process(target=_work, args=(url, f"w{n}", start, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    done = [item for _ in workers for item in results.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert sorted(done) == sorted((job.id, 1) for job in jobs)
    with database.read() as tx:
        counts = ledger.counts(tx)
    assert counts["job", "DERIVED"] == JOBS
    assert counts["delivery", "PENDING"] == JOBS * len(NEW.send_to)
    database.close()
