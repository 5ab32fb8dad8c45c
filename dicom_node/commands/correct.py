"""`dicom-node correct`: the route -> correct -> derive path on files, no network."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from dicom_node.commands.output import Advance, JsonFlag, Output
from dicom_node.compose.routing import load_checked, rules_of
from dicom_node.config import Config
from dicom_node.contracts import Corrector, CorrectorSpec, InputSet
from dicom_node.dicom.scan import Rejected, ScanResult, scan
from dicom_node.errors import CorrectionRefused, InputError, NodeError, RequestError, UnusableSeries
from dicom_node.planning import input_digest, series_uids
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.loader import build
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import verify, with_weights
from dicom_node.routing.router import RoutingResult, route, route_for
from dicom_node.worker.outbox import Outbox
from dicom_node.worker.pipeline import Outcome, Step, Task, run


@dataclass
class Report:
    """What `correct --json` prints."""

    series: list[dict[str, object]] = field(default_factory=list)
    skipped: list[dict[str, object]] = field(default_factory=list)
    failed: list[dict[str, object]] = field(default_factory=list)


def correct(
    inputs: Annotated[list[Path], typer.Argument(help="DICOM files, folders or ZIPs.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the derived series; made when missing.")],
    corrector: Annotated[str | None, typer.Option(help="Use this corrector; without it the routes choose.")] = None,
    method: Annotated[str | None, typer.Option(help="Use this method of the corrector.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of a weights package to use; needs --corrector.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    config: Annotated[Path | None, typer.Option(help="Configuration with your own routes.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Correct files: read, route, correct, derive. Originals are never altered."""
    output = Output(as_json)
    if device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
        raise RequestError(f"--device must be auto, cpu or cuda, got {device!r}")
    catalogue = discover()
    overrides = parse_settings(settings or [])
    chosen = None if corrector is None else catalogue.installed(corrector)
    if chosen is not None:
        named, _ = resolve(chosen, method, overrides)  # a wrong request is told before any file is read
        if weights is not None:
            chosen, method = _weighed(chosen, named, weights), named
    elif weights is not None:
        raise RequestError("--weights needs --corrector: say whose weights they are")
    rules = load_checked(config) if config else Config()
    _make_folder(out)
    with output.progress() as advance:
        found = scan_inputs(inputs, advance)
        result = route_series(found, chosen, rules, catalogue)
        report = Report()
        for file in found.rejected:
            report.skipped.append(
                {"series_instance_uid": file.series_instance_uid, "file": str(file.file), "reason": file.reason}
            )
        taken = {uid for s in result.input_sets for uid in series_uids(s)}
        for explanation in result.explanations:
            if explanation.series_instance_uid not in taken and not explanation.taken:
                reason = "; ".join(telling(explanation.reasons))
                _skip(report, explanation.series_instance_uid, reason)
        for number, input_set in enumerate(result.input_sets, start=1):
            what = f"{input_set.corrector} {number}/{len(result.input_sets)}"
            spec = chosen or catalogue.specs[input_set.corrector]
            _one(report, input_set, spec, method, overrides, device, out, found.rejected, what, advance)
    # Corrected images of all input sets come before the maps, masks and reports of any.
    report.series.sort(key=lambda entry: entry["role"] == "report" or ":" in str(entry["role"]))
    _print(output, report)
    if report.failed:
        raise typer.Exit(1)


def scan_inputs(inputs: list[Path], advance: Advance) -> ScanResult:
    """Scan paths given on a command line.

    Raises:
        RequestError: a path does not exist.
        InputError: no DICOM series is among them; the message gives the first reasons.
    """
    for path in inputs:
        if not path.exists():
            raise RequestError(f"{path} does not exist")
    found = scan(inputs, progress=lambda done, total: advance("reading headers", done, total))
    if not found.series:
        reasons = "".join(f"\n  {told(r)}" for r in found.rejected[:10])
        more = f"\n  and {len(found.rejected) - 10} more" if len(found.rejected) > 10 else ""
        raise InputError(f"no usable DICOM image in {', '.join(map(str, inputs))}{reasons}{more}")
    return found


def telling(reasons: Sequence[str]) -> list[str]:
    """Reasons without those of correctors that are not installed, unless there is no other."""
    return [r for r in reasons if "is not installed" not in r] or list(reasons)


def told(rejected: Rejected) -> str:
    """Why a file is left out; most reasons begin with its name already."""
    name = str(rejected.file)
    return rejected.reason if rejected.reason.startswith(name) else f"{name}: {rejected.reason}"


