"""`dicom-node train`: what it does."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dicom_node.contracts import Advance, CommandContext, CommandOutput, LeftOut
from dicom_node.errors import InputError, RequestError, StorageFull
from training.anatomy import Anatomy, Split, split_by_patient
from training.card_evaluation import evaluate_package
from training.checkpoint import CheckpointFolder
from training.data_sheet import data_folders
from training.diary import FileDiary, SilentDiary, bars, read_metrics
from training.files import write_atomically
from training.making import make_network, make_task
from training.pack import is_pack, read_pack, write_pack
from training.package import TENSORS, Trained, code_commit, write_package
from training.processes import Processes, joined, reproducible
from training.recipe import Recipe, changed, read_recipe
from training.run import Ended, Run, run_folder
from training.search import search
from training.sources import fixed_cases, gather, procedural_patients
from training.subject import subject_of
from training.task import Task

RECIPE = "recipe.yaml"
PACKAGE = "package"
_CHECKPOINTS_AT_ONCE = 4
_RESERVED_SHARE, _RESERVED_MOST_S = 0.25, 120.0
"""Part of `--max-minutes` that is kept for the evaluation and the package."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A task with its patients, and what was left out."""

    task: Task
    split: Split
    left_out: tuple[LeftOut, ...]


def run(context: CommandContext, arguments: argparse.Namespace, output: CommandOutput) -> None:
    """Train, pack or search.

    Raises:
        RequestError: arguments, recipe or folders that do not fit together.
        InputError: no usable data, or a checkpoint that is damaged or of something else.
        NodeError: the training diverged, or memory or disk do not suffice; the last checkpoint is whole.
        KeyboardInterrupt: the run was interrupted, after its checkpoint was written.
    """
    started = time.monotonic()
    if arguments.max_minutes is not None and arguments.max_minutes <= 0:
        raise RequestError(f"--max-minutes must be more than 0, got {arguments.max_minutes:g}")
    recipe = _recipe(arguments)
    out: Path = arguments.out or Path("out") / recipe.name
    with joined(arguments.device) as processes:
        if arguments.pack is not None:
            _pack(context, recipe, arguments, output)
            return
        resumed = arguments.trial is None and _check_folder(out, arguments.resume, processes)
        with output.progress() as advance:
            prepared = _prepare(context, recipe, arguments.data, advance)
        if processes.first:
            _tell_data(output, prepared)
        if arguments.trial is not None:
            _trial_of_package(recipe, prepared, processes, arguments.trial, output)
            return
        if arguments.search is not None:
            best = search(recipe, prepared.task, prepared.split, processes, out, arguments.search)
            _tell_search(output, best, out)
            return
        deadline = _deadline(started, arguments)
        prepared.task.begin(prepared.split.training, processes.device, recipe.seed)
        ended = _train(recipe, prepared, processes, out, deadline, resumed=resumed, output=output)
        if processes.first:
            _finish(context, recipe, prepared, out, ended, arguments, processes, output, started)
        if ended.why == "interrupted":
            raise KeyboardInterrupt


def _recipe(arguments: argparse.Namespace) -> Recipe:
    subject = subject_of(arguments.corrector)
    path: Path | None = arguments.recipe
    if path is None and arguments.resume and arguments.out is not None and (arguments.out / RECIPE).is_file():
        path = arguments.out / RECIPE
    recipe = read_recipe(path or subject.default_recipe)
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


def _prepare(context: CommandContext, recipe: Recipe, data: Sequence[Path], advance: Advance) -> Prepared:
    task = make_task(recipe)
    packs = [path for path in data if is_pack(path)]
    folders = data_folders([path for path in data if path not in packs])
    gathered = gather(context, folders, task, advance)
    real: dict[str, Anatomy] = {a.digest: a for path in packs for a in read_pack(path, task.preparation)}
    real |= {a.digest: a for a in gathered.anatomies}
    made: tuple[Anatomy, ...] = ()
    if recipe.data.procedural_weight > 0 or not real:
        made = procedural_patients(task, recipe.data.procedural_patients, recipe.seed, advance)
    split = split_by_patient(
        [*real.values(), *made],
        validation_share=recipe.data.validation_share,
        test_share=recipe.data.test_share,
        seed=recipe.seed,
    )
    if not split.training:
        raise InputError("no patient is left for training: name more data, or lower the shares kept out")
    return Prepared(task, split, gathered.left_out)


def _pack(context: CommandContext, recipe: Recipe, arguments: argparse.Namespace, output: CommandOutput) -> None:
    if not arguments.data:
        raise RequestError("--pack needs --data: there is nothing to pack")
    task = make_task(recipe)
    with output.progress() as advance:
        gathered = gather(context, data_folders(arguments.data), task, advance)
    kept = write_pack(arguments.pack, gathered.anatomies, task.preparation)
    frames, size = sum(a.frames for a in kept), arguments.pack.stat().st_size
    _tell_left_out(output, gathered.left_out)
    output.line(f"Packed {len(kept)} series, {frames} frames, {size / 2**20:.1f} MiB: {arguments.pack}")
    output.document({"pack": str(arguments.pack), "series": len(kept), "frames": frames, "bytes": size,
                     "left_out": [vars(one) for one in gathered.left_out]})  # fmt: skip


def _deadline(started: float, arguments: argparse.Namespace) -> float | None:
    if arguments.max_minutes is None:
        return None
    budget = 60 * arguments.max_minutes
    share = 0.05 if arguments.no_evaluation else _RESERVED_SHARE
    return float(started + budget - min(share * budget, _RESERVED_MOST_S))


