"""`dicom-node export`: what the command takes, prints and refuses; through a real archive with the default routes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.database import Database
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.series import SyntheticSeries

sys.path.append(str(Path(__file__).parents[1] / "keeping"))
from keeping_site import START, make_site

Run = Callable[..., Any]
HIP = {"rows": 24, "columns": 24, "series_description": "Canary hip", "study_description": "Canary pelvis"}


def hip(seed: int, **options: Any) -> SyntheticSeries:
    return SyntheticSeries(slices=4, seed=seed, patient=SyntheticPatient(patient_id=f"CANARY{seed}"), **HIP, **options)


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A node that has received a hip CT and one with text burned into it."""
    var = tmp_path / "var"
    var.mkdir()
    database = Database.open(f"sqlite:///{var}/node.sqlite")
    try:
        site = make_site(var, database)
        site.push(hip(1), START)
        site.push(hip(2, tags={"BurnedInAnnotation": "YES"}), START)
    finally:
        database.close()
    capsys.readouterr()
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": str(var), "min_free_mb": 0}}))
    return path


def test_a_training_folder_with_the_roles_that_routing_finds(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("export", "--config", config, "--out", out, "--deidentify", "--json")
    assert result.status == 0, result.err
    document = result.document
    assert (document["patients"], document["series"], document["files"], document["unchanged"]) == (1, 1, 4, 0)
    assert [(one["series_instance_uid"], one["instances"]) for one in document["left_out"]] == [
        (hip(2).series_instance_uid, 4)
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("dicom-node training folder", 1)
    (role,) = manifest["series"][0]["roles"]
    assert (role["rule"], role["corrector"], role["role"], len(role["files"])) == ("default-hipct", "hipct", "ct", 4)
    everything = b"".join(path.read_bytes() + str(path).encode() for path in out.rglob("*") if path.is_file())
    assert b"canary" not in everything.lower()
    assert (config.parent / "var" / "export.key").stat().st_mode & 0o777 == 0o600


def test_the_nodes_own_reader_reads_it(run: Run, config: Path, tmp_path: Path) -> None:
    hip(1).write(tmp_path / "original")
    run("export", "--config", config, "--out", tmp_path / "out", "--deidentify")
    (source,) = DicomCommandContext().read([tmp_path / "original"])
    (read,) = DicomCommandContext().read([tmp_path / "out"])
    assert (read.volume.pixels == source.volume.pixels).all()
    assert read.volume.geometry == source.volume.geometry
    assert read.label != source.label


def test_people_are_told_what_is_there_and_what_is_missing(run: Run, config: Path, tmp_path: Path) -> None:
    result = run("export", "--config", config, "--out", tmp_path / "out", "--deidentify")
    assert result.status == 0
    assert "4 images in 1 series of 1 patients" in result.out
    assert "BurnedInAnnotation" in result.out
    assert "not defaced" in result.out


def test_choices(run: Run, config: Path, tmp_path: Path) -> None:
    given = ("export", "--config", config, "--out", tmp_path / "out", "--deidentify", "--json")
    assert run(*given, "--study", hip(2).study_instance_uid).document["series"] == 0
    assert run(*given, "--study", hip(1).study_instance_uid, "--corrector", "hipct").document["series"] == 1
    assert run(*given).document["unchanged"] == 1
    unknown = run(*given, "--study", "1.2.3")
    assert (unknown.status, unknown.document["code"]) == (2, "RequestError")
    nobody = run(*given, "--corrector", "nobody")
    assert nobody.status == 2
    assert "hipct" in nobody.err


def test_another_key_gives_another_folder(run: Run, config: Path, tmp_path: Path) -> None:
    given = ("export", "--config", config, "--deidentify", "--json", "--out")
    run(*given, tmp_path / "a")
    run(*given, tmp_path / "b", "--key", tmp_path / "other.key")
    names = [{p.name for p in (tmp_path / one).iterdir() if p.is_dir()} for one in "ab"]
    assert len(names[0]) == len(names[1]) == 1
    assert names[0] != names[1]
    assert run(*given, tmp_path / "a", "--key", tmp_path / "other.key").status == 2


def test_what_cannot_be_exported_is_said_before_anything_is_written(run: Run, config: Path, tmp_path: Path) -> None:
    plain = run("export", "--config", config, "--out", tmp_path / "out")
    assert plain.status == 2
    assert "--deidentify" in plain.err
    inside = run("export", "--config", config, "--out", tmp_path / "var" / "archive", "--deidentify")
    assert inside.status == 2
    assert "choose another --out" in inside.err
    empty = tmp_path / "empty.yaml"
    empty.write_text(yaml.safe_dump({"node": {"data_dir": str(tmp_path / "nowhere")}}))
    nothing = run("export", "--config", empty, "--out", tmp_path / "out", "--deidentify")
    assert nothing.status == 2
    assert "no ledger" in nothing.err
    (tmp_path / "file").write_text("")
    assert run("export", "--config", config, "--out", tmp_path / "file", "--deidentify").status == 2
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "nowhere").exists()
