"""`dicom-node weights`: the weights packages of the installed correctors."""

from __future__ import annotations

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.errors import NodeError
from dicom_node.plugins.catalogue import discover
from dicom_node.plugins.weights import list_packages, verify

app = typer.Typer(no_args_is_help=True, help="List and verify weights packages.")


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
        [p["corrector"], p["method"], p["sha256"] or "needs none", p["directory"] or "-"] for p in packages + without
    ]
    output.table("Weights", ["corrector", "method", "sha256", "directory"], rows)


@app.command("verify")
def verify_weights(as_json: JsonFlag = False) -> None:
    """Check every package's files against their digests."""
    output = Output(as_json)
    results = []
    for name, method, reference in list_packages(discover()):
        try:
            verify(reference)
            results.append({"corrector": name, "method": method, "ok": True, "detail": reference.sha256})
        except NodeError as error:
            results.append({"corrector": name, "method": method, "ok": False, "detail": str(error)})
    output.document({"ok": all(r["ok"] for r in results), "packages": results})
    if not results:
        output.line("no installed corrector has weights")
    for r in results:
        output.line(f"{r['corrector']}/{r['method']}: {'ok' if r['ok'] else 'FAILED'} {r['detail']}")
    if not all(r["ok"] for r in results):
        raise typer.Exit(1)
