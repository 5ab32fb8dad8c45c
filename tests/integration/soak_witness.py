"""Somebody looks at archive and outbox all the time while the node is killed: nothing half-written is visible."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from soak_study import data_set_of

_LOOK_S = 0.05


@dataclass
class Witness:
    """Looks at each file once, as soon as it is there.

    Attributes:
        data_dir: the node's.
        sent: data sets by SOP Instance UID of all that is sent.
        seen: what was wrong.
    """

    data_dir: Path
    sent: Mapping[str, bytes]
    seen: list[str] = field(default_factory=list)
    _known: set[tuple[int, int]] = field(default_factory=set)

    def look(self) -> None:
        """Look once."""
        content = set(self.sent.values())
        for path in (self.data_dir / "archive").rglob("*.dcm"):
            with contextlib.suppress(FileNotFoundError):  # retention was quicker
                if not path.name.startswith(".") and self._is_new(path) and data_set_of(path) not in content:
                    self.seen.append(f"{path.name} in the archive is not what was sent")
        outbox = self.data_dir / "outbox"
        for folder in outbox.iterdir() if outbox.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # delivery was quicker
                if not folder.name.startswith(".") and self._is_new(folder):
                    self._look_into(folder)

    def _look_into(self, folder: Path) -> None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            missing = [
                name for series in manifest["series"] for name in series["instances"] if not (folder / name).is_file()
            ]
        except (FileNotFoundError, ValueError) as problem:
            missing = [type(problem).__name__]
        if missing and folder.exists():
            self.seen.append(f"{folder.name} in the outbox lacks {missing}")

    def _is_new(self, path: Path) -> bool:
        state = path.stat()
        before = len(self._known)
        self._known.add((state.st_ino, state.st_ctime_ns if path.is_dir() else 0))
        return len(self._known) > before


@contextlib.contextmanager
def watched(witness: Witness) -> Iterator[None]:
    """The witness looks as long as the block runs.

    Raises:
        AssertionError: something half-written was visible.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            witness.look()

    thread = threading.Thread(target=look, name="witness", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not witness.seen, f"half-written: {witness.seen}"
