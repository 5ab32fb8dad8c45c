"""Files that cannot be used: into the quarantine, with a row that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import delete, select

from dicom_node import faults, logs
from dicom_node.archive import tables as t
from dicom_node.contracts import FileRef
from dicom_node.database.engine import Database
from dicom_node.database.values import StoredPaths, short
from dicom_node.dicom.headers import read_header
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import InputError

log = logs.get("keeping.rejects")

_PAGE: Final = 500


def forget_missing(database: Database, folder: Path, paths: StoredPaths) -> int:
    """Forget rows of the quarantine whose file was there and is gone: somebody has dealt with it. Returns how many.

    Rows of files that never came this far, of which intake says that they are gone, stay: somebody must know.

    Args:
        database: the rows.
        folder: the quarantine.
        paths: how its paths are written.

    Raises:
        LedgerError: the database refused.
    """
    row, after, lost = t.quarantine.c, 0, 0
    while True:
        page = select(row.id, row.path).where(row.id > after).order_by(row.id).limit(_PAGE)
        with database.read() as tx:
            found = tx.execute(page).all()
        if not found:
            return lost
        located = {one.id: paths.load(one.path) for one in found}
        gone = [number for number, path in located.items() if path.parent == folder and not path.exists()]
        if gone:
            with database.begin() as tx:
                lost += tx.execute(delete(t.quarantine).where(row.id.in_(gone))).rowcount
        after = found[-1].id


class Rejects:
    """The quarantine folder of a node that is stopped."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self._database = database
        self._folder = data_dir / "quarantine"
        self._paths = StoredPaths(data_dir)

    def add(self, path: Path, reason: str, now: float) -> Path:
        """Move a file here, for good before its row is written; returns where it lies.

        Raises:
            NodeError: disk or database refused.
        """
        target = self._folder / path.name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while target.exists():
                target = target.with_name(f"{target.name}.again")
            path.rename(target)
            for folder in (self._folder, path.parent):
                sync_folder(folder)
        except OSError as problem:
            raise storage_error(problem, target) from problem
        faults.reach("repair.rejected")
        self._note(target, reason, now)
        return target

    def mend(self, now: float) -> tuple[int, int]:
        """Give every file here a row, and forget rows whose file is gone from here.

        Args:
            now: UTC [s].

        Returns:
            How many files got a row, and how many rows went.

        Raises:
            NodeError: disk or database refused; it may be repeated.
        """
        lost = forget_missing(self._database, self._folder, self._paths)
        with self._database.read() as tx:
            known = {Path(path).name for path in tx.execute(select(t.quarantine.c.path)).scalars()}
        entered = 0
        for path in self._files():
            if path.name not in known:
                self._note(path, self._why(path), now)
                entered += 1
        return entered, lost

    def _files(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise storage_error(problem, self._folder) from problem

    def _why(self, path: Path) -> str:
        """The reason that the ledger had, as far as the file still shows it."""
        try:
            header = read_header(FileRef(path))
        except InputError as problem:
            return str(problem)
        row = t.instances.c
        with self._database.read() as tx:
            same = select(row.sha256).where(row.sop_instance_uid == header.sop_instance_uid)
            archived = tx.execute(same).scalar_one_or_none()
        if archived is None:
            return "can be read, but was set aside before the ledger was lost: send it again to have it filed"
        if archived == header.sha256:
            return f"a second copy of SOP Instance UID {header.sop_instance_uid}, which is archived"
        return f"SOP Instance UID {header.sop_instance_uid} is already archived with other content"

    def _note(self, path: Path, reason: str, now: float) -> None:
        with self._database.begin() as tx:
            tx.execute(
                t.quarantine.insert().values(
                    path=self._paths.store(path),
                    reason=short(reason),
                    association_id="",
                    received_at=min(path.stat().st_mtime, now),
                    quarantined_at=now,
                )
            )
        log.error("file_set_aside", file=path.name, reason=reason)
