"""Weights packages: what a run leaves for the node (design, section 3), with the model card that the run wrote."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch import Tensor

from training.anatomy import Split
from training.files import storage_errors, write_atomically
from training.recipe import Recipe
from training.sources import fixed_cases
from training.task import Draw

TENSORS = "model.safetensors"
DESCRIPTION = "model.yaml"
CARD = "MODEL_CARD.md"
SUMS = "SHA256SUMS"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run found out.

    Attributes:
        recipe: how it was trained.
        tensors: the network's averaged weights of the best step.
        conventions: what the corrector must know; `inputs` of the package.
        split: on whom.
        step: the best step.
        steps_done: steps taken in all; fewer than the recipe's where the time was up.
        minutes: time of all steps, without preparation and trials.
        device: kind of device, and how many.
        figures: of the best trial on the validation patients.
        test_figures: the same on the test patients; empty where there are none.
        commit: of the code that took the steps; several where a run went on with another.
        started_from: SHA-256 of the tensors of the package that the run began from; empty where it began at random.
    """

    recipe: Recipe
    tensors: Mapping[str, Tensor]
    conventions: Mapping[str, Any]
    split: Split
    step: int
    steps_done: int
    minutes: float
    device: str
    figures: Mapping[str, float]
    test_figures: Mapping[str, float]
    commit: str
    started_from: str = ""


@dataclass(frozen=True)
class CardEvaluation:
    """The evaluation in a model card.

    Attributes:
        command: prints it again.
        report: Markdown, as `evaluate` wrote it.
        metrics: mean of each figure by method.
    """

    command: str
    report: str
    metrics: Mapping[str, Mapping[str, float]]


def write_package(folder: Path, trained: Trained, evaluation: CardEvaluation | None) -> str:
    """Write a package; the same arguments give the same bytes.

    Args:
        folder: made when missing; files of an older package are replaced.
        trained: what to ship.
        evaluation: on the test patients; None before there is one.

    Returns:
        SHA-256 of `model.safetensors`.

    Raises:
        StorageFull, StorageFailed: the disk refuses.
    """
    dtype = getattr(torch, trained.recipe.package.dtype)
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in sorted(trained.tensors.items())
    }
    files = {
        TENSORS: save(tensors),
        DESCRIPTION: _description(trained, evaluation).encode(),
        CARD: _card(trained, evaluation).encode(),
    }
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomically(folder / name, data)
        write_atomically(folder / SUMS, "".join(f"{d}  {n}\n" for n, d in sorted(sums.items())).encode())
    return sums[TENSORS]


