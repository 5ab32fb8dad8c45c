"""Hyper-parameter search on a recipe: Bayesian trials with Optuna (paper 03 ran 35), resumable and seeded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dicom_node.errors import NodeError, RequestError
from training.diary import FileDiary, bars
from training.files import write_atomically
from training.making import make_network, make_task
from training.memory import OutOfMemory
from training.preparing import Prepared
from training.processes import Processes, reproducible
from training.recipe import Recipe, SearchedValue, changed
from training.run import Ended, Run, TrainingDiverged, run_folder

BEST = "best.yaml"
_JOURNAL = "trials.log"


def search(
    recipe: Recipe,
    prepared: Prepared,
    processes: Processes,
    out: Path,
    trials: int,
    *,
    deadline: float | None,
    quiet: bool,
) -> Mapping[str, Any]:
    """Try variants of a recipe on its training patients; the validation patients judge.

    Args:
        recipe: with a `search` section.
        prepared: task of the recipe and its patients; the test patients are not looked at. Variants of
            `task.arguments` make tasks of their own.
        processes: one process only.
        out: gets `trials.log` (the trials so far: a search goes on where it ended), a folder for each trial and
            `best.yaml`.
        trials: trials in all, those of earlier calls included.
        deadline: `time.monotonic()` at which no further trial begins, and the one in hand ends; None for no limit.
        quiet: no bars.

    Returns:
        `score`, `values` and `trials` of the best.

    Raises:
        RequestError: no `search` section, Optuna is not installed, or a variant is wrong.
        NodeError: every trial failed, or the disk refuses.
        KeyboardInterrupt: interrupted; the trials that ended are kept.
    """
    if recipe.search is None:
        raise RequestError(f"the recipe {recipe.name} has no `search` section: it says what to vary")
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
    state = optuna.trial.TrialState
    # A trial that was stopped is marked as pruned, and made again.
    done = len([t for t in study.trials if t.state in (state.COMPLETE, state.FAIL)])
    failure = ""
    for number in range(done, trials):
        # A sampler seeded for each trial proposes the same after a continuation as without one.
        study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + number, n_startup_trials=min(10, trials // 3 + 1))
        trial = study.ask()
        values = {key: _chosen(one, _suggested(trial, key, one)) for key, one in section.values.items()}
        variant = changed(recipe, {"fit.steps": section.steps, **values})
        folder = out / f"trial-{number:03d}"
        try:
            with bars(f"trial {number + 1} of {trials}", section.steps, quiet=quiet) as shown:
                ended = _train(variant, prepared, processes, folder, recipe, deadline=deadline, shown=shown)
        except (TrainingDiverged, OutOfMemory) as error:
            failure = str(error)
            study.tell(trial, state=state.FAIL)
            continue
        except BaseException:
            study.tell(trial, state=state.PRUNED)
            raise
        if ended.why != "done":
            study.tell(trial, state=state.PRUNED)
            if ended.why == "interrupted":
                raise KeyboardInterrupt
            break
        study.tell(trial, ended.score)
    if not any(t.state is state.COMPLETE for t in study.trials):
        raise NodeError(f"no trial came to its end{failure and ': ' + failure}")
    best = study.best_trial
    values = {key: _chosen(section.values[key], value) for key, value in best.params.items()}
    write_atomically(out / BEST, changed(recipe, values).as_yaml().encode())
    return {"score": float(best.value or 0.0), "values": values, "trials": len(study.trials)}


def _train(
    variant: Recipe,
    prepared: Prepared,
    processes: Processes,
    folder: Path,
    original: Recipe,
    *,
    deadline: float | None,
    shown: Callable[[str, int], None],
) -> Ended:
    task, split = prepared.task, prepared.split
    own = task if variant.task == original.task else make_task(variant)
    if own.preparation != task.preparation:
        raise RequestError(f"the recipe {original.name}: `search` must not vary how patients are prepared")
    own.begin(split.training, processes.device, variant.seed)
    with reproducible(processes.device):
        torch.manual_seed(variant.seed)
        network = make_network(variant).to(processes.device)
        run = Run(variant, own, network, split, processes, run_folder(folder))
        folder.mkdir(parents=True, exist_ok=True)
        diary = FileDiary(folder, 0, shown)
        try:
            return run.train(diary, deadline=deadline)
        finally:
            diary.close()


def _suggested(trial: Any, key: str, value: SearchedValue) -> Any:
    if value.choices:
        # Optuna keeps plain values only, and what stands in the recipe may be a list: it gets the place of the choice.
        return trial.suggest_categorical(key, list(range(len(value.choices))))
    if value.whole:
        return trial.suggest_int(key, int(value.low or 0), int(value.high or 0), log=value.log)
    return trial.suggest_float(key, value.low, value.high, log=value.log)


def _chosen(value: SearchedValue, suggested: Any) -> Any:
    return value.choices[suggested] if value.choices else suggested
