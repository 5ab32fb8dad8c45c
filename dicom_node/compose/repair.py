"""Repair of a node that is stopped."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dicom_node.compose.ledger import open_database
from dicom_node.config import Config
from dicom_node.errors import RequestError
from dicom_node.keeping import lock
from dicom_node.keeping.archive_names import Advance
from dicom_node.keeping.ledger_file import set_aside_if_damaged
from dicom_node.keeping.repair import Findings, Repair


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        damaged: where the damaged ledger lies now, None when it was sound or missing.
        findings: what was put right.
    """

    damaged: Path | None
    findings: Findings


def repair_node(config: Config, now: float, advance: Advance, *, verify: bool) -> Repaired:
    """Repair the node of this configuration, under the lock of its data folder.

    Raises:
        RequestError: the node is running, or there is no such folder.
        NodeError: database or disk refused; what was done stays done, and the rest may be done again.
    """
    data_dir = config.node.data_dir.resolve()
    if not data_dir.is_dir():
        raise RequestError(f"there is no data folder {data_dir}: nothing to repair with this configuration")
    if lock.is_taken(data_dir):
        raise RequestError(f"the node is running in {data_dir}: stop it first, repair needs the ledger for itself")
    with closing(lock.take(data_dir)):
        damaged = set_aside_if_damaged(config.database_url, now)
        with closing(open_database(config)) as database:
            return Repaired(damaged, Repair(data_dir, database, advance).run(now, verify=verify))
