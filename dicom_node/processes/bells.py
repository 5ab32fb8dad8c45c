"""A stage that has handed something on wakes the next one, which otherwise finds it at its next look."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path

from dicom_node import logs

log = logs.get("process")


class Bell:
    """Where a process waits. It is a named pipe, so that it outlives whoever rings or listens.

    Nothing depends on a ring: where there is none, or the file system knows no pipes, only the pause is longer.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Hang it up.

        Args:
            folder: `data_dir/bells`.
            name: of the process, e.g. `worker-0`.
        """
        self._pipe: int | None = None
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # For writing too: else it would report an end whenever nobody has it open to ring.
            self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            log.warning("no_bell", process=name, reason=problem.strerror)

    def wait(self, seconds: float) -> None:
        """Return when somebody rings or has rung since the last time, at the latest after so many seconds."""
        pipes = [] if self._pipe is None else [self._pipe]
        for pipe in select.select(pipes, [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(pipe, 4096)


def ring(folder: Path, kind: str) -> None:
    """Wake the processes of a kind, e.g. `worker`."""
    for path in folder.glob(f"{kind}-*"):
        # Nobody listens, or the pipe is full of rings that nobody has heard yet.
        with contextlib.suppress(OSError):
            pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(pipe, b"\0")
            finally:
                os.close(pipe)
