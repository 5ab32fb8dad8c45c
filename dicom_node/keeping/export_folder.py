"""The folder of an export and its manifest: what is in it, without anything that tells whose it is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dicom_node.dicom.deidentify import METHOD_CODES
from dicom_node.dicom.files import write_file
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import RequestError
from dicom_node.worker.outbox import Outbox

MANIFEST: Final = "manifest.json"
FORMAT: Final = "dicom-node training folder"
VERSION: Final = 1
"""Of the manifest's layout; a reader refuses what it does not know."""
_SAVE_EVERY_S: Final = 30.0
"""What was exported since the manifest was last written is exported again after a crash [s]."""


class ExportFolder:
    """A folder that is being exported into, by one process at a time, as a context manager.

    Args:
        path: the folder; made when missing.
        key_check: tells the key of the export from others.
    """

    def __init__(self, path: Path, key_check: str) -> None:
        self.path = path
        self._check = key_check
        self._entries: dict[str, str] = {}
        self._changed = False
        self._saved_at = time.monotonic()
        self._lock = -1

    def __enter__(self) -> ExportFolder:
        """Lock it and read what is in it.

        Raises:
            RequestError: another export works there, or what lies there was made with another key or program.
            StorageFull, StorageFailed: the disk refuses.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise RequestError(f"cannot write to {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            os.close(self._lock)
            raise RequestError(
                f"another export is writing to {self.path}: wait for it, or choose another --out"
            ) from None
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def entry(self, folder: str) -> Mapping[str, Any] | None:
        """What the manifest says of a series' folder (relative, with `/`), None where it does not know it."""
        text = self._entries.get(folder)
        return None if text is None or not (self.path / folder).is_dir() else json.loads(text)

    def put(self, folder: str, entry: Mapping[str, object]) -> None:
        """Note a series that is there now; the manifest is written now and then, and by `save`."""
        text = json.dumps(entry, sort_keys=True)
        self._changed |= self._entries.get(folder) != text
        self._entries[folder] = text
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save()

    def drop(self, folder: str) -> None:
        """Take a series out that may not be there any more, or was not.

        Raises:
            StorageFull, StorageFailed: the disk refuses.
        """
        if self._entries.pop(folder, None) is not None:
            self._changed = True
            path = self.path / folder
            Outbox(path.parent).remove(path.name)

    def save(self) -> None:
        """Write the manifest where it changed; durable when this returns.

        Raises:
            StorageFull, StorageFailed: the disk refuses; the old one is still there.
        """
        if self._changed or not (self.path / MANIFEST).exists():
            write_file(self.path / MANIFEST, self._document())
            sync_folder(self.path)
        self._changed = False
        self._saved_at = time.monotonic()

    def _document(self) -> Iterator[bytes]:
        head = {
            "format": FORMAT,
            "version": VERSION,
            "deidentification": [{"code": code, "scheme": "DCM", "meaning": meaning} for code, meaning in METHOD_CODES],
            "key_check": self._check,
        }
        yield json.dumps(head, indent=1).removesuffix("\n}").encode() + b',\n "series": ['
        for number, folder in enumerate(sorted(self._entries)):
            yield (",\n  " if number else "\n  ").encode() + self._entries[folder].encode()
        yield b"\n ]\n}\n"

    def _read(self) -> None:
        path = self.path / MANIFEST
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, path) from error
        except ValueError:
            document = None
        if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
            raise RequestError(f"{path} is not of an export of this version: choose another --out")
        if document.get("key_check") != self._check:
            raise RequestError(f"{path} was made with another key: give that one (`--key`), or choose another --out")
        self._entries = {one["folder"]: json.dumps(one, sort_keys=True) for one in document["series"]}
