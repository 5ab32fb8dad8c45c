"""The stage that keeps order: retention, old rows, and what needs a person."""

from __future__ import annotations

from functools import partial

from dicom_node.archive.store import ArchiveStore
from dicom_node.compose.notices import make_lookout, note_unusable_routes
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.database.values import StoredPaths
from dicom_node.keeping.leaving import Leaving
from dicom_node.keeping.pruning import Pruning
from dicom_node.keeping.retention import Retention
from dicom_node.keeping.rounds import Step
from dicom_node.worker.outbox import Outbox


def make_steps(config: Config, database: Database) -> tuple[Step, ...]:
    """What the keeper repeats; each at its own pace."""
    data_dir = config.node.data_dir.resolve()
    return (
        Step("retention", make_retention(config, database).step),
        Step("pruning", Pruning(database, data_dir, config.retention.keep_ledger_days).step),
        Step("notices", make_lookout(config, database).step),
        Step("routes", partial(note_unusable_routes, config, database)),
    )


def make_retention(config: Config, database: Database) -> Retention:
    """Retention as configured."""
    data_dir = config.node.data_dir.resolve()
    unverified = {name for name, peer in config.peers.items() if not peer.verify}
    store, outbox = ArchiveStore(data_dir / "archive"), Outbox(data_dir / "outbox")
    leaving = Leaving(database, StoredPaths(data_dir), store, outbox, unverified)
    return Retention(config.retention, database, leaving, data_dir)
