"""Whatever happens, a command ends with a message and a status, never a traceback; `--json` is always one document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_a_fault_of_the_node_is_told_without_its_text(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("CANARY^NAME")

    monkeypatch.setattr("dicom_node.commands.route.discover", broken)
    result = run("route", tmp_path, "--json")
    assert result.status == 1
    assert result.document["code"] == "ValueError"
    assert "test_command_faults.py" in result.err
    assert "CANARY" not in result.out + result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("arguments", [("correct", "--json"), ("route", "--nonsense", "--json"), ("nothing", "--json")])
def test_wrong_arguments_are_a_document_too(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.status == 2
    assert result.document["code"] == "UsageError"
    assert result.err


@pytest.mark.parametrize("command", ["check", "serve", "route"])
def test_a_misspelt_dicom_keyword_is_told_with_its_place_before_anything_starts(
    run: Run, tmp_path: Path, command: str
) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("routes:\n  - {name: a, when: {Modalty: CT}, corrector: hipct}\n")
    inputs = [tmp_path] if command == "route" else []
    result = run(command, *inputs, "--config", config)
    assert result.status == 2
    assert f"{config}:2:22: route 'a': 'Modalty' is no DICOM keyword; did you mean Modality?" in result.err
