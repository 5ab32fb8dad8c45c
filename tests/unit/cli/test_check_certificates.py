"""What `dicom-node check` says of certificates, before a peer or a scanner is turned away because of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import Authority

Run = Callable[..., Any]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def findings(run: Run, folder: Path, **sections: Any) -> dict[str, dict[str, Any]]:
    """By what was looked at."""
    path = folder / "node.yaml"
    node = {"data_dir": str(folder / "var"), "min_free_mb": 1, **sections.pop("node", {})}
    path.write_text(yaml.safe_dump({"node": node, **sections}))
    return {f["what"]: f for f in run("check", "--config", path, "--json").document["findings"]}


@pytest.mark.parametrize(
    ("days", "ok", "warning", "says"),
    [(365, True, False, "valid until"), (20.5, True, True, "20 days left"), (-1, False, False, "expired on")],
)
def test_expiry_is_a_warning_in_time_and_a_failure_afterwards(
    run: Run, tmp_path: Path, authority: Authority, days: float, ok: bool, warning: bool, says: str
) -> None:
    node = authority.issue("node", days=days)
    files = {"certificate": node.certificate, "key": node.key, "client_ca": authority.certificate}
    found = findings(run, tmp_path, node={"tls": {name: str(path) for name, path in files.items()}})
    one = found["node.tls.certificate"]
    assert (one["ok"], one["warning"]) == (ok, warning)
    assert f"{node.certificate}: {says}" in one["detail"]
    assert found["node.tls.client_ca"]["ok"]


def test_a_file_that_is_wrong_is_named(run: Run, tmp_path: Path, authority: Authority) -> None:
    node, other = authority.issue("node"), authority.issue("other")
    missing = tmp_path / "missing.pem"
    peers = {
        "pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 9, "timeout_s": 1, "tls": {"ca": str(missing)}},
        "system": {"ae_title": "PACS", "host": "127.0.0.1", "port": 9, "timeout_s": 1, "tls": {}},
    }
    section = {"certificate": str(node.certificate), "key": str(other.key)}
    found = findings(run, tmp_path, node={"tls": section}, peers=peers)
    assert not found["node.tls"]["ok"]
    assert str(other.key) in found["node.tls"]["detail"]
    assert not found["peers.pacs.tls"]["ok"]
    assert str(missing) in found["peers.pacs.tls"]["detail"]
    assert found["peers.system.tls"]["ok"]
    assert str(missing) in found["peer pacs"]["detail"]


def test_serve_does_not_start_with_a_broken_certificate(run: Run, tmp_path: Path, authority: Authority) -> None:
    node = authority.issue("node")
    node.certificate.write_text("nothing")
    path = tmp_path / "node.yaml"
    section = {"certificate": str(node.certificate), "key": str(node.key)}
    path.write_text(yaml.safe_dump({"node": {"data_dir": str(tmp_path / "var"), "tls": section}}))
    ended = run("serve", "--config", path)
    assert ended.status == 2
    assert str(node.certificate) in ended.err
    assert not (tmp_path / "var").exists()
