"""`dicom-node repair`: ledger and files together again."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.repair import repair_node
from dicom_node.config import load_config

_WORDS: Final = {
    "entered": "files of the archive entered into the ledger",
    "lost": "images of the ledger whose file is gone (lost, or deleted by retention since): taken out",
    "verified": "files compared with their digest",
    "altered": "files altered since they were received: in the quarantine; send them again",
    "set_aside": "files of the archive that cannot be used: in the quarantine",
    "removed": "half-written and second copies removed",
    "quarantine_entered": "files of the quarantine entered",
    "quarantine_lost": "rows of the quarantine without a file removed",
    "spool_forgotten": "rows of received files that are filed already, or gone, removed",
    "outbox_removed": "outputs of unknown jobs removed",
    "jobs_queued": "jobs queued again because their outputs are gone",
    "strange": "files in the archive that are not the node's: left alone, named in the log",
}


def repair(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the content of every file with its digest too.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Rebuild the ledger from the files after it was lost, damaged or copied back. The node must be stopped."""
    output = Output(as_json)
    loaded = load_config(config)
    with output.progress() as advance:
        done = repair_node(loaded, time.time(), advance, verify=verify)
    found = asdict(done.findings)
    output.document({"damaged_ledger": done.damaged, **found})
    if done.damaged is not None:
        output.line(f"the ledger was damaged and lies in {done.damaged} now; a new one was made")
    rows = [[count, _WORDS[name]] for name, count in found.items() if count]
    if rows:
        output.table("Repair", ["count", "what"], rows)
    else:
        output.line("ledger and files agree")
    output.line("the node can be started; it routes what changed, and makes the jobs again that the ledger had lost")
