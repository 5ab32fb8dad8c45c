"""One training run: steps, trials, checkpoints, until it is done or told to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from correctors.common.fitting import Fitter, InPrecision, NotFinite, Step
from dicom_node.errors import InputError, NodeError, RequestError
from training.anatomy import Split
from training.checkpoint import Checkpoint, CheckpointFolder
from training.diary import Diary
from training.memory import OutOfMemory, is_out_of_memory, largest_batch
from training.package import code_commit
from training.processes import Processes
from training.recipe import Recipe
from training.sources import Examples, fixed_cases
from training.task import Task, Tried


class TrainingDiverged(NodeError):
    """The loss is not finite any more."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        step: steps taken in all.
        score: the best score of the regular trials.
        why: `done`, `time` or `interrupted`.
        seconds: wall-clock time of this part of the run.
        trial_seconds: time of one trial; 0 where there was no limit to keep.
    """

    step: int
    score: float
    why: str
    seconds: float
    trial_seconds: float = 0.0


class Run:
    """A recipe being trained in a folder."""

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        network: nn.Module,
        split: Split,
        processes: Processes,
        checkpoints: CheckpointFolder,
        started_from: str = "",
    ) -> None:
        """Put together what trains.

        Args:
            recipe: how.
            task: what; `begin` was called.
            network: with its initial weights, on the processes' device.
            split: on whom.
            processes: together with whom.
            checkpoints: where checkpoints go.
            started_from: SHA-256 of the weights that the network has, where they are not random.

        Raises:
            RequestError: the batch cannot be divided evenly.
        """
        fit = recipe.fit
        parts = processes.count * fit.accumulate
        if fit.batch % parts:
            raise RequestError(
                f"the recipe {recipe.name}: a batch of {fit.batch} cannot be divided by {processes.count} processes "
                f"with accumulate {fit.accumulate}"
            )
        self._recipe, self._task, self._processes, self._checkpoints = recipe, task, processes, checkpoints
        self._part = fit.batch // parts
        self._examples = Examples(split.training, recipe.data, recipe.seed)
        self._judged = split.validation or split.training
        self._split_digest = split.digest
        self._fitter = Fitter(network, fit.plan(), task.loss, through=processes.wrap(network))
        self._best, self._best_step = -float("inf"), -1
        self._commits: tuple[str, ...] = ()
        self._started_from = started_from
        self._saved = -1

    @property
    def done(self) -> int:
        """Steps taken."""
        return self._fitter.done

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: it is of another recipe, architecture or data.
        """
        state = checkpoint.state
        ours = self._state()
        for key, what in (
            ("network", "network"),
            ("recipe", "recipe"),
            ("data", "training data"),
        ):
            if state.get(key) != ours[key]:
                raise InputError(
                    f"the checkpoint of step {checkpoint.step} is of another {what}: continue with what it was begun "
                    "with, or begin anew in another folder"
                )
        try:
            self._fitter.restore(checkpoint.tensors, state["numbers"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"the checkpoint of step {checkpoint.step} does not fit the network") from error
        self._best, self._best_step = float(state["best"]), int(state["best_step"])
        self._commits = tuple(state.get("commits", ()))
        self._started_from = str(state.get("started_from", ""))
        self._saved = checkpoint.step
        if self._processes.first:
            self._checkpoints.point_to_best(self._best_step)

    def train(self, diary: Diary, *, deadline: float | None) -> Ended:
        """Take steps until the recipe's are done, the time is up, or a signal comes.

        Args:
            diary: told about steps and trials.
            deadline: `time.monotonic()` at which to stop; None for no limit.

        Raises:
            TrainingDiverged: the loss is not finite.
            OutOfMemory: a batch does not fit; says which would.
            StorageFull, StorageFailed: a checkpoint cannot be written; the last one is whole.
        """
        started = time.monotonic()
        longest = trial_s = 0.0
        why = "done"
        if deadline is not None and self._processes.first:
            self._trial()  # whoever must be in time has to know what the last trial will take
            trial_s = time.monotonic() - started
        if self.done < self._recipe.fit.steps and (commit := code_commit()) not in self._commits[-1:]:
            self._commits = (*self._commits, commit)
        with stop_signals() as stop:
            while self.done < self._recipe.fit.steps:
                begun = time.monotonic()
                self._step(diary)
                longest = max(longest, time.monotonic() - begun)
                if self.done % self._recipe.validation.every == 0 or self.done == self._recipe.fit.steps:
                    self._try(diary)
                late = deadline is not None and time.monotonic() + longest + trial_s > deadline
                # One process decides about time: clocks differ, and all must take the same steps.
                if self._processes.agree(float(late)):
                    why = "time"
                    break
                if self._processes.any(stop.is_set()):
                    why = "interrupted"
                    break
            if self._saved != self.done:
                self._stop(diary)
        return Ended(self.done, self._best, why, time.monotonic() - started, trial_s)

    def _step(self, diary: Diary) -> None:
        recipe, number = self._recipe, self.done
        begun = time.monotonic()
        # Networks that draw numbers of their own (dropout) draw the same ones after a continuation.
        torch.manual_seed((recipe.seed * 1_000_003 + number) * 1_000 + self._processes.rank)
        first = number * recipe.fit.batch + self._processes.rank * self._part * recipe.fit.accumulate
        try:
            batches = [
                self._task.batch(self._examples.draws(first + k * self._part, self._part))
                for k in range(recipe.fit.accumulate)
            ]
            step = self._fitter.step(batches)
        except NotFinite as error:
            raise TrainingDiverged(
                f"{recipe.name}: {error}; going on would repeat it: begin anew in another folder with a lower "
                "fit.learning_rate, or with fit.clip"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            step = None
        if step is None:  # outside of the handler: the error's traceback would keep the failed batch in memory
            raise OutOfMemory(self._advice())
        seconds = time.monotonic() - begun
        diary.step(self.done, self._told(step, seconds))

    def _told(self, step: Step, seconds: float) -> Mapping[str, float]:
        return {
            "loss": self._processes.mean(step.loss),
            "gradient_norm": step.gradient_norm,
            "learning_rate": step.learning_rate,
            "seconds": seconds,
            "examples_per_second": self._recipe.fit.batch / max(seconds, 1e-9),
        }

    def _try(self, diary: Diary) -> None:
        """A trial at its regular step, with a checkpoint."""
        if self._processes.first:
            score = self._score(diary)
            if score > self._best:
                self._best, self._best_step = score, self.done
            self._save(score == self._best)
        self._saved = self.done

    def _stop(self, diary: Diary) -> None:
        """A trial and a checkpoint between regular steps; a continuation forgets the score, as if it had gone on."""
        if self._processes.first:
            better = self._score(diary) > self._best
            self._save(better)
        self._saved = self.done

    def _score(self, diary: Diary) -> float:
        tried = self._trial()
        diary.tried(self.done, tried)
        return tried.score

    def _trial(self) -> Tried:
        cases = fixed_cases(self._judged, self._recipe.validation.cases, self._recipe.seed)
        with self._fitter.averaged() as network, torch.no_grad():
            return self._task.trial(InPrecision(network, self._fitter.precision), cases)

    def _save(self, best: bool) -> None:
        tensors, numbers = self._fitter.state()
        known = {"numbers": numbers, "best": self._best, "best_step": self._best_step, "commits": list(self._commits)}
        known["started_from"] = self._started_from
        self._checkpoints.save(Checkpoint(self.done, tensors, self._state() | known), best=best, keep=self._best_step)

    def _state(self) -> dict[str, Any]:
        network = self._recipe.network
        shapes = {n: list(t.shape) for n, t in self._fitter.network.state_dict().items()}
        return {
            "network": {"name": network.name, "arguments": dict(network.arguments), "shapes": shapes},
            "recipe": self._recipe.fitting_digest,
            "data": self._split_digest,
        }

    def _advice(self) -> str:
        fit = self._recipe.fit
        if self._processes.count > 1:
            return (
                f"{self._recipe.name}: {self._part} examples at once do not fit into memory: begin anew with a larger "
                "fit.accumulate; one process alone says which"
            )
        fits = largest_batch(
            self._part, lambda size: self._fitter.step([self._task.batch(self._examples.draws(0, size))])
        )
        if fits == 0:
            return f"{self._recipe.name}: not even a batch of one fits into memory: choose a smaller network or grid"
        parts = next(n for n in range(2, self._part + 1) if self._part % n == 0 and self._part // n <= fits)
        return (
            f"{self._recipe.name}: {self._part} examples at once do not fit into memory; the largest batch that fits "
            f"is {fits}: begin anew with fit.accumulate {parts * fit.accumulate}, or with fit.batch "
            f"{fits * fit.accumulate}"
        )


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second SIGINT ends at once. Only in the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends what is not a step as Ctrl-C does; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_folder(out: Path) -> CheckpointFolder:
    """Where a run keeps its checkpoints."""
    return CheckpointFolder(out / "checkpoints")
