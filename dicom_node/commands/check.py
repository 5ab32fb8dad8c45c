"""`dicom-node check`: configuration, plugins, weights, disk, ledger, peers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.ledger import open_database
from dicom_node.compose.routing import load_checked
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.net.sender import Sender
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import verify


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def check(
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")],
    as_json: JsonFlag = False,
) -> None:
    """Check the configuration, plugins, weights, ledger, disk and peers (C-ECHO)."""
    output = Output(as_json)
    loaded = load_checked(config)
    catalogue = discover()
    findings = [
        Finding("configuration", True, str(config)),
        *_plugins(catalogue),
        *_routes(loaded, catalogue),
        *_storage(loaded),
        *(_peer(loaded, name) for name in sorted(loaded.peers)),
    ]
    if not loaded.peers:
        findings.append(Finding("peers", True, "none configured: derived series stay in the outbox"))
    output.document({"ok": all(f.ok for f in findings), "findings": [vars(f) for f in findings]})
    output.table("Check", ["what", "", "detail"], [[f.what, "ok" if f.ok else "FAILED", f.detail] for f in findings])
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def _plugins(catalogue: Catalogue) -> list[Finding]:
    findings = [Finding(f"corrector {b.name}", False, b.reason) for b in catalogue.broken]
    for name, spec in sorted(catalogue.specs.items()):
        findings.append(
            Finding(f"corrector {name}", True, f"version {spec.version}, methods {', '.join(spec.methods)}")
        )
        for method, reference in sorted(spec.weights.items()):
            try:
                verify(reference)
                findings.append(Finding(f"weights {name}/{method}", True, reference.sha256[:12]))
            except NodeError as error:
                findings.append(Finding(f"weights {name}/{method}", False, str(error)))
    return findings


def _routes(config: Config, catalogue: Catalogue) -> list[Finding]:
    findings = []
    for rule in config.routes:
        spec = catalogue.specs.get(rule.corrector)
        if spec is None:
            findings.append(Finding(f"route {rule.name}", False, f"the corrector {rule.corrector!r} is not installed"))
            continue
        try:
            method, _ = resolve(spec, rule.method, rule.parameters)
            findings.append(Finding(f"route {rule.name}", True, f"{spec.name} {method}"))
        except NodeError as error:
            findings.append(Finding(f"route {rule.name}", False, str(error)))
    return findings


def _storage(config: Config) -> list[Finding]:
    data_dir = config.node.data_dir.resolve()
    existing = next(p for p in (data_dir, *data_dir.parents) if p.exists())
    free_mb = shutil.disk_usage(existing).free / 1e6
    enough = free_mb >= config.node.min_free_mb
    findings = [Finding("disk", enough, f"{free_mb:.0f} MB free at {data_dir}, {config.node.min_free_mb:g} needed")]
    try:
        with open_database(config).read():
            findings.append(Finding("ledger", True, "opened"))
    except NodeError as error:
        findings.append(Finding("ledger", False, str(error)))
    return findings


def _peer(config: Config, name: str) -> Finding:
    peer = config.peers[name]
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        Sender(peer, config.node.ae_title).echo()
    except NodeError as error:
        return Finding(f"peer {name}", False, f"{where}: {error}")
    return Finding(f"peer {name}", True, f"{where} answers C-ECHO")
