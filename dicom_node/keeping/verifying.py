"""Compares the content of every archived file with the digest that it had when it was received."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from dicom_node.archive import tables as t
from dicom_node.database.engine import Database
from dicom_node.database.values import StoredPaths
from dicom_node.durable import storage_error
from dicom_node.keeping.archive_names import Advance
from dicom_node.keeping.rejects import Rejects
from dicom_node.keeping.removal import take_out

_PAGE: Final = 200


def verify_files(
    database: Database, paths: StoredPaths, rejects: Rejects, last: int, now: float, advance: Advance
) -> tuple[int, int]:
    """Compare, and set altered files aside: they leave the index, and their patients are routed anew.

    Args:
        database: the index.
        paths: how its paths are written.
        rejects: the quarantine.
        last: row number up to which to look; what came later was read just now.
        now: UTC [s].
        advance: told how far it is.

    Returns:
        How many were compared, and how many were altered.

    Raises:
        NodeError: disk or database refused; a file that the disk does not give is named.
    """
    row = t.instances.c
    with database.read() as tx:
        total = int(tx.execute(select(func.count()).where(row.id <= last)).scalar_one())
    done = altered = after = 0
    while True:
        page = select(row.id, row.path, row.sha256).where(row.id > after, row.id <= last).order_by(row.id).limit(_PAGE)
        with database.read() as tx:
            found = tx.execute(page).all()
        if not found:
            return done, altered
        for one in found:
            path = paths.load(one.path)
            if _digest(path) != one.sha256:
                rejects.add(path, "altered: its content is not what was received, by its SHA-256; send it again", now)
                altered += take_out(database, [one.id])
            done += 1
            advance("verifying files", done, total)
        after = found[-1].id


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise storage_error(problem, path) from problem
