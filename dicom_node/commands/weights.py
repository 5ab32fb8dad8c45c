"""`dicom-node weights`: the weights packages of the installed correctors, and others in folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.contracts import CorrectorSpec, WeightsRef
from dicom_node.errors import NodeError, WeightsError
from dicom_node.plugins.catalogue import discover
from dicom_node.plugins.loader import build
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import TENSORS, list_packages, look, verify, weights_from

app = typer.Typer(no_args_is_help=True, help="List and verify weights packages.")


@dataclass(frozen=True)
class _Verdict:
    """What came of verifying one package; a folder belongs to no corrector."""

    corrector: str | None
    method: str | None
    folder: str
    ok: bool
    detail: str

    @property
    def name(self) -> str:
        """For people."""
        return self.folder if self.corrector is None else f"{self.corrector}/{self.method}"


@app.command("list")
def list_weights(as_json: JsonFlag = False) -> None:
    """List the weights package of each corrector and method."""
    output = Output(as_json)
    catalogue = discover()
    packages = [
        {
            "corrector": name,
            "method": method,
            "sha256": reference.sha256,
            "directory": f"{reference.package}/{reference.directory}",
            **_described(reference),
        }
        for name, method, reference in list_packages(catalogue)
    ]
    without = [
        {"corrector": name, "method": method, "sha256": None, "directory": None}
        for name, spec in sorted(catalogue.specs.items())
        for method in spec.methods
        if method not in spec.weights
    ]
    output.document({"packages": packages, "without_weights": without})
    rows = [
        [p["corrector"], p["method"], p["sha256"] or "needs none", p["directory"] or "-",
         p.get("architecture") or "-", p.get("parameters") or "-", p.get("mib") or "-"]
        for p in packages + without
    ]  # fmt: skip
    columns = ["corrector", "method", "sha256", "directory", "architecture", "parameters", "MiB"]
    output.table("Weights", columns, rows)


@app.command("verify")
def verify_weights(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Packages to check; without any, those of the installed correctors.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every package's files against their digests, and that the installed correctors can be built with theirs."""
    output = Output(as_json)
    verdicts = list(_of_folders(folders) if folders else _of_correctors())
    output.document({"ok": all(v.ok for v in verdicts), "packages": [vars(v) for v in verdicts]})
    if not verdicts:
        output.line("no installed corrector has weights")
    for verdict in verdicts:
        output.line(f"{verdict.name}: {'ok' if verdict.ok else 'FAILED'} {verdict.detail}")
    if not all(v.ok for v in verdicts):
        raise typer.Exit(1)


def _of_folders(folders: list[Path]) -> Iterator[_Verdict]:
    for folder in folders:
        try:
            reference = verify(weights_from(folder))
            yield _Verdict(None, None, str(folder), ok=True, detail=reference.sha256)
        except NodeError as error:
            yield _Verdict(None, None, str(folder), ok=False, detail=str(error))


def _of_correctors() -> Iterator[_Verdict]:
    catalogue = discover()
    for name, method, reference in list_packages(catalogue):
        folder = f"{reference.package}/{reference.directory}"
        try:
            _build(catalogue.specs[name], method)
            yield _Verdict(name, method, folder, ok=True, detail=reference.sha256)
        except NodeError as error:
            yield _Verdict(name, method, folder, ok=False, detail=str(error))


def _build(spec: CorrectorSpec, method: str) -> None:
    """Digests first, then the network: a package of another architecture is whole, but does not fit."""
    _, parameters = resolve(spec, method, {})
    build(spec, method, "cpu", parameters)


def _described(reference: WeightsRef) -> dict[str, object]:
    """Architecture, number of parameters and size, None where the package cannot be read: `verify` says why."""
    try:
        package = look(reference)
    except WeightsError:
        return {"architecture": None, "parameters": None, "mib": None}
    return {
        "architecture": str(package.description["architecture"]["name"]),
        "parameters": package.parameters,
        "mib": round((package.directory / TENSORS).stat().st_size / 2**20, 2),
    }