def route_series(
    found: ScanResult, chosen: CorrectorSpec | None, config: Config, catalogue: Catalogue
) -> RoutingResult:
    """By the rules, or towards one corrector when the user named it."""
    rules = rules_of(config)
    if chosen is not None:
        return route_for(found.series, chosen, rules)
    return route(found.series, rules, catalogue.specs, config.default_send_to)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts to values, read as YAML scalars.

    Raises:
        RequestError: no `=`, or a value that is no scalar.
    """
    parsed: dict[str, Any] = {}
    for item in settings:
        key, equals, text = item.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if not equals or not key or isinstance(value, dict | list):
            raise RequestError(f"--set needs KEY=VALUE with one value, got {item!r}")
        parsed[key] = value
    return parsed


def _one(
    report: Report,
    input_set: InputSet,
    spec: CorrectorSpec,
    method: str | None,
    overrides: Mapping[str, Any],
    device: str,
    out: Path,
    rejected: tuple[Rejected, ...],
    what: str,
    advance: Advance,
) -> None:
    uids = series_uids(input_set)
    name, parameters = resolve(spec, method or input_set.method, {**input_set.parameters, **overrides})
    digest = input_digest(input_set.roles)
    weights = spec.weights.get(name)
    task = Task(spec, name, parameters, weights.sha256 if weights else "", input_set.roles, digest, time.time())
    steps = ("read", "correct", "derive")
    try:
        for bad in rejected:
            if bad.series_instance_uid in uids:
                raise UnusableSeries(
                    f"series {bad.series_instance_uid} holds {bad.file}, which cannot be used: {bad.reason}"
                )
        built = build(spec, name, device, parameters)
        entries = _derive(task, built, uids, out, lambda s: advance(f"{what}: {s}", steps.index(s), len(steps)))
    except CorrectionRefused as refusal:
        for uid in uids:
            _skip(report, uid, str(refusal))
        return
    except NodeError as error:
        report.failed.append(
            {
                "corrector": spec.name,
                "method": name,
                "source_series": list(uids),
                "code": error.code,
                "error": str(error),
            }
        )
        return
    report.series.extend(entries)


def _derive(task: Task, corrector: Corrector, uids: tuple[str, ...], out: Path, step: Step) -> list[dict[str, object]]:
    """Run the task; its folder appears whole under `out`, or not at all."""
    recipe = [task.input_digest, task.spec.version, task.weights_sha256, sorted(task.parameters.items())]
    name = f"{task.spec.name}-{task.method}-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"
    outbox = Outbox(out)
    working = outbox.open(name, 0)
    try:
        outcome = run(task, corrector, working, step)
        entries = _entries(task, uids, outcome, outbox.folder(name))
        if outcome.changed:
            outbox.seal(working, {"series": entries})
            outbox.publish(name, working)
    finally:
        outbox.discard(working)
    return entries


def _entries(task: Task, uids: tuple[str, ...], outcome: Outcome, folder: Path) -> list[dict[str, object]]:
    common = {"corrector": task.spec.name, "method": task.method, "source_series": list(uids),
              "warnings": list(outcome.warnings)}  # fmt: skip
    if outcome.derived is None:
        return [
            {**common, "role": role, "changed": False, "series_instance_uid": None, "files": [],
             "metrics": dict(outcome.metrics), "reason": outcome.reason}
            for role in task.roles
        ]  # fmt: skip
    written = outcome.derived.folder
    return [
        {**common, "role": s.role, "changed": True, "series_instance_uid": s.series_instance_uid,
         "files": [str(folder / f.path.relative_to(written)) for f in s.files],
         "metrics": {**outcome.metrics, **s.metrics}}
        for s in outcome.derived.series
    ]  # fmt: skip


def _skip(report: Report, uid: str, reason: str) -> None:
    report.skipped.append({"series_instance_uid": uid, "reason": reason})


def _weighed(spec: CorrectorSpec, method: str, folder: Path) -> CorrectorSpec:
    """The corrector with a verified weights package of the user's for one method."""
    if not folder.is_dir():
        raise RequestError(f"--weights: {folder} is no folder")
    weighed = with_weights(spec, method, folder)
    verify(weighed.weights[method])
    return weighed


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}") from error


def _print(output: Output, report: Report) -> None:
    output.document({"series": report.series, "skipped": report.skipped, "failed": report.failed})
    rows = [
        [s["corrector"], s["method"], s["role"], "yes" if s["changed"] else f"no: {s.get('reason')}", len(s["files"]),  # type: ignore[arg-type]
         str(Path(s["files"][0]).parent) if s["files"] else "-"]  # type: ignore[index]
        for s in report.series
    ]  # fmt: skip
    if rows:
        output.table("Series", ["corrector", "method", "role", "changed", "files", "folder"], rows)
    for warning in dict.fromkeys(w for s in report.series for w in s["warnings"]):  # type: ignore[attr-defined]
        output.line(f"warning: {warning}")
    if report.skipped:
        output.table(
            "Skipped",
            ["series or file", "reason"],
            [[s.get("file") or s["series_instance_uid"], s["reason"]] for s in report.skipped],
        )
    for failure in report.failed:
        output.line(f"failed: {failure['corrector']} {failure['method']}: {failure['error']}")
