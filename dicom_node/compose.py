"""The one place that wires objects together. Each object gets its own section of the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.store import ArchiveStore
from dicom_node.config import Config
from dicom_node.config.rules import Rule
from dicom_node.database.engine import Database
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.net.delivery import Delivery
from dicom_node.net.intake import Intake
from dicom_node.planning import Planner
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.loader import build
from dicom_node.routing.defaults import default_rules
from dicom_node.worker.outbox import Outbox
from dicom_node.worker.process import Worker


def node_name(config: Config) -> str:
    """Name of this node among all that share a database; the same after a restart."""
    return f"{config.node.ae_title}@{config.node.host}:{config.node.port}"


def rules_of(config: Config) -> tuple[Rule, ...]:
    """The site's rules, then the default ones unless they are switched off."""
    return config.routes + (default_rules() if config.defaults else ())


def open_database(config: Config) -> Database:
    """Open the ledger, made or migrated where needed."""
    return Database.open(config.database_url)


def make_planner(config: Config, catalogue: Catalogue | None = None) -> Planner:
    """Routing for this configuration and what is installed."""
    specs = (catalogue or discover()).specs
    return Planner(rules_of(config), specs, config.default_send_to)


def make_ledger(config: Config) -> JobLedger:
    """The job ledger with the configured retry policy."""
    jobs = config.jobs
    policy = RetryPolicy(
        max_attempts=jobs.max_attempts, backoff_s=jobs.backoff_s, max_backoff_s=jobs.max_backoff_s
    )
    for_delivery = replace(policy, max_attempts=jobs.delivery_attempts)
    return JobLedger(policy, for_delivery, config.node.data_dir.resolve())


def make_outbox(config: Config) -> Outbox:
    """Where derived instances wait for delivery."""
    return Outbox(config.node.data_dir.resolve() / "outbox")


def make_intake(config: Config, database: Database) -> Intake:
    """The stage that files, waits for completeness, and routes."""
    data_dir: Path = config.node.data_dir.resolve()
    return Intake(
        database=database,
        index=ArchiveIndex(data_dir),
        ledger=make_ledger(config),
        store=ArchiveStore(data_dir / "archive"),
        quarantine=data_dir / "quarantine",
        quiet_s=config.intake.quiet_s,
        plan=make_planner(config),
    )


def make_worker(config: Config, database: Database, owner: str) -> Worker:
    """A worker for the configured device."""
    return Worker(
        owner=owner,
        device=config.node.device,
        lease_s=config.jobs.lease_s,
        database=database,
        ledger=make_ledger(config),
        outbox=make_outbox(config),
        catalogue=discover(),
        build=build,
    )


def make_delivery(config: Config, database: Database, owner: str) -> Delivery:
    """The stage that sends derived instances and verifies them."""
    return Delivery(
        our_ae=config.node.ae_title,
        peers=config.peers,
        lease_s=config.jobs.lease_s,
        database=database,
        ledger=make_ledger(config),
        outbox=config.node.data_dir.resolve() / "outbox",
        owner=owner,
    )
