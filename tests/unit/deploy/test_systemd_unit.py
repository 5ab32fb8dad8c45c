"""The service file: what systemd itself says of it, and that its figures fit the node's."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node import supervisor
from dicom_node.config import load_config
from dicom_node.config.sections import Config, NodeSection

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = FOLDER / "dicom-node.service"
DROP_INS = sorted(FOLDER.glob("*.conf"))


def settings(path: Path) -> dict[str, str]:
    """The `[Service]` section; the last of several equal keys counts here."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return dict(parser["Service"])


def complaints(program: Path, unit: Path) -> list[str]:
    """What `systemd-analyze verify` says of a unit; it would tell a journal where stderr is no terminal."""
    environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console"}
    command = [program, "verify", "--man=no", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = [line for line in result.stderr.splitlines() if "dicom-node" in line]
    assert found or result.returncode == 0, result.stderr
    return found


@pytest.fixture
def config() -> Config:
    return load_config(FOLDER / "node.yaml")


def test_the_service_waits_longer_than_the_node_drains(config: Config) -> None:
    stop_s = float(settings(UNIT)["TimeoutStopSec"])
    assert stop_s > max(config.node.drain_s, NodeSection().drain_s) + 30


def test_the_watchdog_is_more_patient_than_the_supervisor() -> None:
    period_s = float(settings(UNIT)["WatchdogSec"])
    assert period_s / 2 >= max(supervisor._HUNG_OTHERS_S, *supervisor._HUNG_S.values())
    assert float(settings(UNIT)["TimeoutStartSec"]) > supervisor._LATE_S


def test_the_node_writes_where_the_service_may(config: Config) -> None:
    found = settings(UNIT)
    assert found["ProtectSystem"] == "strict"
    assert config.node.data_dir == Path("/var/lib") / found["StateDirectory"]
    assert f"--config /etc/{found['ConfigurationDirectory']}/node.yaml" in found["ExecStart"]


def test_images_leave_before_senders_are_turned_away(config: Config) -> None:
    assert config.retention.start_below_free_mb is not None
    assert config.retention.start_below_free_mb > config.node.min_free_mb


def test_there_are_descriptors_for_every_association(config: Config) -> None:
    # a socket and a spool file each, with a reserve
    assert int(settings(UNIT)["LimitNOFILE"]) > 4 * config.intake.max_associations


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path.stem if path else "plain")
def test_systemd_finds_nothing_wrong(tmp_path: Path, drop_in: Path | None, need_program: Callable[..., Path]) -> None:
    program = need_program("systemd-analyze")
    ours = tmp_path / "bin" / "dicom-node"
    ours.parent.mkdir()
    ours.write_text("#!/bin/sh\n")
    ours.chmod(0o755)
    unit = tmp_path / UNIT.name
    # the program and the user of an installed node
    text = UNIT.read_text().replace("/opt/dicom-node/.venv/bin/dicom-node", str(ours))
    unit.write_text(text.replace("User=dicom-node", "User=root").replace("Group=dicom-node", "Group=root"))
    if drop_in is not None:
        folder = tmp_path / f"{UNIT.name}.d"
        folder.mkdir()
        shutil.copy(drop_in, folder)
    assert complaints(program, unit) == []


def test_systemd_would_see_a_mistake(tmp_path: Path, need_program: Callable[..., Path]) -> None:
    program = need_program("systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("ProtectSystem=strict", "ProtectSystem=stricter"))
    assert any("protect system" in line for line in complaints(program, unit))
