"""Hyper-parameter search on a recipe: Bayesian trials with Optuna (paper 03 ran 35), resumable and seeded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dicom_node.errors import NodeError, RequestError
from training.anatomy import Split
from training.diary import FileDiary
from training.files import write_atomically
from training.making import make_network, make_task
from training.processes import Processes, reproducible
from training.recipe import Recipe, SearchedValue, changed
from training.run import Run, run_folder
from training.task import Task

BEST = "best.yaml"
_JOURNAL = "trials.log"


def search(recipe: Recipe, task: Task, split: Split, processes: Processes, out: Path, trials: int) -> Mapping[str, Any]:
    """Try variants of a recipe on its training patients; the validation patients judge.

    Args:
        recipe: with a `search` section.
        task: of the recipe; variants of `task.arguments` make their own.
        split: on whom; the test patients are not looked at.
        processes: one process only.
        out: gets `trials.log` (the trials so far: a search goes on where it ended), a folder for each trial and
            `best.yaml`.
        trials: trials in all, those of earlier calls included.

    Returns:
        `score`, `values` and `trials` of the best.

    Raises:
        RequestError: no `search` section, Optuna is not installed, or several processes.
        NodeError: every trial failed.
    """
    if recipe.search is None:
        raise RequestError(f"the recipe {recipe.name} has no `search` section: it says what to vary")
    if processes.count > 1:
        raise RequestError("a search runs in one process: call it without torchrun")
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("a search needs Optuna: install dicom-correction-node[train]")
    if trials < 1:
        raise RequestError(f"--search needs at least one trial, got {trials}")
    import optuna  # an optional extra
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=f"{recipe.name}-{recipe.digest[:12]}",
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(out / _JOURNAL))),
        sampler=None,
        direction="maximize",
        load_if_exists=True,
    )
    section = recipe.search
    done = len([t for t in study.trials if t.state.is_finished()])
    for number in range(done, trials):
        # A sampler seeded for each trial proposes the same after a continuation as without one.
        study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + number, n_startup_trials=min(10, trials // 3 + 1))
        trial = study.ask()
        values = {key: _suggested(trial, key, value) for key, value in section.values.items()}
        variant = changed(recipe, {"fit.steps": section.steps, **values})
        try:
            score = _score(variant, task, split, processes, out / f"trial-{number:03d}", recipe)
        except NodeError as error:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if number == trials - 1 and not any(t.state.name == "COMPLETE" for t in study.trials):
                raise NodeError(f"every trial failed; the last: {error}") from error
            continue
        study.tell(trial, score)
    best = study.best_trial
    write_atomically(out / BEST, changed(recipe, best.params).as_yaml().encode())
    return {"score": float(best.value or 0.0), "values": dict(best.params), "trials": len(study.trials)}


def _score(variant: Recipe, task: Task, split: Split, processes: Processes, folder: Path, original: Recipe) -> float:
    own = task if variant.task == original.task else make_task(variant)
    own.begin(split.training, processes.device, variant.seed)
    with reproducible(processes.device):
        torch.manual_seed(variant.seed)
        network = make_network(variant).to(processes.device)
        run = Run(variant, own, network, split, processes, run_folder(folder))
        folder.mkdir(parents=True, exist_ok=True)
        diary = FileDiary(folder, 0, lambda text, step: None)
        try:
            return run.train(diary, deadline=None).score
        finally:
            diary.close()


def _suggested(trial: Any, key: str, value: SearchedValue) -> Any:
    if value.choices:
        return trial.suggest_categorical(key, list(value.choices))
    if value.whole:
        return trial.suggest_int(key, int(value.low or 0), int(value.high or 0), log=value.log)
    return trial.suggest_float(key, value.low, value.high, log=value.log)
