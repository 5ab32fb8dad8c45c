"""The ledger and what every stage shares."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.retry import RetryPolicy


def owner(config: Config, kind: str, index: int) -> str:
    """Name under which a process holds leases, unique among the nodes that share a database.

    A successor after a crash has the same, so that it may take back what was held.
    """
    return f"{config.node.ae_title}@{config.node.host}:{config.node.port}/{kind}-{index}"


def open_database(config: Config) -> Database:
    """Open the ledger, made or migrated where needed.

    Raises:
        LedgerError: it cannot be reached, or is of a newer version.
    """
    return Database.open(config.database_url)


def make_ledger(config: Config) -> JobLedger:
    """The job ledger with the configured retry policy."""
    jobs = config.jobs
    policy = RetryPolicy(max_attempts=jobs.max_attempts, backoff_s=jobs.backoff_s, max_backoff_s=jobs.max_backoff_s)
    for_delivery = replace(policy, max_attempts=jobs.delivery_attempts)
    return JobLedger(policy, for_delivery, config.node.data_dir.resolve())
