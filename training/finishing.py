"""What a run leaves when it ends: a weights package with its card."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dicom_node.contracts import CommandContext, CommandOutput
from dicom_node.errors import InputError
from training.card_evaluation import evaluate_package
from training.diary import read_metrics
from training.making import make_network
from training.package import TENSORS, Trained, write_package
from training.preparing import Prepared
from training.processes import Processes
from training.recipe import Recipe
from training.run import Ended, run_folder
from training.sources import fixed_cases

PACKAGE = "package"


def finish(
    context: CommandContext,
    recipe: Recipe,
    prepared: Prepared,
    out: Path,
    ended: Ended,
    processes: Processes,
    output: CommandOutput,
    *,
    data: Sequence[Path],
    device: str,
    ends: float | None,
    no_evaluation: bool,
) -> None:
    """Write the package of the best step, evaluate it, and say how the run ended.

    Args:
        context: for the evaluation.
        recipe: of the run.
        prepared: of the run.
        out: folder of the run.
        ended: how it ended.
        processes: this is the first of them.
        output: where to say it.
        data: as given to the command.
        device: as given to the command.
        ends: `time.monotonic()` at which the command should be done, None for no limit.
        no_evaluation: leave the evaluation out.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """

    def left() -> float | None:
        return None if ends is None else ends - time.monotonic()

    package = out / PACKAGE
    in_time = ended.why != "interrupted" and (ends is None or (left() or 0.0) > 2 * ended.trial_seconds)
    trained = _trained(recipe, prepared, out, processes, in_time=in_time)
    sha256 = write_package(package, trained, None)
    if not no_evaluation and ended.why != "interrupted":
        evaluation = evaluate_package(
            context, recipe, prepared.split, package, data, out / "evaluation", device=device, seconds=left()
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


def _trained(recipe: Recipe, prepared: Prepared, out: Path, processes: Processes, *, in_time: bool) -> Trained:
    checkpoints = run_folder(out)
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
        test_figures=_test_figures(recipe, prepared, tensors, processes) if in_time else {},
        commit=", then ".join(best.state.get("commits", ())) or "unknown",
        started_from=str(best.state.get("started_from", "")),
    )


def _test_figures(
    recipe: Recipe, prepared: Prepared, tensors: Mapping[str, Tensor], processes: Processes
) -> Mapping[str, float]:
    if not prepared.split.test:
        return {}
    network = make_network(recipe)
    dtype = getattr(torch, recipe.package.dtype)  # as they lie on disk, so that the package gives the same figures
    network.load_state_dict({n: t.to(dtype).float() if t.is_floating_point() else t for n, t in tensors.items()})
    network = network.to(processes.device).eval()
    with torch.no_grad():
        tried = prepared.task.trial(network, fixed_cases(prepared.split.test, recipe.validation.cases, recipe.seed))
    return tried.figures


def trial_of_package(
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
