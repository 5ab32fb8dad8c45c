"""The commands of `dicom-node`, put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from dicom_node.commands import check, correct, demo, export, jobs, repair, replay, route, serve, status, weights
from dicom_node.commands.contributed import CommandGroup

app = typer.Typer(
    name="dicom-node",
    help="A DICOM node that corrects series and sends derived ones back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    cls=CommandGroup,
)
app.command()(serve.serve)
app.command()(correct.correct)
app.command()(route.route)
app.command()(replay.replay)
app.command()(check.check)
app.command()(status.status)
app.command()(repair.repair)
app.command()(demo.demo)
app.command()(export.export)
app.add_typer(jobs.app, name="jobs")
app.add_typer(weights.app, name="weights")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dicom-node {version('dicom-correction-node')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
