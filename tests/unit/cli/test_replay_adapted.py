"""Replay of a series whose weights were fitted to the patient: it fits them again."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch

from correctors.common.fitting import FittingPlan
from correctors.hipct import paper_adaptation
from correctors.hipct.paper_adaptation import PaperAdaptation
from dicom_node.dicom.private_block import ADAPTED_WEIGHTS, PARAMETERS, WARNINGS, WEIGHTS, read_block

sys.path.append(str(Path(__file__).parents[1] / "correctors"))
sys.path.append(str(Path(__file__).parents[2] / "integration"))
import hip_study
from hip_weights import spoilt

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of seconds."""
    monkeypatch.setattr(PaperAdaptation, "plan", FittingPlan(steps=40, learning_rate=1e-3, warmup_steps=3, ema=0.5))
    monkeypatch.setattr(paper_adaptation, "EXAMPLES", 8)
    monkeypatch.setattr(paper_adaptation, "JUDGED", 3)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Nine slices, one of them with metal whose streaks are so strong that poor weights take some away, too."""
    values = hip_study.pelvis(9, (4,), 64)
    tissue = (values[4] > -900) & (values[4] < 550)
    values[4][tissue] = np.clip(40 + 4 * (values[4][tissue] - 40), -1000, 2000)
    replace(hip_study.hip_series(9, (4,), rows=64), values=values).write(tmp_path / "hip")
    return tmp_path / "hip"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return spoilt(tmp_path / "package")


@pytest.fixture
def derived(run: Run, sources: Path, package: Path, tmp_path: Path) -> Path:
    made = run(
        "correct", sources, "--out", tmp_path / "out", "--corrector", "hipct", "--method", "paper",
        "--weights", package, "--set", "adapt=patient", "--set", "n_angles=180", "--device", "cpu", "--json",
    )  # fmt: skip
    assert made.status == 0, made.out
    (image,) = (entry for entry in made.document["series"] if entry["role"] == "ct")
    assert image["changed"] is True
    assert image["metrics"]["adapted_slices"] == 6
    assert image["metrics"]["held_out_error_after_hu"] < image["metrics"]["held_out_error_before_hu"]
    return tmp_path / "out"


def test_it_agrees_to_the_last_bit(run: Run, derived: Path, sources: Path, package: Path) -> None:
    recorded = read_block(pydicom.dcmread(next(iter(derived.glob("*/ct/*")))))
    assert recorded[WEIGHTS.name] == hashlib.sha256((package / "model.safetensors").read_bytes()).hexdigest()
    assert '"adapt":"patient"' in recorded[PARAMETERS.name]
    fitted = recorded[ADAPTED_WEIGHTS.name]
    assert f"from the package {recorded[WEIGHTS.name][:12]}" in recorded[WARNINGS.name]
    assert fitted in recorded[WARNINGS.name]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)  # another number than it was made with
        result = run("replay", derived, "--sources", sources, "--weights", package, "--json")
    finally:
        torch.set_num_threads(before)
    assert result.status == 0, result.out
    assert {entry["role"] for entry in result.document["series"]} == {"ct", "map:change", "mask:metal", "report"}
    for entry in result.document["series"]:
        assert (entry["differing_pixels"], entry["tolerance"]) == (0, 0.0)
        assert entry["recorded_adapted_weights_sha256"] == entry["adapted_weights_sha256"] == fitted
    assert "CANARY" not in result.out + result.err


def test_another_outcome_of_fitting_is_told(
    run: Run, derived: Path, sources: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperAdaptation, "plan", FittingPlan(steps=39, learning_rate=1e-3, warmup_steps=3, ema=0.5))
    result = run("replay", derived, "--sources", sources, "--weights", package)
    assert result.status == 1
    said = " ".join(result.out.split())
    found = re.findall(
        r"paper: recorded are weights of SHA-256 (\w{64}) fitted .* gave weights of SHA-256 (\w{64})", said
    )
    assert len(found) == 1
    assert found[0][0] != found[0][1]
    assert "NOT every pixel agrees." in said
