"""What a node of version 0.1 left in its spool: no journals yet, a row for each file in `ready/`."""

from __future__ import annotations

from pathlib import Path

from dicom_node import logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.database.engine import Database
from dicom_node.durable import storage_error

log = logs.get("net.old_spool")


def leave_old_spool(folder: Path, database: Database, index: ArchiveIndex, now: float) -> int:
    """Close the associations of the old receivers, remove what has no row, and the folders once they are empty.

    Files with a row are filed like any other. No receiver of that version can still be running: it had no way to share
    a data folder with this one.

    Args:
        folder: `data_dir/spool`.
        database: where the rows are.
        index: rows of associations and received files.
        now: UTC [s].

    Returns:
        How many files were removed.

    Raises:
        NodeError: database or disk refused; it may be repeated.
    """
    incoming, ready = folder / "incoming", folder / "ready"
    try:
        if not incoming.exists() and not ready.exists():
            return 0
        present = [path for one in (incoming, ready) if one.exists() for path in one.iterdir()]
        with database.begin() as tx:
            for token in {path.stem.partition("-")[0] for path in present}:
                index.close_associations_of(tx, token, now)
            waiting = {one.path for one in index.unfiled(tx)}
        removed = [path for path in present if path not in waiting]
        for path in removed:
            path.unlink(missing_ok=True)
        for one in (incoming, ready):
            if one.exists() and not any(one.iterdir()):
                one.rmdir()
    except OSError as problem:
        raise storage_error(problem, folder) from problem
    if removed:
        log.info("old_spool_swept", removed=len(removed))
    return len(removed)