def _train(
    recipe: Recipe,
    prepared: Prepared,
    processes: Processes,
    out: Path,
    deadline: float | None,
    *,
    resumed: bool,
    output: CommandOutput,
) -> Ended:
    checkpoints = run_folder(out)
    with reproducible(processes.device):
        torch.manual_seed(recipe.seed)
        network = make_network(recipe).to(processes.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = Run(recipe, prepared.task, network, prepared.split, processes, checkpoints)
        last = checkpoints.latest() if resumed else None
        if last is not None:
            run.resume(last)
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


def _finish(
    context: CommandContext,
    recipe: Recipe,
    prepared: Prepared,
    out: Path,
    ended: Ended,
    arguments: argparse.Namespace,
    processes: Processes,
    output: CommandOutput,
    started: float,
) -> None:
    package = out / PACKAGE
    trained = _trained(recipe, prepared, run_folder(out), out, processes)
    sha256 = write_package(package, trained, None)
    if not arguments.no_evaluation and ended.why != "interrupted":
        left = None if arguments.max_minutes is None else started + 60 * arguments.max_minutes - time.monotonic()
        evaluation = evaluate_package(
            context, recipe, prepared.split, package, arguments.data, out / "evaluation", seconds=left
        )
        if isinstance(evaluation, str):
            output.line(f"The model card has no evaluation: {evaluation}")
        else:
            write_package(package, trained, evaluation)
            output.line(evaluation.report)
    how = {"done": "Done", "time": "Time is up", "interrupted": "Interrupted"}[ended.why]
    output.line(f"{how}: {ended.step} of {recipe.fit.steps} steps; weights of step {trained.step}")
    for name, value in trained.figures.items():
        output.line(f"  {name}: {value:.3f}")
    output.line(f"Weights package: {package}")
    if ended.step < recipe.fit.steps:
        output.line(f"Go on with: dicom-node train {recipe.corrector} --out {out} --resume (and the same --data)")
    output.document(
        {
            "package": str(package),
            "sha256": sha256,
            "ended": ended.why,
            "steps": ended.step,
            "best_step": trained.step,
            "validation": dict(trained.figures),
            "left_out": [vars(one) for one in prepared.left_out],
        }
    )


def _trained(
    recipe: Recipe, prepared: Prepared, checkpoints: CheckpointFolder, out: Path, processes: Processes
) -> Trained:
    best = checkpoints.best() or checkpoints.latest()
    if best is None:
        raise InputError(f"{out} holds no checkpoint")
    prefix = "average." if recipe.fit.ema else "network."
    tensors = {n.removeprefix(prefix): t for n, t in best.tensors.items() if n.startswith(prefix)}
    lines = read_metrics(out)
    return Trained(
        recipe=recipe,
        tensors=tensors,
        conventions=prepared.task.conventions(),
        split=prepared.split,
        step=best.step,
        steps_done=max((int(line["step"]) for line in lines), default=0),
        minutes=sum(line.get("seconds", 0.0) for line in lines) / 60,
        device=f"{processes.count} x {processes.device.type}" if processes.count > 1 else processes.device.type,
        figures=_figures(lines, best.step),
        test_figures=_test_figures(recipe, prepared, tensors, processes),
        commit=code_commit(),
    )


def _test_figures(
    recipe: Recipe, prepared: Prepared, tensors: Mapping[str, Tensor], processes: Processes
) -> Mapping[str, float]:
    if not prepared.split.test:
        return {}
    network = make_network(recipe)
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()})
    network = network.to(processes.device).eval()
    with torch.no_grad():
        tried = prepared.task.trial(network, fixed_cases(prepared.split.test, recipe.validation.cases, recipe.seed))
    return tried.figures


def _trial_of_package(
    recipe: Recipe, prepared: Prepared, processes: Processes, package: Path, output: CommandOutput
) -> None:
    """Figures of a package on the test patients.

    Raises:
        InputError: it cannot be read, is of another network, or there are no test patients.
    """
    if not prepared.split.test:
        raise InputError("no patient is kept for testing: name more data")
    prepared.task.begin(prepared.split.training, processes.device, recipe.seed)
    try:
        figures = _test_figures(recipe, prepared, load_file(package / TENSORS), processes)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{package}: not the weights of {recipe.network.name} ({type(error).__name__})") from error
    for name, value in figures.items():
        output.line(f"{name}: {value:.3f}")
    output.document({"package": str(package), "figures": dict(figures), "cases": recipe.validation.cases})


def _figures(lines: Sequence[Mapping[str, float]], step: int) -> dict[str, float]:
    tried = [line for line in lines if line["step"] == step and "score" in line]
    return {n: v for n, v in tried[-1].items() if n not in ("step", "score")} if tried else {}


def _tell_data(output: CommandOutput, prepared: Prepared) -> None:
    _tell_left_out(output, prepared.left_out)
    rows = [
        [part, len({a.patient for a in those if a.kind == "real"}), len({a.patient for a in those if a.kind != "real"}),
         sum(a.frames for a in those)]
        for part, those in prepared.split.parts.items()
    ]  # fmt: skip
    output.table("Patients", ["part", "real", "procedural", "frames"], rows)


def _tell_left_out(output: CommandOutput, left_out: Sequence[LeftOut]) -> None:
    if left_out:
        output.table("Left out", ["what", "reason"], [[one.what, one.reason] for one in left_out])


def _tell_search(output: CommandOutput, best: Mapping[str, Any], out: Path) -> None:
    output.line(f"Best of the variants: score {best['score']:.3f} with {best['values']}; recipe: {out / 'best.yaml'}")
    output.document(best)
