"""`dicom-node correct` and `route` on files."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
import hip_study

from dicom_node.dicom import files
from dicom_node.errors import StorageFull

Run = Callable[..., Any]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    hip_study.write(tmp_path / "study", slices=5, metal_slices=(2,), rows=64)
    return tmp_path / "study"


def test_a_hip_with_metal_is_corrected_and_untouched_slices_are_identical(
    run: Run, study: Path, tmp_path: Path
) -> None:
    result = run("correct", study, "--out", tmp_path / "out", "--json")
    assert result.status == 0, result.err
    entries = result.document["series"]
    first = entries[0]
    assert (first["corrector"], first["method"], first["role"], first["changed"]) == ("hipct", "classical", "ct", True)
    assert {e["role"] for e in entries} >= {"ct", "mask:metal", "map:change", "report"}
    assert first["source_series"] == [hip_study.hip_series(rows=64).series_instance_uid]
    sources = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, sorted(study.iterdir()))}
    different = 0
    for name in first["files"]:
        image = pydicom.dcmread(name)
        assert image.SeriesInstanceUID == first["series_instance_uid"]
        source = sources[image.SourceImageSequence[0].ReferencedSOPInstanceUID]
        different += not np.array_equal(image.pixel_array, source.pixel_array)
    assert len(first["files"]) == 5
    assert different == 1


def test_the_same_call_gives_the_same_uids(run: Run, study: Path, tmp_path: Path) -> None:
    uids = [
        [
            (s["role"], s["series_instance_uid"])
            for s in run("correct", study, "--out", tmp_path / n, "--json").document["series"]
        ]
        for n in ("a", "b")
    ]
    assert uids[0] == uids[1]
    other = run("correct", study, "--out", tmp_path / "c", "--json", "--method", "li").document["series"]
    assert other[0]["series_instance_uid"] != uids[0][0][1]


def test_without_metal_nothing_is_changed_and_it_says_why(run: Run, tmp_path: Path) -> None:
    hip_study.write(tmp_path / "study", slices=3, metal_slices=(), rows=64)
    result = run("correct", tmp_path / "study", "--out", tmp_path / "out", "--json")
    assert result.status == 0
    (entry,) = result.document["series"]
    assert entry["changed"] is False
    assert entry["files"] == []
    assert "metal" in entry["reason"]
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_what_no_rule_takes_is_skipped_with_the_reason(run: Run, tmp_path: Path) -> None:
    series = hip_study.SyntheticSeries(modality="MR", body_part="KNEE", seed=5)
    series.write(tmp_path / "knee")
    result = run("correct", tmp_path / "knee", "--out", tmp_path / "out", "--json")
    assert result.status == 0
    assert result.document["series"] == []
    (skipped,) = result.document["skipped"]
    assert skipped["series_instance_uid"] == series.series_instance_uid
    assert skipped["reason"]


def test_a_truncated_slice_fails_the_series_and_names_the_file(run: Run, study: Path, tmp_path: Path) -> None:
    last = sorted(study.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-400])
    result = run("correct", study, "--out", tmp_path / "out", "--json")
    assert result.status == 1
    (failed,) = result.document["failed"]
    assert last.name in failed["error"]
    assert result.document["series"] == []


def test_a_disk_that_fills_midway_leaves_no_half_series(
    run: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    write_file = files.write_file

    def fill(path: Path, *rest: Any) -> None:
        if next(numbers) >= 3:
            raise StorageFull(f"the disk is full at {path}")
        write_file(path, *rest)

    monkeypatch.setattr(files, "write_file", fill)
    result = run("correct", study, "--out", tmp_path / "out", "--json")
    assert result.status == 1
    assert "disk is full" in result.document["failed"][0]["error"]
    assert next(numbers) > 3
    assert not list((tmp_path / "out").iterdir())


def test_images_of_all_sets_come_before_their_companions(run: Run, study: Path, tmp_path: Path) -> None:
    hip_study.hip_series(slices=5, metal_slices=(2,), rows=64, seed=2).write(study / "other")
    result = run("correct", study, "--out", tmp_path / "out", "--method", "li", "--json")
    roles = [e["role"] for e in result.document["series"]]
    assert roles[:2] == ["ct", "ct"]
    assert set(roles[2:]) >= {"mask:metal", "map:change", "report"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--corrector", "nonesuch"], "not installed"),
        (["--corrector", "hipct", "--method", "magic"], "has no method 'magic'"),
        (["--corrector", "hipct", "--set", "wrong=1"], "has no parameter 'wrong'"),
        (["--corrector", "hipct", "--set", "n_angles"], "KEY=VALUE"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_a_wrong_request_is_exit_2_and_says_what_is_right(
    run: Run, study: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = run("correct", study, "--out", tmp_path / "out", *arguments)
    assert result.status == 2
    assert says in result.err


def test_a_missing_path_is_a_wrong_request(run: Run, tmp_path: Path) -> None:
    result = run("correct", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert result.status == 2
    assert "does not exist" in result.err


def test_a_folder_without_dicom_fails_and_names_the_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no image")
    result = run("correct", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert result.status == 1
    assert "notes.txt" in result.document["error"]


def test_a_config_typo_names_line_and_column(run: Run, study: Path, tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("node:\n  ae_titel: X\n")
    result = run("route", study, "--config", config)
    assert result.status == 2
    assert f"{config}:2:3: node.ae_titel: unknown key" in result.err


def test_route_explains_every_series(run: Run, study: Path) -> None:
    result = run("route", study, "--json")
    assert result.status == 0
    (entry,) = result.document["series"]
    assert entry["taken"] is True
    assert entry["role"] == "ct"
    (input_set,) = result.document["input_sets"]
    assert (input_set["corrector"], input_set["roles"]) == ("hipct", {"ct": 5})
    table = run("route", study)
    assert "hipct" in table.out


def test_route_says_when_a_rule_sets_a_parameter_that_is_not_there(run: Run, study: Path, tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("routes: [{name: mine, when: {Modality: CT}, corrector: hipct, parameters: {magic: 1}}]\n")
    result = run("route", study, "--config", config, "--json")
    assert result.status == 0
    (entry,) = result.document["series"]
    assert (entry["taken"], entry["rule"]) == (False, "mine")
    assert "magic" in entry["reasons"][0]
    assert result.document["input_sets"] == []


def test_help_lists_what_exists_and_nothing_that_does_not(run: Run) -> None:
    text = run("--help").out
    for command in ("serve", "correct", "route", "check", "demo", "jobs", "weights", "replay"):
        assert command in text
    for later in ("retrieve",):
        assert f" {later} " not in text


def test_the_host_starts_without_torch() -> None:
    import subprocess

    code = "import sys, dicom_node.commands.application; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
