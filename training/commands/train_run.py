"""`dicom-node train`: what it does."""

from __future__ import annotations

import argparse
import fcntl
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from dicom_node.contracts import CommandContext, CommandOutput
from dicom_node.errors import RequestError, StorageFull
from training.diary import FileDiary, SilentDiary, bars
from training.files import storage_errors, write_atomically
from training.finishing import finish, trial_of_package
from training.making import make_network, start_from
from training.preparing import Prepared, pack, prepare, tell_data
from training.processes import Processes, joined, reproducible
from training.recipe import Recipe, changed, read_recipe
from training.run import Ended, Run, run_folder, terminated_as_interrupted
from training.search import search
from training.subject import subject_of

RECIPE = "recipe.yaml"
_CHECKPOINTS_AT_ONCE = 4
_RESERVED_SHARE, _RESERVED_MOST_S = 0.35, 150.0
"""Part of `--max-minutes` that is kept for the evaluation and the package."""


def run(context: CommandContext, arguments: argparse.Namespace, output: CommandOutput) -> None:
    """Train, pack or search.

    Raises:
        RequestError: arguments, recipe or folders that do not fit together.
        InputError: no usable data, or a checkpoint that is damaged or of something else.
        NodeError: the training diverged, or memory or disk do not suffice; the last checkpoint is whole.
        KeyboardInterrupt: the run was interrupted, after its checkpoint was written.
    """
    started = time.monotonic()
    if arguments.max_minutes is not None and not 0 < arguments.max_minutes < math.inf:
        raise RequestError(f"--max-minutes must be a number above 0, got {arguments.max_minutes:g}")
    recipe = _recipe(arguments)
    out: Path = arguments.out or Path("out") / recipe.name
    ends = None if arguments.max_minutes is None else started + 60 * arguments.max_minutes
    make_network(recipe)  # what cannot be made is told before the data are read
    with terminated_as_interrupted(), joined(arguments.device) as processes:
        if arguments.start is not None and arguments.search is not None:
            raise RequestError("--from goes with a run, not with --search")
        alone = arguments.pack is not None or arguments.trial is not None or arguments.search is not None
        if alone and processes.count > 1:
            raise RequestError("--pack, --trial and --search run in one process: call them without torchrun")
        if arguments.pack is not None:
            if not arguments.data:
                raise RequestError("--pack needs --data: there is nothing to pack")
            pack(context, recipe, arguments.data, arguments.pack, output)
            return
        if arguments.trial is not None:
            with output.progress() as advance:
                prepared = prepare(context, recipe, arguments.data, advance)
            trial_of_package(recipe, prepared, processes, arguments.trial, output)
            return
        resumed = _check_folder(out, arguments.resume, processes)
        with _held(out, processes):
            with output.progress() as advance:
                prepared = prepare(context, recipe, arguments.data, advance)
            if processes.first:
                tell_data(output, prepared)
                if arguments.resume and not resumed:
                    output.line(f"There is no run in {out} yet: this one begins it")
            if arguments.search is not None:
                quiet = output.as_json
                best = search(recipe, prepared, processes, out, arguments.search, deadline=ends, quiet=quiet)
                _tell_search(output, best, out)
                return
            prepared.task.begin(prepared.split.training, processes.device, recipe.seed)
            deadline = _deadline(started, arguments)
            start = arguments.start
            ended = _train(recipe, prepared, processes, out, deadline, start=start, resumed=resumed, output=output)
            if processes.first:
                finish(
                    context,
                    recipe,
                    prepared,
                    out,
                    ended,
                    processes,
                    output,
                    data=arguments.data,
                    device=arguments.device,
                    ends=ends,
                    no_evaluation=arguments.no_evaluation,
                )
            processes.agree(0.0)  # nobody leaves before the first has written the package
        if ended.why == "interrupted":
            raise KeyboardInterrupt


def _recipe(arguments: argparse.Namespace) -> Recipe:
    subject = subject_of(arguments.corrector)
    path: Path | None = arguments.recipe
    recipe = read_recipe(path or subject.default_recipe)
    kept = (arguments.out or Path("out") / recipe.name) / RECIPE
    if path is None and arguments.resume and kept.is_file():
        recipe = read_recipe(kept)
    if recipe.corrector != arguments.corrector:
        raise RequestError(f"the recipe {recipe.name} is for {recipe.corrector}, not for {arguments.corrector}")
    values: dict[str, Any] = {}
    for setting in arguments.settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RequestError(f"--set needs KEY=VALUE, got {setting!r}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RequestError(f"--set {key}: {text!r} is no YAML value") from error
    return changed(recipe, values) if values else recipe


def _check_folder(out: Path, resume: bool, processes: Processes) -> bool:
    """Whether a run goes on.

    Raises:
        RequestError: the folder holds a run and `--resume` was not said, or cannot be made.
    """
    begun = (out / RECIPE).exists()
    if processes.count > 1:
        begun = bool(processes.agree(float(begun)))  # the others may look after the first has made the folder
    if begun and not resume:
        raise RequestError(f"{out} holds a run: go on with --resume, or name another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {out}: {error.strerror}") from error
    return begun


@contextmanager
def _held(out: Path, processes: Processes) -> Iterator[None]:
    """Keep the folder of a run to this command.

    Raises:
        RequestError: another one trains in it.
    """
    if not processes.first:
        yield
        return
    with storage_errors(out), (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(f"{out}: another training runs in it: wait for it, or name another folder") from error
        yield


def _deadline(started: float, arguments: argparse.Namespace) -> float | None:
    if arguments.max_minutes is None:
        return None
    budget = 60 * arguments.max_minutes
    share = 0.02 if arguments.no_evaluation else _RESERVED_SHARE
    return float(started + budget - min(share * budget, _RESERVED_MOST_S))


def _train(
    recipe: Recipe,
    prepared: Prepared,
    processes: Processes,
    out: Path,
    deadline: float | None,
    *,
    start: Path | None,
    resumed: bool,
    output: CommandOutput,
) -> Ended:
    checkpoints = run_folder(out)
    with reproducible(processes.device):
        torch.manual_seed(recipe.seed)
        network = make_network(recipe).to(processes.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = checkpoints.latest() if resumed else None
        started_from = start_from(network, start, prepared.split) if start is not None and last is None else ""
        run = Run(recipe, prepared.task, network, prepared.split, processes, checkpoints, started_from)
        if last is not None:
            run.resume(last)
        if processes.any(run.done != processes.agree(float(run.done))):
            raise RequestError(f"{out}: the processes see different checkpoints: all need the same folder")
        if not processes.first:
            return run.train(SilentDiary(), deadline=deadline)
        _check_room(out, network)
        write_atomically(out / RECIPE, recipe.as_yaml().encode())
        with bars(recipe.name, recipe.fit.steps, quiet=output.as_json) as shown:
            diary = FileDiary(out, run.done, shown)
            try:
                return run.train(diary, deadline=deadline)
            finally:
                diary.close()


def _check_room(out: Path, network: nn.Module) -> None:
    """Weights, their average and Adam's two moments, in several checkpoints.

    Raises:
        StorageFull: that does not fit on the disk.
    """
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    needed = 4 * size * _CHECKPOINTS_AT_ONCE
    free = shutil.disk_usage(out).free
    if free < needed:
        raise StorageFull(f"{out}: {free >> 20} MiB are free, checkpoints need {needed >> 20} MiB: make room")


def _tell_search(output: CommandOutput, best: Mapping[str, Any], out: Path) -> None:
    output.line(f"Best of the variants: score {best['score']:.3f} with {best['values']}; recipe: {out / 'best.yaml'}")
    output.document(best)
