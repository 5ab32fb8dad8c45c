"""Evaluation of a corrector whose input has bins and whose truth has none: rows, regions, ratios, pairs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bins_case import Bins, BinsContext, combined
from evaluation_case import Lines, MemoryContext, Spots, image
from PIL import Image

from dicom_node.contracts import ReadImage, Volume
from dicom_node.errors import InputError, PluginError
from training import metrics
from training.cases import procedural_cases
from training.commands import evaluate, evaluate_run
from training.subject import SimulatedCase

REGIONS = {"near_nrmse", "near_ssim", "far_nrmse", "far_ssim"}


def run(
    subject: Spots, out: Path, monkeypatch: pytest.MonkeyPatch, *words: str, context: MemoryContext | None = None
) -> tuple[dict, Lines, str]:
    monkeypatch.setattr(evaluate_run, "subject_of", lambda name: subject)
    parser, output = argparse.ArgumentParser(), Lines()
    evaluate.configure(parser)
    evaluate_run.run(context or BinsContext(), parser.parse_args(["spots", "--out", str(out), *words]), output)
    return json.loads((out / "report.json").read_text()), output, (out / "report.md").read_text()


def test_what_is_shown_stands_for_uncorrected_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _, _ = run(Bins(), tmp_path, monkeypatch, "--cases", "1", "--methods", "mean,shy")
    (made,) = procedural_cases(Bins(), count=1, scenario="plain", seed=0).cases()
    truth, shown = made.case.truth["plus"].pixels, combined(made.case.artefact["plus"]).pixels
    measured = ~made.case.excluded["plus"]
    expected = np.mean([metrics.rmse(shown[z], truth[z], measured=measured[z]) for z in (1, 2)])
    own = told["cases"][0]["figures"]["plus"]
    assert own["shy"] == own["uncorrected"]
    assert own["uncorrected"]["rmse"] == pytest.approx(expected)
    assert own["mean"]["rmse"] == pytest.approx(expected / np.sqrt(2), rel=0.1)


def test_a_correction_must_have_the_shape_of_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match=r"method raw made plus of shape \(3, 4, 48, 48\), not \(4, 48, 48\)"):
        run(Bins(), tmp_path, monkeypatch, "--cases", "1", "--methods", "raw")
    monkeypatch.setattr(Bins, "shown", lambda self, artefact: artefact)
    with pytest.raises(InputError, match="plus shows"):
        run(Bins(), tmp_path, monkeypatch, "--cases", "1", "--methods", "mean")


def test_references_are_rows_without_seconds_and_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Bins(), tmp_path, monkeypatch, "--cases", "3", "--methods", "mean,smooth")
    assert told["references"] == ["oracle"]  # only the first case has the other
    assert [method["name"] for method in told["methods"]] == ["mean", "smooth", "uncorrected"]
    for part in (told["summary"]["plus"], told["cases"][0]["figures"]["plus"]):
        assert list(part) == ["mean", "smooth", "uncorrected", "oracle"]
    assert told["summary"]["plus"]["oracle"]["rmse"]["mean"] == pytest.approx(1, rel=1e-3)
    assert told["differences"]["plus"]["oracle"]["rmse"]["high"] < 0
    assert set(told["rank_tests"]["plus"]["rmse"]["mean_ranks"]) == {"mean", "smooth", "uncorrected"}
    assert "oracle" not in told["cases"][0]["seconds_per_slice"]
    assert "| oracle |" in report and "seldom" not in report
    assert next(iter(output.tables.values()))[-1][0] == "oracle"
    without, _, _ = run(Spots(), tmp_path / "spots", monkeypatch, "--methods", "good,poor", context=MemoryContext())
    assert without["references"] == []
    with Image.open(tmp_path / "sheet-plus-1.png") as ours, Image.open(tmp_path / "spots/sheet-image-1.png") as other:
        assert ours.width == pytest.approx(other.width * 5 / 4)  # artefact, two methods, truth, and the oracle


@pytest.mark.parametrize(
    ("name", "slices", "message"),
    [("mean", 4, "is called 'mean', as a method is"), ("oracle", 3, "oracle of plus has")],
)
def test_references_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, slices: int, message: str
) -> None:
    class Odd(Bins):
        def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
            case = super().simulate(clean, scenario=scenario, seed=seed)
            return replace(case, references={name: {"plus": image(1, slices=slices).volume}})

    with pytest.raises(PluginError, match=message):
        run(Odd(), tmp_path, monkeypatch, "--cases", "1", "--methods", "mean")


def test_figures_by_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Bins(), tmp_path, monkeypatch, "--cases", "2", "--methods", "mean")
    made = next(iter(procedural_cases(Bins(), count=1, scenario="plain", seed=0).cases())).case
    truth, shown = (one.pixels[1:3].astype(np.float64) for one in (made.truth["plus"], combined(made.artefact["plus"])))
    judged = made.regions["near"]["plus"][1:3] & ~made.excluded["plus"][1:3]
    own = told["cases"][0]["figures"]["plus"]["uncorrected"]
    error = np.sqrt(np.mean((shown - truth)[judged] ** 2))
    assert own["near_nrmse"] == pytest.approx(error / np.sqrt(np.mean(truth[judged] ** 2)))
    assert own["far_nrmse"] < 0.3 * own["near_nrmse"]
    assert own["near_ssim"] < own["ssim"] < own["far_ssim"] < 1
    for kind in ("summary", "differences"):
        assert set(told[kind]["plus"]["uncorrected"]) >= REGIONS
    assert told["rank_tests"]["plus"].keys() >= REGIONS
    titles = [title for title in output.tables if "by region" in title]
    assert len(titles) == 1 and len(output.tables[titles[0]][0]) == 1 + len(REGIONS)
    assert "NRMSE near" in report and "noise floor" not in report


def test_without_regions_nothing_is_said_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Spots(), tmp_path, monkeypatch, "--methods", "good", context=MemoryContext())
    assert not REGIONS & set(told["summary"]["image"]["good"])
    assert told["baseline"] is None and told["ratios"] == {}
    assert not any("region" in title for title in output.tables) and "NRMSE" not in report


def test_ratios_to_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, output, report = run(Bins(), tmp_path, monkeypatch, "--cases", "3", "--methods", "smooth,mean")
    assert told["baseline"] == "mean"
    ratios = told["ratios"]["plus"]
    assert set(ratios) == {"smooth", "uncorrected", "oracle"}
    figures = [case["figures"]["plus"] for case in told["cases"]]
    logs = [np.log(one["smooth"]["near_nrmse"] / one["mean"]["near_nrmse"]) for one in figures]
    assert ratios["smooth"]["near_nrmse"] == pytest.approx(np.exp(np.mean(logs)))
    assert ratios["smooth"]["near_lower"] == 1 and ratios["uncorrected"]["near_lower"] == 0
    ours, theirs = (np.mean([one[name]["near_ssim"] for one in figures]) for name in ("smooth", "mean"))
    assert ratios["smooth"]["near_gap_closed"] == pytest.approx(1 - (1 - ours) / (1 - theirs))
    assert ratios["uncorrected"]["near_gap_closed"] < 0 < ratios["smooth"]["near_gap_closed"]
    assert ratios["uncorrected"]["far_nrmse"] == pytest.approx(np.sqrt(2), rel=0.1)
    rows = output.tables["plus, against mean"]
    assert [row[0] for row in rows] == ["smooth", "uncorrected", "oracle"] and rows[0][2] == "100%"
    assert "Against `mean`" in report
    alone, output, report = run(Bins(), tmp_path, monkeypatch, "--cases", "1", "--methods", "smooth")
    assert alone["baseline"] is None and alone["ratios"] == {}
    assert "plus, against mean" not in output.tables and "Against `mean`" not in report


def test_lesions_in_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Bins(lesions=True)
    told, output, report = run(subject, tmp_path, monkeypatch, "--cases", "2", "--methods", "mean,smooth")
    mean = {name: own.get("lesion_contrast") for name, own in told["summary"]["plus"].items()}
    assert mean["oracle"] is None  # there is none of the twin
    assert mean["mean"]["mean"] == pytest.approx(0, abs=1e-3)
    assert mean["uncorrected"]["mean"] == pytest.approx(0, abs=1e-3)
    assert -0.5 < mean["smooth"]["mean"] < -0.02
    assert "| oracle | - | - |" in report
    assert any("of lesions" in title for title in output.tables)


def test_a_given_pair_has_bins_on_one_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = procedural_cases(Bins(), count=1, scenario="plain", seed=3).cases()
    images = {role: ReadImage(one, None, role, "p") for role, one in made.case.artefact.items()}
    truth = ReadImage(made.case.truth["plus"], None, "truth", "p")
    for name in ("artefact", "truth"):
        (tmp_path / "pair" / name).mkdir(parents=True)

    def context(*truths: ReadImage) -> BinsContext:
        return BinsContext(
            {str(tmp_path / "pair/artefact"): list(images.values()), str(tmp_path / "pair/truth"): list(truths)}
        )

    words = ("--pairs", str(tmp_path / "pair"), "--methods", "mean")
    told, _, _ = run(Bins(), tmp_path, monkeypatch, *words, context=context(truth))
    assert 0 < told["summary"]["plus"]["mean"]["rmse"]["mean"] < told["summary"]["plus"]["uncorrected"]["rmse"]["mean"]
    two = replace(truth.volume, pixels=np.stack([truth.volume.pixels] * 2), axes="tzyx")
    with pytest.raises(InputError, match=r"the truth of plus has shape \(2, 4, 48, 48\), not \(3, 4, 48, 48\)"):
        run(Bins(), tmp_path, monkeypatch, *words, context=context(replace(truth, volume=two)))
