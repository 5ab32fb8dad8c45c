"""`simulate`: where artefact and truth are written, and like what."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from bins_case import Bins, BinsContext
from evaluation_case import Lines, MemoryContext, Spots, image

from dicom_node.errors import InputError, RequestError
from training.commands import simulate, simulate_run


@pytest.fixture(autouse=True)
def _spots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(simulate_run, "subject_of", lambda name: Spots())


def run(context: MemoryContext, out: Path, *words: str) -> tuple[dict, Lines]:
    parser = argparse.ArgumentParser()
    simulate.configure(parser)
    output = Lines()
    simulate_run.run(context, parser.parse_args(["spots", "data", "--out", str(out), *words]), output)
    return output.documents[0], output


def test_one_image_becomes_artefact_and_truth_with_its_own_headers(tmp_path: Path) -> None:
    template = object()
    clean = image(1, template=template)
    context = MemoryContext({"data": [clean, image(2, unusable=True)]})
    told, output = run(context, tmp_path, "--seed", "5")
    assert set(context.written) == {tmp_path / "artefact", tmp_path / "truth"}
    assert np.array_equal(context.written[tmp_path / "truth"].pixels, clean.volume.pixels)
    artefact = context.written[tmp_path / "artefact"].pixels
    assert np.array_equal(artefact[0], clean.volume.pixels[0]) and not np.array_equal(
        artefact[1], clean.volume.pixels[1]
    )
    for written in context.writing:
        assert written["like"] is template
        assert written["tags"] == {"SeriesDescription": "spots"}
    assert len({written["seed"] for written in context.writing}) == 1
    assert told["left_out"][-1] == {"what": "image2", "reason": "it has a spot already"}
    assert told["cases"][0]["files"] == {"artefact": 4, "truth": 4}
    assert output.tables["Left out"][-1] == ["image2", "it has a spot already"]


def test_several_images_are_laid_out_as_evaluate_takes_them(tmp_path: Path) -> None:
    context = MemoryContext({"data": [image(1), image(2)]})
    told, _ = run(context, tmp_path, "--scenario", "strong")
    assert {folder.relative_to(tmp_path).as_posix() for folder in context.written} == {
        "image1/artefact", "image1/truth", "image2/artefact", "image2/truth",
    }  # fmt: skip
    assert told["scenario"] == "strong"
    seeds = [case["seed"] for case in told["cases"]]
    assert seeds[0] != seeds[1]
    assert all(written["like"] is None for written in context.writing)  # no template: a synthetic patient


def test_roles_keep_together_and_bins_have_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_run, "subject_of", lambda name: Bins())
    context = BinsContext({"data": [image(1, template=object())]})
    told, _ = run(context, tmp_path)
    written = {call["folder"].relative_to(tmp_path).as_posix(): call for call in context.writing}
    assert set(written) == {"artefact/plus", "artefact/minus", "truth"}
    assert written["artefact/plus"]["tags"] == {"SeriesDescription": "spots", "ProtocolName": "RO+"}
    assert written["artefact/minus"]["tags"] == {"SeriesDescription": "spots", "ProtocolName": "RO-"}
    assert written["truth"]["tags"] == {"SeriesDescription": "spots"}  # it is no input, of no polarity
    assert context.written[tmp_path / "artefact/plus"].shape[0] == 3
    assert all(call["like"] is None for call in context.writing)  # the truth would fit, but is of the same patient
    assert len({call["seed"] for call in context.writing}) == 1
    assert told["cases"][0]["files"] == {"artefact": 24, "truth": 4}


def test_the_same_seed_makes_the_same_voxels(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        context = MemoryContext({"data": [image(1)]})
        run(context, tmp_path / name, "--seed", seed)
        made.append(context.written[tmp_path / name / "artefact"].pixels)
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image3: it has a spot already"):
        run(MemoryContext({"data": [image(3, unusable=True)]}), tmp_path)


def test_what_an_earlier_run_wrote_is_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "0001.dcm").touch()
    context = MemoryContext({"data": [image(1)]})
    with pytest.raises(RequestError, match="truth is not empty"):
        run(context, tmp_path)
    assert not context.written


@pytest.mark.parametrize(("words", "message"), [(["--seed", "-2"], "negative"), (["--scenario", "odd"], "no scenario")])
def test_requests_that_make_no_sense(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        run(MemoryContext({"data": [image(1)]}), tmp_path, *words)
