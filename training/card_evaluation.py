"""The evaluation that goes into a model card: `dicom-node evaluate` on patients that the package has not seen."""

from __future__ import annotations

import argparse
import json
import shlex
import time
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

LEAST_SECONDS = 20.0
"""With less time left, not even one case is begun."""
_SHOWN = {"psnr_db": "PSNR [dB]", "ssim": "SSIM", "rmse": "RMSE"}


def evaluate_package(
    context: CommandContext,
    recipe: Recipe,
    split: Split,
    package: Path,
    data: Sequence[Path],
    out: Path,
    *,
    device: str,
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
        device: `auto`, `cpu` or `cuda[:n]`.
        seconds: time that is left, None for enough. One case tells how many fit.

    Returns:
        What goes into the card, or why there is nothing.
    """
    section = recipe.evaluation
    if section is None:
        return "the recipe has no evaluation section"
    images = [path for path in data if not is_pack(path)]
    real = bool(images) and any(a.kind == "real" for a in split.test)
    cases = section.cases if seconds is None else 1
    if seconds is not None and seconds < LEAST_SECONDS:
        return "the time was up"
    started = time.monotonic()

    def evaluated() -> None:
        words = _words(recipe, section, package, images if real else [], cases, device)
        evaluate_run.run(context, _arguments([*words, "--out", str(out)]), _Silent())

    try:
        evaluated()
        took = time.monotonic() - started
        if seconds is not None and (fits := min(section.cases, int((seconds - took) / took))) > 1:
            cases = fits
            evaluated()
    except NodeError as error:
        return f"the evaluation failed: {error}"
    told = json.loads((out / "report.json").read_text(encoding="utf-8"))
    shown = _words(recipe, section, Path("PACKAGE"), [Path("DATA")] if real else [], cases, device)
    command = shlex.join(["dicom-node", "evaluate", *shown, "--out", "OUT"])
    return CardEvaluation(command, _report(told), _means(told))


def _words(
    recipe: Recipe, section: EvaluationSection, package: Path, data: Sequence[Path], cases: int, device: str
) -> list[str]:
    words = [recipe.corrector, "--methods", ",".join(section.methods), "--weights", f"{recipe.method}={package}"]
    words += ["--scenario", section.scenario, "--cases", str(cases), "--seed", str(recipe.seed), "--device", device]
    return [*words, "--data", *map(str, data), "--test-of", str(package)] if data else words


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    return parser.parse_args(words)


def _means(told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    several = len(told["summary"]) > 1
    return {
        (f"{role} {method}" if several else method): {name: float(one["mean"]) for name, one in figures.items()}
        for role, methods in told["summary"].items()
        for method, figures in methods.items()
    }


def _report(told: Mapping[str, Any]) -> str:
    cases, made = told["cases"], told["reproduce"]
    patients = len({case["patient"] for case in cases})
    kind = "real" if made["kind"] == "data" else "new procedural"
    people = f"one {kind} patient" if patients == 1 else f"{patients} {kind} patients"
    sentence = made["scenario_text"][:1].upper() + made["scenario_text"][1:]
    number = "One case" if len(cases) == 1 else f"{len(cases)} cases"
    lines = [f"{number} of {people}, seed {made['seed']}, through the node's own corrector. {sentence}."]
    for role, methods in told["summary"].items():
        measured = told["measured"][role]
        names = [name for name in _SHOWN if name in next(iter(methods.values()))]
        low, high = measured["window"]
        lines += [
            "",
            f"Role `{role}`, means over patients; PSNR and SSIM on {low:g} to {high:g} {measured['units']}, "
            f"RMSE in {measured['units']}, not clipped; metal and what lies beside it left out.",
            "",
            "| method | " + " | ".join(_SHOWN[name] for name in names) + " |",
            "|---" * (len(names) + 1) + "|",
        ]
        for method, figures in methods.items():
            lines.append(f"| `{method}` | " + " | ".join(f"{figures[name]['mean']:.3f}" for name in names) + " |")
    return "\n".join(lines)


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
