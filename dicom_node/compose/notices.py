"""What needs a person, and the webhook that tells it."""

from __future__ import annotations

import math

from dicom_node.compose.routing import rules_of
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.notices.book import NoticeBook
from dicom_node.notices.lookout import Lookout
from dicom_node.notices.routes import note, unusable
from dicom_node.notices.webhook import Webhook
from dicom_node.plugins.catalogue import discover


def make_book(config: Config) -> NoticeBook:
    """Notices of this node."""
    return NoticeBook(config.node.ae_title, told=config.notify.webhook is not None)


def make_lookout(config: Config, database: Database) -> Lookout:
    """Looks at this configuration's ledger and disk."""
    return Lookout(
        database=database,
        book=make_book(config),
        data_dir=config.node.data_dir.resolve(),
        min_free_mb=config.node.min_free_mb,
        unreachable_after_s=config.notify.unreachable_after_s,
    )


def make_webhook(config: Config, database: Database) -> Webhook | None:
    """The configured webhook, None without one."""
    if config.notify.webhook is None:
        return None
    return Webhook(config.notify.webhook, config.notify.timeout_s, database, make_book(config))


def note_unusable_routes(config: Config, database: Database, now: float) -> float:
    """Raise a notice for each rule that cannot work with what is installed.

    Args:
        config: the whole configuration.
        database: the ledger.
        now: UTC [s].

    Returns:
        When to look again [s]: never, since what is installed does not change under a running node.

    Raises:
        LedgerError: the database cannot be reached.
    """
    shipped = rules_of(config)[len(config.routes) :]
    found = unusable(config.routes, shipped, discover())
    with database.begin() as tx:
        note(tx, make_book(config), found, now)
    return math.inf
