"""Derived instances at rest until they are delivered: a folder appears whole, by one rename."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from dicom_node import faults
from dicom_node.durable import storage_error, sync_folder

MANIFEST = "manifest.json"


class Outbox:
    """`data_dir/outbox`: one folder for each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, job_id: str) -> Path:
        """Where the finished files of a job lie."""
        return self._folder / job_id

    def open(self, job_id: str, token: int) -> Path:
        """An empty working folder for one attempt, invisible to delivery.

        Raises:
            StorageFailed, StorageFull: the disk refuses.
        """
        working = self._folder / f".{job_id}.{token}"
        try:
            self._discard(job_id)
            working.mkdir(parents=True)
        except OSError as error:
            raise storage_error(error, working) from error
        return working

    def seal(self, working: Path, manifest: dict[str, object]) -> None:
        """Complete a working folder: its manifest, and all names in it, durable. Its files are so already.

        Raises:
            StorageFailed, StorageFull: the disk refuses.
        """
        try:
            with (working / MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            for directory in [d for d in working.rglob("*") if d.is_dir()] + [working]:
                sync_folder(directory)
        except OSError as error:
            raise storage_error(error, working) from error
        faults.reach("outbox.synced")

    def publish(self, job_id: str, working: Path) -> Path:
        """Make a sealed folder visible under the job's name. A folder of an earlier attempt is replaced.

        Whoever calls it keeps every other attempt at the job from doing the same.

        Raises:
            StorageFailed, StorageFull: the disk refuses.
        """
        target, aside = self.folder(job_id), self._folder / f".{job_id}.replaced"
        try:
            if target.exists():
                target.rename(aside)
                faults.reach("outbox.cleared")
            working.rename(target)
            faults.reach("outbox.renamed")
            sync_folder(self._folder)
            if aside.exists():
                shutil.rmtree(aside)
            faults.reach("outbox.published")
        except OSError as error:
            raise storage_error(error, working) from error
        return target

    def discard(self, working: Path) -> None:
        """Remove the working folder of an attempt that failed."""
        shutil.rmtree(working, ignore_errors=True)

    def sweep(self) -> int:
        """Remove working folders that a killed worker left; call before the workers start."""
        left = [p for p in self._folder.glob(".*") if p.is_dir()] if self._folder.is_dir() else []
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def jobs(self) -> list[str]:
        """Ids of the jobs whose outputs lie here, by name.

        Raises:
            StorageFailed: the disk refuses.
        """
        try:
            return sorted(p.name for p in self._folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(error, self._folder) from error

    def remove(self, job_id: str) -> None:
        """Delete the outputs of a job, if there are any; half of them is never visible.

        Raises:
            StorageFailed, StorageFull: the disk refuses.
        """
        target, aside = self.folder(job_id), self._folder / f".{job_id}.removed"
        try:
            if target.exists():
                target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise storage_error(error, target) from error

    def _discard(self, job_id: str) -> None:
        for path in self._folder.glob(f".{job_id}.*"):
            shutil.rmtree(path)
