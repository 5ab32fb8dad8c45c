"""`dicom-node route`: for every series which rule took it, in which role, or why none did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.commands.correct import route_series, scan_inputs, telling, told
from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.routing import load_checked
from dicom_node.config import Config
from dicom_node.errors import RequestError
from dicom_node.planning import as_mapping, series_uids
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.parameters import resolve
from dicom_node.routing.router import RoutingResult


def route(
    inputs: Annotated[list[Path], typer.Argument(help="DICOM files, folders or ZIPs.")],
    config: Annotated[Path | None, typer.Option(help="Configuration with your own routes.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Dry run of the routing rules. Nothing is corrected or written."""
    output = Output(as_json)
    rules = load_checked(config) if config else Config()
    catalogue = discover()
    with output.progress() as advance:
        found = scan_inputs(inputs, advance)
    result = route_series(found, None, rules, catalogue)
    facts = {s.series_instance_uid: (s.modality, len(s.instances)) for s in found.series}
    sets, refused = _resolved(result, catalogue)
    explanations: list[dict[str, Any]] = [
        {
            **as_mapping(e),
            **refused.get(e.series_instance_uid, {}),
            "modality": facts[e.series_instance_uid][0],
            "instances": facts[e.series_instance_uid][1],
        }
        for e in result.explanations
    ]
    output.document(
        {
            "series": explanations,
            "input_sets": sets,
            "rejected": [{"file": str(r.file), "reason": r.reason} for r in found.rejected],
        }
    )
    rows = [
        [e["series_instance_uid"], e["modality"], e["instances"],
         f"{e['rule']} as {e['role']}" if e["taken"] else "-", "\n".join(telling(e["reasons"]))]
        for e in explanations
    ]  # fmt: skip
    output.table("Routing", ["series", "modality", "images", "taken by", "why"], rows)
    if found.rejected:
        output.table("Files left out", ["file and reason"], [[told(r)] for r in found.rejected])


def _resolved(
    result: RoutingResult, catalogue: Catalogue
) -> tuple[list[dict[str, object]], dict[str, dict[str, object]]]:
    """Input sets with method and parameters as a job would have them, and why the others would give no job."""
    sets: list[dict[str, object]] = []
    refused: dict[str, dict[str, object]] = {}
    for one in result.input_sets:
        try:
            method, parameters = resolve(catalogue.specs[one.corrector], one.method, one.parameters)
        except RequestError as error:
            refused |= {uid: {"taken": False, "role": None, "reasons": [str(error)]} for uid in series_uids(one)}
            continue
        sets.append(
            {
                "rule": one.route,
                "corrector": one.corrector,
                "method": method,
                "parameters": parameters,
                "send_to": list(one.send_to),
                "source_series": list(series_uids(one)),
                "roles": {role: len(items) for role, items in one.roles.items()},
            }
        )
    return sets, refused
