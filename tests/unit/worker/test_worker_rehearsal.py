"""The dry run that spares the first patient the loading of tables."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from dicom_node.worker import rehearsal
from dicom_node.worker.rehearsal import Rehearsal, rehearse


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(rehearsal.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def performances(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    given: list[str] = []
    monkeypatch.setattr(rehearsal, "rehearse", lambda: given.append("once"))
    return given


def test_it_derives_everything_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rehearse()
    printed = capsys.readouterr().out
    assert "rehearsed" in printed and "series=4" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    rehearse()
    assert "rehearsal_failed" in capsys.readouterr().out


def test_it_waits_for_an_idle_worker_and_comes_once(clock: list[float], performances: list[str]) -> None:
    one = Rehearsal()
    one.step(idle=True)
    assert performances == []
    clock[0] = 60.0
    for _ in range(3):
        one.step(idle=True)
    assert performances == ["once"]


def test_a_real_job_makes_it_needless(clock: list[float], performances: list[str]) -> None:
    one = Rehearsal()
    one.step(idle=False)
    clock[0] = 60.0
    one.step(idle=True)
    assert performances == []
