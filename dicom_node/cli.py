"""`dicom-node`: the command line. Exit 0: done. 1: the work failed. 2: the request was wrong."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from dicom_node import logs
from dicom_node.commands import check, correct, demo, jobs, route, serve, weights
from dicom_node.errors import NodeError, RequestError

app = typer.Typer(
    name="dicom-node",
    help="A DICOM node that corrects series and sends derived ones back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(serve.serve)
app.command()(correct.correct)
app.command()(route.route)
app.command()(check.check)
app.command()(demo.demo)
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


def main() -> None:
    """Entry point: errors of the node become a message and an exit status, never a traceback."""
    logs.configure(level="warning")
    try:
        app()
    except NodeError as error:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": str(error), "code": error.code}, indent=1) + "\n")
        sys.stderr.write(f"dicom-node: {error}\n")
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
