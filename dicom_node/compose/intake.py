"""The stage that files, waits for completeness, and routes."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.store import ArchiveStore
from dicom_node.compose.ledger import make_ledger
from dicom_node.compose.routing import make_planner
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.net.intake import Intake
from dicom_node.net.journals import Journals
from dicom_node.net.spool import SpoolFolders


def make_intake(config: Config, database: Database, submitted: Callable[[], None]) -> Intake:
    """Intake into this configuration's archive; `submitted` tells workers of new jobs."""
    data_dir = config.node.data_dir.resolve()
    index, store, spool = ArchiveIndex(data_dir), ArchiveStore(data_dir / "archive"), data_dir / "spool"
    return Intake(
        database=database,
        index=index,
        ledger=make_ledger(config),
        store=store,
        journals=Journals(database=database, index=index, store=store, folders=SpoolFolders(spool)),
        spool=spool,
        quarantine=data_dir / "quarantine",
        quiet_s=config.intake.quiet_s,
        plan=make_planner(config),
        submitted=submitted,
    )
