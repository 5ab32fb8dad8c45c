"""What an operator asks on the command line, for people and for machines: `jobs`, `check`, `weights`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from dicom_node.commands.application import app
from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import load_config
from dicom_node.contracts import FileRef
from dicom_node.errors import GuardViolation
from dicom_node.jobs import JobInput, NewJob
from dicom_node.testing.peer import ScriptedScp

Run = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": str(tmp_path / "var"), "min_free_mb": 0}}))
    return path


def submit(config: Path, name: str, *, dead: bool = False) -> str:
    """A job in the ledger, waiting or dead after a guard."""
    loaded = load_config(config)
    inputs = (JobInput("ct", f"1.2.{name}", f"1.3.{name}", FileRef(Path(f"/a/{name}.dcm")), "ab" * 32, {}),)
    new = NewJob("hip", "hipct", "li", {}, (), inputs, set_key=name, input_digest=name)
    ledger = make_ledger(loaded)
    with closing(open_database(loaded)) as database, database.begin() as tx:
        job = ledger.submit(tx, new, 1_700_000_000.0)
        assert job is not None
        if dead:
            lease = ledger.lease(tx, "w", 60, 1_700_000_001.0)
            assert lease is not None
            ledger.failed(tx, lease, GuardViolation("corrector hipct: values are not finite"), 1_700_000_002.0)
    return job.id


def test_jobs_are_listed_shown_retried_and_cancelled(run: Run, config: Path) -> None:
    dead, waiting = submit(config, "1", dead=True), submit(config, "2")
    where = ("--config", config, "--json")
    listed = {j["id"]: j for j in run("jobs", "list", *where).document["jobs"]}
    assert (listed[dead]["state"], listed[waiting]["state"]) == ("DEAD", "QUEUED")
    assert listed[dead]["error_code"] == "GuardViolation"
    assert [j["id"] for j in run("jobs", "list", "--state", "DEAD", *where).document["jobs"]] == [dead]
    shown = run("jobs", "show", dead[:12], *where).document
    assert (shown["id"], shown["source_series"], shown["inputs"]) == (dead, ["1.3.1"], 1)
    assert "not finite" in shown["error"]
    assert [(e["from"], e["to"]) for e in shown["events"]][-1] == ("LEASED", "DEAD")
    assert run("jobs", "retry", dead, *where).document["state"] == "QUEUED"
    assert run("jobs", "cancel", waiting, *where).document["state"] == "CANCELLED"
    table = run("jobs", "list", "--config", config)
    assert "CANCELLED" in table.out and "QUEUED" in table.out
    assert "not finite" in run("jobs", "show", dead, "--config", config).out


def test_without_a_configuration_the_ledger_of_the_default_folder_is_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOM_NODE_CONFIG", raising=False)
    nothing = run("jobs", "list")
    assert nothing.status == 2
    assert "no ledger" in nothing.err
    (tmp_path / "default.yaml").write_text("")
    job = submit(tmp_path / "default.yaml", "1")
    assert [j["id"] for j in run("jobs", "list", "--json").document["jobs"]] == [job]


def test_what_cannot_be_steered_is_said(run: Run, config: Path) -> None:
    waiting = submit(config, "1")
    unknown = run("jobs", "show", "ffff", "--config", config)
    assert unknown.status == 2
    assert "no job" in unknown.err
    already = run("jobs", "retry", waiting, "--config", config, "--json")
    assert already.status == 1
    assert "QUEUED" in already.document["error"]


def test_check_names_each_finding_and_fails_with_the_peer(run: Run, config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    with ScriptedScp(ae_title="PACS") as pacs:
        settings["peers"] = {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port, "timeout_s": 5}}
        config.write_text(yaml.safe_dump(settings))
        good = run("check", "--config", config, "--json")
        assert good.status == 0, good.out
        findings = {f["what"]: f["ok"] for f in good.document["findings"]}
        assert {"configuration", "corrector hipct", "disk", "ledger", "peer pacs"} <= set(findings)
        assert all(findings.values())
    settings["routes"] = [{"name": "hip", "corrector": "hipct", "method": "magic"}]
    config.write_text(yaml.safe_dump(settings))
    bad = run("check", "--config", config, "--json")
    assert bad.status == 1
    failed = {f["what"]: f["detail"] for f in bad.document["findings"] if not f["ok"]}
    assert set(failed) == {"peer pacs", "route hip"}
    assert "magic" in failed["route hip"]
    assert "FAILED" in run("check", "--config", config).out


def test_weights_are_listed_and_verified(run: Run) -> None:
    listed = run("weights", "list", "--json")
    assert listed.status == 0
    assert ("hipct", "classical") in {(p["corrector"], p["method"]) for p in listed.document["without_weights"]}
    assert run("weights", "verify", "--json").document["ok"] is True


def _leaves(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    below = getattr(command, "commands", None)
    if below is None:
        return {path: command}
    return {k: v for name, sub in below.items() for k, v in _leaves(sub, (*path, name)).items()}


def test_every_command_speaks_json() -> None:
    commands = _leaves(typer.main.get_command(app))
    silent = [" ".join(path) for path, c in commands.items() if "--json" not in {o for p in c.params for o in p.opts}]
    assert len(commands) >= 10
    assert silent == []


def test_off_a_terminal_there_are_no_bars(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    result = run("route", tmp_path / "in")
    assert re.search(r"\x1b|━|\r", result.out + result.err) is None