def code_commit() -> str:
    """Commit of the checked-out code, marked where files were changed; the installed version outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty"],  # noqa: S607  git is found as everywhere
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"release {version('dicom-correction-node')}"
    return found.stdout.strip()


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """Trained values, without running means and counters of normalisation layers."""
    fixed = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for n, t in tensors.items() if not n.endswith(fixed))


def _description(trained: Trained, evaluation: CardEvaluation | None) -> str:
    recipe = trained.recipe
    document = {
        "architecture": {
            "name": recipe.network.name,
            "arguments": dict(recipe.network.arguments),
            "parameters": parameter_count(trained.tensors),
        },
        "inputs": dict(trained.conventions),
        "outputs": {"role": "corrected", "meaning": f"as method {recipe.method} of {recipe.corrector}"},
        "training_data": {
            "sha256": trained.split.digest,
            **{
                part: {
                    "real_patients": len({a.patient for a in those if a.kind == "real"}),
                    "procedural_patients": len({a.patient for a in those if a.kind == "procedural"}),
                    "frames": sum(a.frames for a in those),
                    "series": sorted(a.series for a in those if a.kind == "real"),
                }
                for part, those in trained.split.parts.items()
            },
        },
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "recipe_sha256": recipe.digest,
        **({"started_from": trained.started_from} if trained.started_from else {}),
        "commit": trained.commit,
        "metrics": {
            "validation": {n: round(v, 4) for n, v in trained.figures.items()},
            "test_trial": {n: round(v, 4) for n, v in trained.test_figures.items()},
            "best_step": trained.step,
            "steps_done": trained.steps_done,
            "minutes": round(trained.minutes, 1),
            "device": trained.device,
            **({"test": _rounded(evaluation.metrics)} if evaluation is not None else {}),
        },
        "intended_use": recipe.package.intended_use,
        "limits": list(recipe.package.limits),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _rounded(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {method: {n: round(v, 4) for n, v in values.items()} for method, values in metrics.items()}


def _card(trained: Trained, evaluation: CardEvaluation | None) -> str:
    recipe, split = trained.recipe, trained.split
    stopped = "" if trained.steps_done >= recipe.fit.steps else ", stopped before its end"
    people = ", ".join(f"{part}: {_people(split.parts[part])}" for part in split.parts)
    lines = [
        f"# {recipe.corrector}, method {recipe.method} ({recipe.size})",
        "",
        recipe.package.intended_use,
        "",
        "Written by the training itself. Research use; not a medical device.",
        "",
        "## Network and training",
        f"- {recipe.network.name} {dict(recipe.network.arguments)}: {parameter_count(trained.tensors):,} parameters, "
        f"stored as {recipe.package.dtype}.",
        f"- Recipe `{recipe.name}`, seed {recipe.seed}: {trained.steps_done:,} of {recipe.fit.steps:,} steps of "
        f"{recipe.fit.batch} examples{stopped}, {trained.minutes:.0f} minutes of steps on {trained.device}; the "
        f"weights are those of step {trained.step:,}.",
        *([f"- Began from the weights `{trained.started_from}`."] if trained.started_from else []),
        f"- Code: {trained.commit}.",
        f"- Patients: {people}. No patient is in two parts. SHA-256 of the prepared data: `{split.digest}`.",
        *(f"- Data: {one}." for one in _attributions(split)),
        "",
        "## Choosing the step",
        (
            "Validation patients; they chose the step, so these are no results:"
            if split.validation
            else "Fixed cases of the training patients themselves; nobody was held out to choose the step:"
        ),
        "",
        *(f"- {name}: {value:.2f}" for name, value in trained.figures.items()),
        "",
        *(_trial(trained) if trained.test_figures else ()),
        "## Results",
        *(_results(evaluation) if evaluation is not None else ["No evaluation was run with this training.", ""]),
        "## Limits",
        *(f"- {limit}" for limit in recipe.package.limits),
        "",
        "## Go on training",
        "",
        "```",
        f"dicom-node train {recipe.corrector} --recipe RECIPE --data FOLDER... --out RUN --resume",
        "```",
        "",
        f"RECIPE is the run's own `recipe.yaml`, or a file with the `recipe` part of `{DESCRIPTION}`.",
        "",
    ]
    return "\n".join(lines)


def _trial(trained: Trained) -> Sequence[str]:
    recipe = trained.recipe
    tried = {case.anatomy.series: case.anatomy for case in _cases(trained)}
    return [
        "## The recipe's own figures on the test patients",
        f"{recipe.validation.cases} cases of {_people(list(tried.values()))}, in the frame of the recipe's task:",
        "",
        *(f"- {name}: {value:.2f}" for name, value in trained.test_figures.items()),
        "",
        f"Printed again by `dicom-node train {recipe.corrector} --recipe RECIPE --data DATA --trial PACKAGE`.",
        "",
    ]


def _results(evaluation: CardEvaluation) -> Sequence[str]:
    return [
        "On patients that neither training nor the choice of the step saw:",
        "",
        evaluation.report,
        "",
        "Printed again by",
        "",
        "```",
        evaluation.command,
        "```",
        "",
    ]


def _cases(trained: Trained) -> list[Draw]:
    recipe = trained.recipe
    return fixed_cases(trained.split.test, recipe.validation.cases, recipe.seed)


def _attributions(split: Split) -> list[str]:
    return sorted({a.attribution for part in split.parts.values() for a in part if a.attribution})


def _people(anatomies: Sequence[Any]) -> str:
    real = len({a.patient for a in anatomies if a.kind == "real"})
    made = len({a.patient for a in anatomies if a.kind == "procedural"})
    return f"{real} real and {made} procedural ({sum(a.frames for a in anatomies)} frames)"
