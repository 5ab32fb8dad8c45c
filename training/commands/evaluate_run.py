"""`dicom-node evaluate`: what it does."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from dicom_node.contracts import CommandContext, CommandOutput, CorrectorSpec
from dicom_node.errors import RequestError, StorageFailed
from training import evaluation_report, methods
from training.cases import CaseSource, modality_of, patients_of, procedural_cases, real_cases
from training.contact_sheet import write_sheets
from training.evaluation import Evaluation, evaluate
from training.evaluation_report import Request
from training.pack import is_pack
from training.pairs import given_pairs
from training.subject import Subject, scenario_of, subject_of
from training.unseen import unseen

CASES = 8


def run(context: CommandContext, arguments: argparse.Namespace, output: CommandOutput) -> None:
    """Compare methods; writes `report.md`, `report.json` and pictures under `--out`.

    Raises:
        RequestError: arguments that do not fit together, or name what is not there.
        InputError: no usable case.
        WeightsError, PluginError: a method cannot be built.
        StorageFailed: the disk refuses.
    """
    subject = subject_of(arguments.corrector)
    spec = context.spec(arguments.corrector)
    _check(arguments)
    names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    compared = methods.chosen(spec, names, _weights(arguments.weights))
    scenario = "" if arguments.pairs else scenario_of(subject, arguments.scenario)
    bench = methods.build_all(context, spec, compared, arguments.device, named=bool(names))
    out: Path = arguments.out
    _make(out)
    with output.progress() as advance:
        advance("looking for cases", 0, 0)
        source = _source(context, subject, spec, arguments, scenario)
        evaluation = evaluate(subject, source, bench, seed=arguments.seed, advance=advance)
    request = Request(
        command=_command(arguments, bench.methods, source, scenario),
        kind=source.kind,
        scenario=scenario,
        scenario_text=subject.scenarios.get(scenario, ""),
        seed=arguments.seed,
        device=arguments.device,
    )
    pictures = [
        path.name
        for role, scale in subject.scales.items()
        for path in write_sheets([case.pictures[role] for case in evaluation.cases], scale, out, f"sheet-{role}")
    ]
    told = evaluation_report.document(evaluation, request, spec, subject.scales, pictures)
    _write(out / "report.json", json.dumps(told, indent=1) + "\n")
    _write(out / "report.md", evaluation_report.markdown(evaluation, request, spec, subject.scales, pictures))
    _print(output, evaluation, subject, out)
    output.document(told)


def _source(
    context: CommandContext, subject: Subject, spec: CorrectorSpec, arguments: argparse.Namespace, scenario: str
) -> CaseSource:
    if arguments.pairs:
        return given_pairs(context, subject, spec, arguments.pairs)
    count = arguments.cases or CASES
    if not arguments.data:
        return procedural_cases(subject, count=count, scenario=scenario, seed=arguments.seed)
    patients = patients_of(context, arguments.data, modality=modality_of(spec))
    if arguments.test_of is not None:
        patients = unseen(patients, arguments.test_of)
    return real_cases(context, subject, spec, patients, count=count, scenario=scenario, seed=arguments.seed)


def _check(arguments: argparse.Namespace) -> None:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", arguments.device) is None:
        raise RequestError(f"--device must be auto, cpu or cuda[:n], got {arguments.device!r}")
    if packs := [path for path in arguments.data if is_pack(path)]:
        raise RequestError(f"{packs[0]} holds prepared patients, not images: name the images that it was packed from")
    if arguments.test_of is not None and not arguments.data:
        raise RequestError("--test-of chooses among the series of --data: name them")
    if arguments.pairs and (arguments.data or arguments.scenario or arguments.cases):
        raise RequestError("--pairs takes the cases as they are: --data, --scenario and --cases do not go with it")
    if arguments.cases is not None and arguments.cases < 1:
        raise RequestError(f"--cases must be 1 or more, got {arguments.cases}")
    if arguments.seed < 0:
        raise RequestError(f"--seed must not be negative, got {arguments.seed}")


def _weights(given: Sequence[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for item in given:
        method, equals, folder = item.partition("=")
        if not equals or not method or not folder:
            raise RequestError(f"--weights needs METHOD=DIR, got {item!r}")
        folders[method] = Path(folder)
    return folders


def _command(
    arguments: argparse.Namespace, compared: Sequence[methods.Method], source: CaseSource, scenario: str
) -> str:
    """The command line with every default written out."""
    words = ["dicom-node", "evaluate", arguments.corrector, "--out", str(arguments.out)]
    words += ["--methods", ",".join(method.name for method in compared)]
    if weights := [f"{method.name}={method.weights}" for method in compared if method.weights is not None]:
        words += ["--weights", *weights]
    if arguments.pairs:
        words += ["--pairs", str(arguments.pairs)]
    else:
        words += ["--scenario", scenario, "--cases", str(source.count)]
        if arguments.data:
            words += ["--data", *map(str, arguments.data)]
        if arguments.test_of is not None:
            words += ["--test-of", str(arguments.test_of)]
    return shlex.join([*words, "--seed", str(arguments.seed), "--device", arguments.device])


def _print(output: CommandOutput, evaluation: Evaluation, subject: Subject, out: Path) -> None:
    for role, scale in subject.scales.items():
        for figures in evaluation_report.figure_groups(evaluation, role):
            group = figures[0].group
            title = f"{role}{', ' * bool(group)}{group}: "
            rows = evaluation_report.summary_rows(evaluation, role, figures)
            output.table(
                f"{title}mean over patients ± standard deviation over cases",
                evaluation_report.headings("method", scale, figures),
                rows,
            )
        if ratios := evaluation_report.ratio_rows(evaluation, role):
            output.table(f"{role}, against {evaluation.baseline}", evaluation_report.RATIO_HEADINGS, ratios)
    for case in evaluation.cases:
        for name, note in case.notes.items():
            output.line(f"{case.name}: {name} left it uncorrected, {note}")
    if evaluation.left_out:
        output.table("Left out", ["what", "reason"], [[one.what, one.reason] for one in evaluation.left_out])
    output.line(f"Differences with confidence, rank tests, cases and pictures: {out / 'report.md'}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"{path}: {error.strerror}") from error
