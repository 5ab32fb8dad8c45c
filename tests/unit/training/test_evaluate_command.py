"""`evaluate`: which cases, which methods, and what comes out."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_case import SPEC, Lines, MemoryContext, Spots, image, moved
from PIL import Image

from dicom_node.errors import InputError, PluginError, RequestError, WeightsError
from training import methods
from training.cases import patients_of, procedural_cases, real_cases
from training.commands import evaluate, evaluate_run
from training.metrics import figures


@pytest.fixture(autouse=True)
def _spots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate_run, "subject_of", lambda name: Spots())


def run(context: MemoryContext, out: Path, *words: str) -> tuple[dict, Lines, str]:
    """Document, output and report."""
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    output = Lines()
    evaluate_run.run(context, parser.parse_args(["spots", "--out", str(out), *words]), output)
    told = json.loads((out / "report.json").read_text())
    assert output.documents == [told]
    return told, output, (out / "report.md").read_text()


def test_methods_beside_each_other_on_procedural_patients(tmp_path: Path) -> None:
    told, output, report = run(MemoryContext(), tmp_path, "--cases", "3", "--seed", "4", "--methods", "poor,good")
    assert [method["name"] for method in told["methods"]] == ["poor", "good", "uncorrected"]
    assert told["reference"] == "poor"
    assert len({case["patient"] for case in told["cases"]}) == 3
    mean = {name: figures["rmse"]["mean"] for name, figures in told["summary"]["image"].items()}
    assert mean["good"] < mean["poor"] < mean["uncorrected"]
    gain = told["differences"]["image"]["good"]["rmse"]
    assert gain["low"] <= gain["mean"] <= gain["high"] < 0
    assert gain["mean"] == pytest.approx(mean["good"] - mean["poor"])
    assert "poor" not in told["differences"]["image"]
    tests = told["rank_tests"]["image"]["psnr_db"]
    assert tests["mean_ranks"] == {"poor": 2.0, "good": 1.0, "uncorrected": 3.0}
    assert {frozenset(pair["methods"]) for pair in tests["nemenyi_p"]} >= {frozenset(("poor", "good"))}
    assert "| good |" in report and "Friedman" in report
    assert next(iter(output.tables.values()))[0][0] == "poor"
    assert output.told[-1] == ("evaluating", 3, 3)


def test_a_figure_is_the_mean_over_judged_slices_outside_the_exclusion(tmp_path: Path) -> None:
    told, _, _ = run(MemoryContext(), tmp_path, "--cases", "1", "--methods", "good")
    (made,) = procedural_cases(Spots(), count=1, scenario="plain", seed=0).cases()
    measured = ~made.case.excluded["image"]
    truth, artefact = made.case.truth["image"].pixels, made.case.artefact["image"].pixels
    expected = [figures(artefact[z], truth[z], window=(0, 1000), measured=measured[z]) for z in (1, 2)]
    own = told["cases"][0]["figures"]["image"]["uncorrected"]
    for name in ("rmse", "psnr_db", "ssim", "vif", "vif_z"):
        assert own[name] == pytest.approx(np.mean([getattr(one, name) for one in expected]))
    assert told["cases"][0]["slices"] == [1, 2]
    assert told["measured"]["image"]["data_range"] == 1000
    assert told["summary"]["image"]["good"]["rmse"]["sd"] is None
    assert told["differences"]["image"]["uncorrected"]["rmse"]["low"] is None


def test_the_printed_command_makes_the_same_figures(tmp_path: Path) -> None:
    told, _, report = run(MemoryContext(), tmp_path / "a", "--cases", "2", "--seed", "9", "--scenario", "strong")
    words = shlex.split(told["reproduce"]["command"])
    assert words[:3] == ["dicom-node", "evaluate", "spots"]
    assert told["reproduce"]["command"] in report
    again, _, _ = run(
        MemoryContext(), tmp_path / "b", *[w for w in words[3:] if w not in ("--out", str(tmp_path / "a"))]
    )
    assert again["summary"] == told["summary"]
    assert again["differences"] == told["differences"]
    other, _, _ = run(MemoryContext(), tmp_path / "c", "--cases", "2", "--seed", "10", "--scenario", "strong")
    assert other["summary"] != told["summary"]


def test_refusals_and_no_change_count_as_uncorrected_and_are_told(tmp_path: Path) -> None:
    told, output, report = run(MemoryContext(), tmp_path, "--cases", "1", "--methods", "good,none,shy")
    (case,) = told["cases"]
    assert case["notes"] == {"none": "unchanged: no spot found", "shy": "refused: too many spots"}
    own = case["figures"]["image"]
    assert own["none"] == own["shy"] == own["uncorrected"] != own["good"]
    assert {m["name"]: m["uncorrected_cases"] for m in told["methods"]}["shy"] == 1
    assert "too many spots" in report
    assert any("too many spots" in line for line in output.lines)


def test_all_methods_by_default_but_those_without_weights(tmp_path: Path) -> None:
    told, _, report = run(MemoryContext(), tmp_path, "--cases", "1")
    assert [method["name"] for method in told["methods"]] == ["good", "poor", "none", "shy", "uncorrected"]
    assert {"what": "method net", "reason": "spots/net needs a weights package, and none is installed"} in told[
        "left_out"
    ]
    assert "needs a weights package" in report
    with pytest.raises(WeightsError, match="none is installed"):
        run(MemoryContext(), tmp_path, "--cases", "1", "--methods", "net")


def test_weights_of_ones_own_and_their_digest(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "model.safetensors").write_bytes(b"weights")
    told, _, _ = run(
        MemoryContext(), tmp_path / "out", "--cases", "1", "--methods", "net", "--weights", f"net={package}"
    )
    assert told["methods"][0]["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert f"net={package}" in shlex.split(told["reproduce"]["command"])
    assert methods.chosen(SPEC, ["net"], {})[0].weights_sha256 == "ab" * 32


def test_real_patients_take_turns_and_unusable_ones_are_told(tmp_path: Path) -> None:
    images = [image(1, "p"), image(2, "p"), image(3, "q"), image(4, "r", unusable=True)]
    context = MemoryContext({"data": images})
    told, output, _ = run(context, tmp_path, "--data", "data", "--cases", "5", "--methods", "good")
    owners = [case["patient"] for case in told["cases"]]
    assert sorted((owners.count("image1"), owners.count("image3"))) == [2, 3]
    assert owners == sorted(owners, key=owners.index)  # those of one patient follow one another
    assert len({case["seed"] for case in told["cases"]}) == 5
    assert {"what": "image4", "reason": "it has a spot already"} in told["left_out"]
    assert {"what": "scout", "reason": "Modality is not MR"} in told["left_out"]
    assert ["image4", "it has a spot already"] in output.tables["Left out"]
    assert context.loaded_tags[0] == ("EchoTime", "ProtocolName")


def test_an_image_without_a_known_patient_is_its_own() -> None:
    patients = patients_of(MemoryContext({"data": [image(1), image(2, "p")]}), [Path("data")])
    assert [patient for patient, _ in patients.images] == ["image1", "image2"]


def test_a_patient_is_called_by_the_first_of_his_series() -> None:
    """Two series of one patient, one of them found twice."""
    images = [image(1, "p"), image(2, "q"), image(3, "p")]
    Path("more").mkdir()
    context = MemoryContext({"data": images, "more": [images[2], image(4, "q")]})
    patients = patients_of(context, [Path("data"), Path("more")])
    assert [(patient, found.label) for patient, found in patients.images] == [
        ("image1", "image1"), ("image2", "image2"), ("image1", "image3"), ("image2", "image4"),
    ]  # fmt: skip


def test_a_data_sheet_says_that_each_series_is_a_patient() -> None:
    Path("sheet.yaml").write_text("folders: [{path: data, patient_is: series}]")
    patients = patients_of(MemoryContext({"data": [image(1, "p"), image(2, "p")]}), [Path("sheet.yaml")])
    assert [patient for patient, _ in patients.images] == ["image1", "image2"]


def test_a_series_that_serves_stands_in_for_another_of_the_patient() -> None:
    context = MemoryContext({"data": [image(n, "p", unusable=n != 3) for n in range(5)]})
    source = real_cases(context, Spots(), SPEC, patients_of(context, [Path("data")]), count=2, scenario="plain", seed=0)
    assert [case.name for case in source.cases()] == ["image3-1", "image3-2"]


def test_data_without_a_usable_image_is_an_error(tmp_path: Path) -> None:
    context = MemoryContext({"data": [image(4, unusable=True)]})
    with pytest.raises(InputError, match="image4: it has a spot already"):
        run(context, tmp_path, "--data", "data")


def pairs(folder: Path, names: dict[str, list]) -> MemoryContext:
    """A context in which `folder/CASE/NAME` holds these images."""
    for name in names:
        (folder / name).mkdir(parents=True)
    return MemoryContext({str(folder / name): images for name, images in names.items()})


def spotted(seed: int, patient: str = "") -> tuple:
    case = Spots().simulate({"image": image(seed).volume}, scenario="plain", seed=seed)
    truth = image(seed, patient)
    artefact = image(seed + 100, patient)
    return type(artefact)(case.artefact["image"], None, "a", patient), truth


def test_given_pairs_are_matched_by_where_they_lie(tmp_path: Path) -> None:
    first, truth = spotted(1, "p")
    second, other = spotted(2, "p")
    context = pairs(
        tmp_path / "pairs",
        {
            "one/artefact": [first], "one/truth": [moved(truth, 5), truth],
            "two/artefact": [second], "two/truth": [other],
        },
    )  # fmt: skip
    told, _, _ = run(context, tmp_path / "out", "--pairs", str(tmp_path / "pairs"), "--methods", "good")
    assert [(case["name"], case["patient"], case["seed"]) for case in told["cases"]] == [
        ("one", "one", None),
        ("two", "one", None),
    ]
    assert told["reproduce"]["kind"] == "pairs"
    assert "--pairs" in told["reproduce"]["command"] and "--scenario" not in told["reproduce"]["command"]
    single = pairs(tmp_path / "alone", {"artefact": [first], "truth": [truth]})
    told, _, _ = run(single, tmp_path / "out2", "--pairs", str(tmp_path / "alone"), "--methods", "good")
    assert [case["name"] for case in told["cases"]] == ["alone"]


def test_what_is_wrong_with_a_pair_names_its_case(tmp_path: Path) -> None:
    artefact, truth = spotted(1)
    wrong = {
        "moved": ([artefact], [moved(truth, 5)], "case moved: truth must hold one series on the grid"),
        "twice": ([artefact], [truth, truth], "case twice: truth must hold one series .* it holds 2 of 2"),
        "shorter": ([artefact], [image(1, slices=3)], "case shorter: truth must hold"),
        "empty": ([], [truth], "case empty: nothing that spots takes"),
        "many": ([artefact, artefact], [truth], "case many: artefact holds 2 input sets"),
        "spotless": ([truth], [truth], "case spotless: there is no spot"),
    }
    for name, (left, right, message) in wrong.items():
        context = pairs(tmp_path / name, {f"{name}/artefact": left, f"{name}/truth": right})
        with pytest.raises(InputError, match=message):
            run(context, tmp_path / "out", "--pairs", str(tmp_path / name))
    (tmp_path / "half" / "one" / "artefact").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"case one: there is no folder .*truth"):
        run(MemoryContext(), tmp_path / "out", "--pairs", str(tmp_path / "half"))
    (tmp_path / "none").mkdir()
    with pytest.raises(RequestError, match="holds no case"):
        run(MemoryContext(), tmp_path / "out", "--pairs", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "best"], "has no method 'best'"),
        (["--methods", "good,good"], "named twice"),
        (["--weights", "good"], "needs METHOD=DIR"),
        (["--methods", "poor", "--weights", "good=x"], "not among the methods compared"),
        (["--scenario", "odd"], "no scenario 'odd'; there is: plain, strong"),
        (["--cases", "0"], "--cases must be 1"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--pairs", "x", "--cases", "2"], "do not go with it"),
        (["--pairs", "nowhere"], "nowhere is no folder"),
    ],
)
def test_requests_that_are_wrong(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        run(MemoryContext(), tmp_path, *words)


def test_a_missing_weights_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        run(MemoryContext(), tmp_path, "--methods", "net", "--weights", f"net={tmp_path / 'gone'}")


@pytest.mark.parametrize("spoil", ["shape", "nan"])
def test_a_method_that_makes_nonsense_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    class Broken:
        def correct(self, inputs):
            made = image(1, slices=3 if spoil == "shape" else 4).volume
            if spoil == "nan":
                made = made.with_pixels(np.full(made.shape, np.nan))
            return methods_correction(made)

    def methods_correction(made):
        from dicom_node.contracts import Correction

        return Correction(changed=True, volumes={"image": made})

    monkeypatch.setattr(MemoryContext, "build", lambda self, *args, **options: Broken())
    with pytest.raises(PluginError, match="method good made"):
        run(MemoryContext(), tmp_path, "--cases", "1", "--methods", "good")


def test_pictures_hold_every_case(tmp_path: Path) -> None:
    told, _, report = run(MemoryContext(), tmp_path, "--cases", "7", "--methods", "good")
    assert told["pictures"] == ["sheet-image-1.png", "sheet-image-2.png"]
    assert "![sheet-image-2.png](sheet-image-2.png)" in report
    with Image.open(tmp_path / "sheet-image-1.png") as first, Image.open(tmp_path / "sheet-image-2.png") as second:
        assert first.height > 5 * second.height * 0.9


def test_the_command_itself_needs_no_torch() -> None:
    code = "import sys, training.commands.evaluate, training.commands.simulate; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
