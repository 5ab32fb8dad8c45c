"""`dicom-node serve`: the node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node import logs
from dicom_node.commands.output import JsonFlag
from dicom_node.compose.routing import load_checked
from dicom_node.net.tls import server_context
from dicom_node.supervisor import Supervisor


def serve(
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")],
    as_json: JsonFlag = False,
) -> None:
    """Run the node: receivers, intake, workers, delivery. SIGTERM drains and stops it."""
    loaded = load_checked(config)
    if loaded.node.tls is not None:
        # Each receiver reads the files for itself; what is wrong with them is said before any of them dies of it.
        server_context(loaded.node.tls)
    logs.configure(process="supervisor", as_json=as_json)
    Supervisor(loaded).run()
