"""`dicom-node route`: for every series which rule took it, in which role, or why none did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.correct import route_series, scan_inputs
from dicom_node.commands.output import JsonFlag, Output
from dicom_node.config import Config, load_config
from dicom_node.planning import as_mapping, series_uids
from dicom_node.plugins.catalogue import discover


def route(
    inputs: Annotated[list[Path], typer.Argument(help="DICOM files, folders or ZIPs.")],
    config: Annotated[Path | None, typer.Option(help="Configuration with your own routes.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Dry run of the routing rules. Nothing is corrected or written."""
    output = Output(as_json)
    rules = load_config(config) if config else Config()
    catalogue = discover()
    with output.progress() as advance:
        found = scan_inputs(inputs, advance)
    result = route_series(found, None, rules, catalogue)
    facts = {s.series_instance_uid: (s.modality, len(s.instances)) for s in found.series}
    explanations = [
        {**as_mapping(e), "modality": facts[e.series_instance_uid][0], "instances": facts[e.series_instance_uid][1]}
        for e in result.explanations
    ]
    output.document(
        {
            "series": explanations,
            "input_sets": [
                {
                    "rule": s.route,
                    "corrector": s.corrector,
                    "method": s.method or catalogue.specs[s.corrector].default_method,
                    "parameters": dict(s.parameters),
                    "send_to": list(s.send_to),
                    "source_series": list(series_uids(s)),
                    "roles": {role: len(items) for role, items in s.roles.items()},
                }
                for s in result.input_sets
            ],
            "rejected": [{"file": str(r.file), "reason": r.reason} for r in found.rejected],
        }
    )
    rows = [
        [e["series_instance_uid"], e["modality"], e["instances"],
         f"{e['rule']} as {e['role']}" if e["taken"] else "-", "\n".join(e["reasons"])]  # type: ignore[arg-type]
        for e in explanations
    ]  # fmt: skip
    output.table("Routing", ["series", "modality", "images", "taken by", "why"], rows)
    if found.rejected:
        output.table("Files left out", ["file", "reason"], [[r.file, r.reason] for r in found.rejected])
