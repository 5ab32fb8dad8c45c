"""`dicom-node export --deidentify`: studies of the node's own archive become a training folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.export import export_archive
from dicom_node.compose.routing import load_checked
from dicom_node.contracts import CorrectorSpec
from dicom_node.errors import RequestError
from dicom_node.keeping.export import Exported, LeftOut
from dicom_node.plugins.catalogue import Catalogue, discover


def export(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files and their manifest; made when missing.")],
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Must be given: files leave the node only without their patient.")
    ] = False,
    study: Annotated[
        list[str] | None, typer.Option("--study", metavar="UID", help="Only this study; may be repeated.")
    ] = None,
    corrector: Annotated[str | None, typer.Option(help="Only series that this corrector can use.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="Secret behind the pseudonyms, made when missing; else the node's own.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Export CT and MR images of the archive for training, de-identified (PS3.15). The node may be running."""
    output = Output(as_json)
    if not deidentify:
        raise RequestError("only de-identified images are exported: give --deidentify")
    catalogue = discover()
    chosen = None if corrector is None else _installed(catalogue, corrector)
    loaded = load_checked(config)
    with output.progress() as advance:
        done = export_archive(
            loaded, out, study or (), chosen, catalogue, key, lambda n, total: advance("exporting patients", n, total)
        )
    output.document({"folder": str(out), **asdict(done)})
    _print(output, out, done)


def _print(output: Output, out: Path, done: Exported) -> None:
    output.line(
        f"{done.files} images in {done.series} series of {done.patients} patients are in {out}; "
        f"{done.unchanged} of the series were there before"
    )
    if done.left_out:
        rows = [[one.series_instance_uid, one.instances, one.reason] for one in _by_reason(done.left_out)]
        output.table("Left out", ["series", "images", "why"], rows)
    output.line("the images are not defaced: a face can be made from slices of a head")


def _by_reason(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    return sorted(left_out, key=lambda one: (one.reason, one.series_instance_uid))


def _installed(catalogue: Catalogue, name: str) -> CorrectorSpec:
    if name not in catalogue.specs:
        known = ", ".join(sorted(catalogue.specs)) or "none"
        raise RequestError(f"the corrector {name!r} is not installed; installed: {known}")
    return catalogue.specs[name]
