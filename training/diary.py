"""What a run tells: a line of JSON for each step, TensorBoard where installed, bars on a terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.files import storage_errors, write_atomically
from training.task import Picture, Tried

METRICS = "metrics.jsonl"
_ADVICE = "the last checkpoint is whole: make room and continue with --resume"


class Diary(Protocol):
    """Told about every step and trial."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """A step was taken."""
        ...

    def tried(self, step: int, trial: Tried) -> None:
        """The network was tried."""
        ...


class SilentDiary:
    """Of processes other than the first."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def tried(self, step: int, trial: Tried) -> None:
        """Nothing."""


class FileDiary:
    """Writes `metrics.jsonl`, and TensorBoard events where that is installed."""

    def __init__(self, folder: Path, done: int, shown: Callable[[str, int], None]) -> None:
        """Open the diary of a run.

        Args:
            folder: of the run.
            done: steps taken before; what was written beyond belongs to a process that died, and goes.
            shown: told a line of text and the number of steps taken.
        """
        self._shown = shown
        self._folder = folder
        path = folder / METRICS
        kept = [line for line in _lines(path) if line.get("step", 0) <= done] if done else []
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        with storage_errors(path, _ADVICE):
            self._file = path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", done)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Write a line, and the curves."""
        self._line({"step": step, **values})
        if self._board is not None:
            with storage_errors(self._folder, _ADVICE):
                for name, value in values.items():
                    self._board.add_scalar(f"step/{name}", value, step)
        self._shown(f"loss {values['loss']:.4g}, {values['examples_per_second']:.3g} examples/s", step)

    def tried(self, step: int, trial: Tried) -> None:
        """Write figures and pictures."""
        self._line({"step": step, "score": trial.score, **trial.figures})
        if self._board is not None:
            with storage_errors(self._folder, _ADVICE):
                for name, value in trial.figures.items():
                    self._board.add_scalar(f"validation/{name}", value, step)
                for number, picture in enumerate(trial.pictures):
                    tag = f"{number} {' | '.join(picture.images)}"
                    self._board.add_image(tag, strip(picture), step, dataformats="HW")
                self._board.flush()

    def close(self) -> None:
        """Close the files; everything was flushed before."""
        with contextlib.suppress(OSError):  # what the disk refused has been told where it was written
            self._file.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()

    def _line(self, values: Mapping[str, float | int]) -> None:
        with storage_errors(Path(self._file.name), _ADVICE):
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All lines of a run's `metrics.jsonl`."""
    return list(_lines(folder / METRICS))


def strip(picture: Picture) -> NDArray[np.uint8]:
    """The images of a picture side by side, on its window, as (y, x) grey values."""
    low, high = picture.window
    scaled = [(np.clip((i - low) / (high - low), 0, 1) * 255).astype(np.uint8) for i in picture.images.values()]
    joined: NDArray[np.uint8] = np.concatenate(scaled, axis=1)
    return joined


@contextmanager
def bars(title: str, steps: int, *, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """A bar with time left on a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda text, step: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr, highlight=False)) as progress:
        bar = progress.add_task(title, total=steps)
        yield lambda text, step: progress.update(bar, description=f"{title}: {text}", completed=step)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return  # the last line of a process that was killed while it wrote


def _board(folder: Path, done: int) -> Any:
    """A TensorBoard writer, None where it is not installed (extra `train`)."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # an optional extra

    return SummaryWriter(str(folder), purge_step=done + 1 if done else None)
