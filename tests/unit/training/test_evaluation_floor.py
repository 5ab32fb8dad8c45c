"""Figures against a noise floor in an evaluation: there where they can be, absent where not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_case import Lines, MemoryContext, Spots

from dicom_node.contracts import Units, Volume
from training.commands import evaluate, evaluate_run
from training.lesions import LesionTwin
from training.subject import Scale, SimulatedCase

FLOORED = {"excess", "streak"}
LESIONS = {"lesion_contrast", "lesion_worst"}


class Floored(Spots):
    """Spots as CT: noise of 10 HU everywhere, an error of 40 HU on top; in every second case."""

    scales: Mapping[str, Scale] = {"image": Scale(Units.HU, (0.0, 1000.0), (0.0, 800.0), 200.0)}

    def __init__(self, *, every: int = 1, lesions: bool = False) -> None:
        self.every, self.lesions, self.made = every, lesions, 0

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        case = super().simulate(clean, scenario=scenario, seed=seed)
        self.made += 1
        if self.made % self.every:
            return case
        truth = case.truth["image"]
        floor = truth.pixels + np.random.default_rng(seed).normal(0, 10, truth.shape).astype(np.float32)
        case = replace(case, floor={"image": truth.with_pixels(floor)})
        return replace(case, twin=self._twin(case)) if self.lesions else case

    def _twin(self, case: SimulatedCase) -> LesionTwin:
        labels = np.zeros(case.truth["image"].shape, np.int32)
        labels[1:3, 28:34, 28:34] = 1
        artefact, truth = (
            {"image": image.with_pixels(image.pixels - 40 * (labels > 0))}
            for image in (case.artefact["image"], case.truth["image"])
        )
        return LesionTwin(artefact, truth, {"image": labels})


def run(subject: Floored, out: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[dict, Lines, str]:
    monkeypatch.setattr(evaluate_run, "subject_of", lambda name: subject)
    parser, output = argparse.ArgumentParser(), Lines()
    evaluate.configure(parser)
    evaluate_run.run(MemoryContext(), parser.parse_args(["spots", "--out", str(out), *words]), output)
    return json.loads((out / "report.json").read_text()), output, (out / "report.md").read_text()


def test_excess_is_what_the_floor_leaves_of_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Floored(), tmp_path, monkeypatch, "--cases", "3", "--methods", "good,poor")
    for case in told["cases"]:
        floor, own = case["floor"]["image"], case["figures"]["image"]["uncorrected"]
        assert floor["rmse"] == pytest.approx(10, rel=0.1)
        assert own["excess"] < own["rmse"]
        assert own["excess"] > 0.7 * np.sqrt(own["rmse"] ** 2 - floor["rmse"] ** 2)  # one clipped, one not
    for kind in ("summary", "differences"):
        assert set(told[kind]["image"]["poor"]) >= FLOORED
    assert told["differences"]["image"]["uncorrected"]["excess"]["low"] > 0
    assert told["rank_tests"]["image"]["excess"]["mean_ranks"]["good"] == 1
    assert "excess error (HU)" in report and "clipped to 0..1000" in report
    assert any("noise floor" in title for title in output.tables)
    assert not LESIONS & set(told["summary"]["image"]["good"])


def test_a_figure_counts_the_cases_that_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _, report = run(Floored(every=2), tmp_path, monkeypatch, "--cases", "4", "--methods", "good")
    assert told["summary"]["image"]["good"]["excess"]["cases"] == 2
    assert told["summary"]["image"]["good"]["rmse"]["cases"] == 4
    assert [bool(case["floor"]["image"]) for case in told["cases"]] == [False, True, False, True]
    assert "| - |" in report


def test_without_a_floor_nothing_is_said_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Floored(every=9), tmp_path, monkeypatch, "--cases", "2", "--methods", "good")
    assert set(told["summary"]["image"]["good"]) == {"psnr_db", "ssim", "rmse", "vif", "vif_z"}
    assert "noise floor" not in report and not any("noise floor" in title for title in output.tables)


def test_lesions_are_told_by_what_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _, report = run(Floored(lesions=True), tmp_path, monkeypatch, "--cases", "2", "--methods", "good,poor,none")
    mean = {name: own["lesion_contrast"]["mean"] for name, own in told["summary"]["image"].items()}
    assert mean["none"] == mean["uncorrected"] == pytest.approx(0, abs=1e-3)
    assert -0.5 < mean["good"] < mean["poor"] < -0.005
    worst = told["cases"][0]["figures"]["image"]["good"]["lesion_worst"]
    assert worst >= abs(told["cases"][0]["figures"]["image"]["good"]["lesion_contrast"])
    assert "worst lesion" in report
