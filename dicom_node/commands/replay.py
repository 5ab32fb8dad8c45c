"""`dicom-node replay`: recompute derived series from their provenance, and say whether every pixel agrees."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.commands.correct import scan_inputs
from dicom_node.commands.output import Advance, JsonFlag, Output
from dicom_node.compose.replay import FolderSources, NodeSources, has_ledger
from dicom_node.compose.routing import load_checked, rules_of
from dicom_node.config import Config
from dicom_node.contracts import CorrectorSpec
from dicom_node.dicom.derived import Derived, Recipe, is_image, read_derived
from dicom_node.dicom.elements import is_uid
from dicom_node.dicom.scan import scan
from dicom_node.errors import InputError, NodeError, RequestError
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.loader import build
from dicom_node.worker.pipeline import Task
from dicom_node.worker.replay import SeriesAgreement, installed_for, replay_set

_STEPS = ("read", "correct", "derive", "compare")
_NAMED = 5
"""So many differing instances are named in a line."""


@dataclass
class Report:
    """What `replay --json` prints."""

    series: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, object]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether everything could be recomputed and agrees."""
        return bool(self.series) and not self.failed and all(entry["agrees"] for entry in self.series)


def replay(
    series: Annotated[
        list[str],
        typer.Argument(
            help="Derived series: folders, files, ZIPs; with --config a Series Instance UID.", metavar="SERIES"
        ),
    ],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--sources", help="Folder, file or ZIP with the source images; may be repeated."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The node's configuration: its rules, and its archive for sources.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Folder of the weights package that made it, if not the installed one."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda; without it the kind that is recorded, where there is one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Recompute derived series from their sources and compare every pixel. Nothing is kept or sent."""
    output = Output(as_json)
    if device is not None and device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
        raise RequestError(f"--device must be auto, cpu or cuda, got {device!r}")
    if weights is not None and not weights.is_dir():
        raise RequestError(f"--weights: {weights} is no folder")
    if not sources and config is None:
        raise RequestError("name the source images with --sources, or the node that has them with --config")
    loaded = load_checked(config) if config else Config()
    catalogue = discover()
    with output.progress() as advance:
        report = Report()
        node = NodeSources(loaded, rules_of(loaded)) if config and (not sources or has_ledger(loaded)) else None
        derived = _given(series, node, report, advance)
        where = FolderSources(scan_inputs(sources, advance), rules_of(loaded), node) if sources else node
        assert where is not None
        for recipe in sorted({one.recipe for one in derived}):
            members = [one for one in derived if one.recipe == recipe]
            _one(report, recipe, members, catalogue, where, weights, device, advance)
    _print(output, report)
    if not report.agrees:
        raise typer.Exit(1)


def _given(series: list[str], node: NodeSources | None, report: Report, advance: Advance) -> list[Derived]:
    """The derived instances that are asked about; what no node derived is skipped.

    Raises:
        RequestError: no such path, or a UID without a node.
        InputError: no derived instance is among them.
    """
    paths = []
    headers = []
    for one in series:
        if Path(one).exists():
            paths.append(Path(one))
        elif not is_uid(one):
            raise RequestError(f"{one} does not exist")
        elif node is None:
            raise RequestError(f"to find series {one}, name the node's configuration with --config")
        else:
            headers += node.derived(one)
    if paths:
        found = scan(paths, progress=lambda done, total: advance("reading headers", done, total))
        headers += [header for one in found.series for header in one.instances]
        report.skipped += [
            {"series_instance_uid": r.series_instance_uid, "file": str(r.file), "reason": r.reason}
            for r in found.rejected
        ]
    derived: list[Derived] = []
    refused: dict[str, str] = {}
    for header in headers:
        try:
            derived.append(read_derived(header))
        except InputError as error:
            if header.own_output:
                report.failed.append(_failure([header.series_instance_uid], error))
            else:
                refused.setdefault(header.series_instance_uid, str(error))
    report.skipped += [{"series_instance_uid": uid, "reason": reason} for uid, reason in refused.items()]
    if not derived and not report.failed:
        why = "; ".join(str(entry["reason"]) for entry in report.skipped[:_NAMED])
        raise InputError(f"no derived instance in {', '.join(series)}" + (f": {why}" if why else ""))
    return derived


def _one(
    report: Report,
    recipe: Recipe,
    members: list[Derived],
    catalogue: Catalogue,
    where: FolderSources | NodeSources,
    weights: Path | None,
    device: str | None,
    advance: Advance,
) -> None:
    """Recompute one derived set; what goes wrong is reported, and the others go on."""
    what = f"{recipe.corrector} {recipe.method}"
    try:
        spec = installed_for(recipe, catalogue.installed(recipe.corrector), weights)
        named = frozenset(uid for one in members for uid in one.sources)
        task = Task(
            spec=spec,
            method=recipe.method,
            parameters=recipe.parameters,
            weights_sha256=recipe.weights_sha256,
            roles=where.roles(recipe, named, spec),
            input_digest=recipe.input_digest,
            created_at=time.time(),
            version=recipe.job_version,
            superseded_series={one.role: one.superseded for one in members if one.superseded},
        )
        # Recorded as CUDA means CUDA where there is one, else the CPU within the tolerance.
        wanted = device or ("cpu" if recipe.device == "cpu" else "auto")
        corrector = build(spec, recipe.method, wanted, recipe.parameters)
        found = replay_set(
            members, task, corrector, lambda step: advance(f"{what}: {step}", _STEPS.index(step), len(_STEPS))
        )
    except NodeError as error:
        report.failed.append(_failure(sorted({one.header.series_instance_uid for one in members}), error))
        return
    report.series += [_entry(recipe, spec, one) for one in found]


def _failure(uids: list[str], error: NodeError) -> dict[str, Any]:
    return {"series": uids, "code": error.code, "error": str(error)}


def _entry(recipe: Recipe, spec: CorrectorSpec, one: SeriesAgreement) -> dict[str, Any]:
    return {
        "series_instance_uid": one.series_instance_uid,
        "role": one.role,
        "corrector": recipe.corrector,
        "corrector_version": recipe.corrector_version,
        "method": recipe.method,
        "recorded_device": recipe.device,
        "device": one.device,
        "tolerance": one.tolerance,
        "units": str(spec.inputs[one.role].units) if is_image(one.role) and one.role in spec.inputs else None,
        "instances": one.instances,
        "differing_instances": list(one.differing),
        "differing_pixels": one.pixels,
        "largest_difference": one.largest if math.isfinite(one.largest) else None,
        "missing": list(one.missing),
        "unexpected": list(one.unexpected),
        "recorded_adapted_weights_sha256": one.recorded_weights or None,
        "adapted_weights_sha256": one.weights or None,
        "agrees": one.agrees,
    }


def _print(output: Output, report: Report) -> None:
    output.document(
        {"agrees": report.agrees, "series": report.series, "skipped": report.skipped, "failed": report.failed}
    )
    rows = [
        [s["role"], s["series_instance_uid"], s["device"], s["instances"], len(s["differing_instances"]),
         s["differing_pixels"], _largest(s), "yes" if s["agrees"] else "NO"]
        for s in report.series
    ]  # fmt: skip
    if rows:
        columns = ["output", "series", "on", "compared", "differing", "unequal pixels", "largest difference", "agrees"]
        output.table("Replay", columns, rows)
    for s in report.series:
        for line in _remarks(s):
            output.line(f"{s['role']}: {line}")
    for line in dict.fromkeys(filter(None, (_other_weights(s) for s in report.series))):
        output.line(line)
    for entry in report.skipped:
        if entry["series_instance_uid"]:  # what is no DICOM at all, such as a manifest, need not be told
            output.line(f"left out: series {entry['series_instance_uid']}: {entry['reason']}")
    for failure in report.failed:
        output.line(f"cannot be recomputed: series {', '.join(failure['series'])}: {failure['error']}")
    output.line(_verdict(report))


def _largest(entry: dict[str, Any]) -> str:
    if entry["largest_difference"] is None:
        return "other shape"
    return f"{entry['largest_difference']:g} {entry['units'] or ''}".strip()


def _remarks(entry: dict[str, Any]) -> list[str]:
    lines = []
    if entry["tolerance"] is None:
        lines.append(f"made on {entry['recorded_device']}: figures are not compared across kinds of device")
    elif entry["recorded_device"] != entry["device"]:
        lines.append(
            f"made on {entry['recorded_device']}, recomputed on {entry['device']}: "
            f"differences up to {entry['tolerance']:g} {entry['units'] or ''}".rstrip()
            + " count as none"
        )
    for what, key in (("differs", "differing_instances"), ("not given", "missing"), ("not recomputed", "unexpected")):
        uids = entry[key]
        if uids:
            more = f" and {len(uids) - _NAMED} more" if len(uids) > _NAMED else ""
            lines.append(f"{what}: {', '.join(uids[:_NAMED])}{more}")
    return lines


def _other_weights(entry: dict[str, Any]) -> str | None:
    """What is told where fitting to the patient came out otherwise, None where it did not."""
    recorded, here = entry["recorded_adapted_weights_sha256"], entry["adapted_weights_sha256"]
    if recorded == here:
        return None
    was, now = (f"weights of SHA-256 {one}" if one else "no other weights" for one in (recorded, here))
    return f"{entry['method']}: recorded are {was} fitted on to the patient, but here fitting gave {now}"


def _verdict(report: Report) -> str:
    if report.agrees:
        across = any(entry["recorded_device"] != entry["device"] for entry in report.series)
        return "Every pixel agrees" + (" within the corrector's tolerance across devices." if across else ".")
    if report.failed and not report.series:
        return "Not recomputed."
    return "NOT every pixel agrees." if not all(e["agrees"] for e in report.series) else "Not all could be recomputed."
