"""The evaluation that goes into a model card: `dicom-node evaluate` on patients that the package has not seen."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_node.contracts import Advance, CommandContext
from dicom_node.errors import NodeError
from training.anatomy import Split
from training.commands import evaluate, evaluate_run
from training.pack import is_pack
from training.package import CardEvaluation
from training.recipe import EvaluationSection, Recipe

SECONDS_A_CASE = 25.0
"""Rough time of one case with all methods on two cores; decides how many fit into what time is left."""
_SHOWN = {"psnr_db": "PSNR [dB]", "ssim": "SSIM", "rmse": "RMSE"}


def evaluate_package(
    context: CommandContext,
    recipe: Recipe,
    split: Split,
    package: Path,
    data: Sequence[Path],
    out: Path,
    *,
    seconds: float | None,
) -> CardEvaluation | str:
    """Evaluate a package as its recipe says.

    Args:
        context: the node's reader and loader.
        recipe: with an `evaluation` section.
        split: on whom it was trained.
        package: the weights.
        data: as given to `train`.
        out: gets report and pictures.
        seconds: time that is left, None for enough.

    Returns:
        What goes into the card, or why there is nothing.
    """
    section = recipe.evaluation
    if section is None:
        return "the recipe has no evaluation section"
    cases = section.cases if seconds is None else min(section.cases, int(seconds / SECONDS_A_CASE))
    if cases < 1:
        return "the time was up"
    images = [path for path in data if not is_pack(path)]
    real = bool(images) and any(a.kind == "real" for a in split.test)
    try:
        evaluate_run.run(context, _arguments(recipe, section, package, images if real else [], out, cases), _Silent())
    except NodeError as error:
        return f"the evaluation failed: {error}"
    told = json.loads((out / "report.json").read_text(encoding="utf-8"))
    command = str(told["reproduce"]["command"]).replace(str(package), "PACKAGE")
    for path in images:
        command = command.replace(str(path), "DATA")
    return CardEvaluation(command.replace(str(out), "OUT"), _report(told), _means(told))


def _arguments(
    recipe: Recipe, section: EvaluationSection, package: Path, data: Sequence[Path], out: Path, cases: int
) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    words = [recipe.corrector, "--out", str(out), "--methods", ",".join(section.methods)]
    words += ["--weights", f"{recipe.method}={package}", "--scenario", section.scenario, "--cases", str(cases)]
    if data:
        words += ["--data", *map(str, data), "--test-of", str(package)]
    return parser.parse_args([*words, "--seed", str(recipe.seed)])


def _means(told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    several = len(told["summary"]) > 1
    return {
        (f"{role} {method}" if several else method): {name: float(one["mean"]) for name, one in figures.items()}
        for role, methods in told["summary"].items()
        for method, figures in methods.items()
    }


def _report(told: Mapping[str, Any]) -> str:
    cases, kind = told["cases"], told["reproduce"]["kind"]
    patients = len({case["patient"] for case in cases})
    whose = "real patients" if kind == "data" else "procedural patients"
    made = told["reproduce"]
    lines = [f"{len(cases)} cases of {patients} {whose}, seed {made['seed']}. {made['scenario_text']}"]
    for role, methods in told["summary"].items():
        measured = told["measured"][role]
        names = [name for name in _SHOWN if name in next(iter(methods.values()))]
        lines += ["", f"Role `{role}`, means over patients. {_how(measured)}", ""]
        lines.append("| method | " + " | ".join(_SHOWN[name] for name in names) + " |")
        lines.append("|---" * (len(names) + 1) + "|")
        for method, figures in methods.items():
            lines.append(f"| `{method}` | " + " | ".join(f"{figures[name]['mean']:.3f}" for name in names) + " |")
    return "\n".join(lines)


def _how(measured: Mapping[str, Any]) -> str:
    return " ".join(f"{name.replace('_', ' ').capitalize()}: {value}." for name, value in measured.items())


class _Silent:
    """An output for nobody: the reports are files."""

    as_json = False

    def document(self, value: object) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Nothing."""

    @contextmanager
    def progress(self) -> Iterator[Advance]:
        """No bars."""
        yield lambda what, done, total: None
