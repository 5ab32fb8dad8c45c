"""`dicom-node check`: configuration, plugins, weights, disk, ledger, certificates, peers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from dicom_node.commands.contributed import CommandGroup
from dicom_node.commands.output import JsonFlag, Output
from dicom_node.compose.ledger import open_database
from dicom_node.compose.routing import load_checked
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.net import tls
from dicom_node.net.sender import Sender
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import verify

_SOON_S: Final = 30 * 86_400
"""A certificate that expires within this time is a warning [s]."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; a warning is still ok."""

    what: str
    ok: bool
    detail: str
    warning: bool = False

    @property
    def verdict(self) -> str:
        """For people."""
        if self.ok:
            return "warning" if self.warning else "ok"
        return "FAILED"


def check(
    ctx: typer.Context,
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")],
    as_json: JsonFlag = False,
) -> None:
    """Check the configuration, plugins, weights, ledger, disk, certificates and peers (C-ECHO)."""
    output = Output(as_json)
    loaded = load_checked(config)
    catalogue = discover()
    findings = [
        Finding("configuration", True, str(config)),
        *_plugins(catalogue),
        *_commands(ctx),
        *_routes(loaded, catalogue),
        *_storage(loaded),
        *_certificates(loaded),
        *(_peer(loaded, name) for name in sorted(loaded.peers)),
    ]
    if not loaded.peers:
        findings.append(Finding("peers", True, "none configured: derived series stay in the outbox"))
    output.document({"ok": all(f.ok for f in findings), "findings": [vars(f) for f in findings]})
    output.table("Check", ["what", "", "detail"], [[f.what, f.verdict, f.detail] for f in findings])
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


def _commands(ctx: typer.Context) -> list[Finding]:
    """Commands of other packages that cannot be used; the node itself needs none of them."""
    group = ctx.find_root().command
    unusable = group.unusable() if isinstance(group, CommandGroup) else {}
    return [Finding(f"command {name}", True, reason, warning=True) for name, reason in sorted(unusable.items())]


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


def _certificates(config: Config) -> list[Finding]:
    findings = []
    if (node := config.node.tls) is not None:
        files = {"node.tls.certificate": node.certificate, "node.tls.client_ca": node.client_ca}
        findings += _section("node.tls", partial(tls.server_context, node), files)
    for name, peer in sorted(config.peers.items()):
        if peer.tls is not None:
            where = f"peers.{name}.tls"
            files = {f"{where}.certificate": peer.tls.certificate, f"{where}.ca": peer.tls.ca}
            findings += _section(where, partial(tls.client_context, peer.tls, where), files)
    return findings


def _section(where: str, load: Callable[[], object], files: dict[str, Path | None]) -> list[Finding]:
    try:
        load()
        return [_expiry(one) for one in tls.certificates(files)] or [Finding(where, True, "the system's authorities")]
    except NodeError as error:
        return [Finding(where, False, str(error))]


def _expiry(one: tls.Certificate) -> Finding:
    left_s = one.expires_at - time.time()
    day = datetime.fromtimestamp(one.expires_at, UTC).date().isoformat()
    if left_s < 0:
        return Finding(one.setting, False, f"{one.path}: expired on {day}")
    days = f"{left_s / 86_400:.0f} days left" if left_s < _SOON_S else f"valid until {day}"
    return Finding(one.setting, True, f"{one.path}: {days}", warning=left_s < _SOON_S)


def _peer(config: Config, name: str) -> Finding:
    peer = config.peers[name]
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        Sender(peer, config.node.ae_title).echo()
    except NodeError as error:
        return Finding(f"peer {name}", False, f"{where}: {error}")
    return Finding(f"peer {name}", True, f"{where} answers C-ECHO")
