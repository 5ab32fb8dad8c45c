"""`simulate` and `evaluate` through the node's own command line, reader, writer and routes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import Units, Volume
from simulation.implanted_ct import part
from simulation.phantoms import make_pelvis
from training.subjects.hipct import SUBJECT

HEADER = {"ImageType": ("DERIVED", "SECONDARY"), "BodyPartExamined": "CHEST", "SeriesDescription": "Thorax"}
"""As badly described as clean data may be: nothing of it would route to hip CT."""


def node(*words: str | Path, status: int = 0) -> Any:
    command = [sys.executable, "-m", "dicom_node.cli", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def hips(folder: Path, slices: int, seed: int) -> Volume:
    """A clean hip CT as DICOM, slices around the femoral heads."""
    pelvis = make_pelvis(seed=seed, slices=12, n_pixels=144, pixel_mm=3.0)
    here = slice(6, 6 + slices)
    volume = Volume(pelvis.hu[here], Units.HU, part(pelvis.geometry, here))
    NodeCommandContext().write(volume, folder, tags=HEADER, seed=seed)
    return volume


@pytest.mark.slow
def test_what_is_simulated_routes_to_the_corrector_and_is_evaluated(tmp_path: Path) -> None:
    hips(tmp_path / "clean" / "a", 3, seed=1)
    hips(tmp_path / "clean" / "b", 2, seed=2)
    (tmp_path / "clean" / "notes.txt").write_text("no image" * 40)
    told = node("simulate", "hipct", tmp_path / "clean", "--out", tmp_path / "pairs", "--seed", "7")
    assert len(told["cases"]) == 2
    assert [one["what"].endswith("notes.txt") for one in told["left_out"]] == [True]

    before = node("route", tmp_path / "clean")
    assert before["input_sets"] == []
    for case in told["cases"]:
        (routed,) = node("route", Path(case["folder"]) / "artefact")["input_sets"]
        assert routed["corrector"] == "hipct"

    out = tmp_path / "out"
    result = node("evaluate", "hipct", "--pairs", tmp_path / "pairs", "--methods", "li,nmar", "--out", out)
    assert {case["name"] for case in result["cases"]} == {case["name"] for case in told["cases"]}
    assert len({case["patient"] for case in result["cases"]}) == 2
    summary = result["summary"]["ct"]
    assert summary["li"]["rmse"]["mean"] < summary["uncorrected"]["rmse"]["mean"]
    assert result["differences"]["ct"]["uncorrected"]["rmse"]["low"] > 0
    with Image.open(out / result["pictures"][0]) as sheet:
        assert sheet.width > 500
    assert "| li |" in (out / "report.md").read_text()


def test_one_series_keeps_its_headers_and_its_truth(tmp_path: Path) -> None:
    context = NodeCommandContext()
    clean = hips(tmp_path / "clean", 2, seed=1)
    told = node("simulate", "hipct", tmp_path / "clean", "--out", tmp_path / "made", "--scenario", "crude")
    (source,) = context.read([tmp_path / "clean"])
    (artefact,) = context.read_roles([tmp_path / "made" / "artefact"], "hipct")
    (truth,) = context.read([tmp_path / "made" / "truth"])
    assert artefact["ct"].patient == truth.patient == source.patient
    assert truth.volume.geometry == source.volume.geometry
    metal = truth.volume.pixels >= 2500
    assert np.abs(truth.volume.pixels - source.volume.pixels)[~metal].max() <= 1
    assert metal.any(axis=(1, 2)).sum() == len(told["cases"][0]["slices"])
    assert clean.shape == truth.volume.shape
    node("simulate", "hipct", tmp_path / "clean", "--out", tmp_path / "made", status=2)  # not empty


def test_nifti_becomes_a_synthetic_patient(tmp_path: Path) -> None:
    volume = hips(tmp_path / "clean", 2, seed=1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine()  # NIfTI counts towards right and front
    data = np.transpose(volume.pixels, (2, 1, 0)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "ct.nii.gz")
    node("simulate", "hipct", tmp_path / "ct.nii.gz", "--out", tmp_path / "made", "--scenario", "crude")
    context = NodeCommandContext()
    (artefact,) = context.read_roles([tmp_path / "made" / "artefact"], "hipct")
    (truth,) = context.read([tmp_path / "made" / "truth"])
    assert artefact["ct"].volume.geometry.shape == truth.volume.geometry.shape == (2, 144, 144)


def test_an_artefact_of_the_subject_survives_the_way_through_dicom(tmp_path: Path) -> None:
    clean = replace(hips(tmp_path / "clean", 2, seed=1), tags={})
    case = SUBJECT.simulate(SUBJECT.clean(clean), scenario="crude", seed=3)
    context = NodeCommandContext()
    context.write(case.artefact["ct"], tmp_path / "made", tags=SUBJECT.routing_tags)
    (back,) = context.read_roles([tmp_path / "made"], "hipct")
    assert case.artefact["ct"].pixels.min() < -1024  # what a scanner of twelve bits could not store
    assert np.array_equal(back["ct"].volume.pixels, case.artefact["ct"].pixels)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "unheard"], "cannot be trained, simulated or evaluated"),
        (["evaluate", "hipct", "--methods", "worst"], "no method"),
        (["evaluate", "hipct", "--data", "nowhere"], "nowhere"),
        (["simulate", "hipct", "nowhere"], "nowhere"),
    ],
)
def test_wrong_requests_end_with_status_two(tmp_path: Path, words: list[str], message: str) -> None:
    told = node(*words, "--out", tmp_path / "out", status=2)
    assert message in told["error"]
