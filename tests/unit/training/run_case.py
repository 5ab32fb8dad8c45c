"""Runs of the small task, in one process."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from training.anatomy import Split, split_by_patient
from training.diary import FileDiary, read_metrics
from training.making import make_network, make_task
from training.processes import Processes, reproducible
from training.recipe import Recipe
from training.run import Ended, Run, run_folder
from training.sources import procedural_patients
from training.task import Task

ALONE = Processes(0, 1, torch.device("cpu"))


def prepared(recipe: Recipe) -> tuple[Task, Split]:
    """The recipe's task, begun, and its patients."""
    task = make_task(recipe)
    made = procedural_patients(task, recipe.data.procedural_patients, recipe.seed, lambda *_: None)
    split = split_by_patient(made, validation_share=0.2, test_share=0.2, seed=recipe.seed)
    task.begin(split.training, ALONE.device, recipe.seed)
    return task, split


def begin(recipe: Recipe, out: Path) -> Run:
    """A run as `train` makes it, not yet started."""
    task, split = prepared(recipe)
    torch.manual_seed(recipe.seed)
    return Run(recipe, task, make_network(recipe), split, ALONE, run_folder(out))


def train(recipe: Recipe, out: Path, *, stop_after_s: float | None = None, resume: bool = False) -> Ended:
    """Train in a folder, as far as a time limit allows."""
    out.mkdir(parents=True, exist_ok=True)
    with reproducible(ALONE.device):
        run = begin(recipe, out)
        if resume and (last := run_folder(out).latest()) is not None:
            run.resume(last)
        diary = FileDiary(out, run.done, lambda text, step: None)
        try:
            deadline = None if stop_after_s is None else time.monotonic() + stop_after_s
            return run.train(diary, deadline=deadline)
        finally:
            diary.close()


def losses(out: Path) -> list[float]:
    """Loss of each step, in order."""
    lines = [line for line in read_metrics(out) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]
