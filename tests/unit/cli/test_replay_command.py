"""`dicom-node replay`: a derived series against its recomputation."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.plugins.catalogue import Catalogue

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
import hip_study
from replay_bench import DAY_S, START, Install, installing, make_node, repaint, study, weights_package

Run = Callable[..., Any]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    with installing(tmp_path / "plugin", monkeypatch) as install:
        yield install


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    study().write(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def derived(run: Run, install: Install, sources: Path, tmp_path: Path) -> Path:
    """What `correct` made of the study, with a parameter that is not the default."""
    made = run(
        "correct", sources, "--out", tmp_path / "out", "--corrector", "replayprobe", "--set", "add=35.0", "--json"
    )
    assert made.status == 0, made.out
    return tmp_path / "out"


def images(folder: Path, role: str = "image") -> list[Path]:
    return sorted(next(folder.glob(f"*/{role}")).iterdir())


def by_role(result: Any) -> dict[str, Any]:
    return {entry["role"]: entry for entry in result.document["series"]}


def test_what_was_just_made_agrees_in_every_output(run: Run, derived: Path, sources: Path) -> None:
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 0, result.out
    assert result.document["agrees"] is True
    found = by_role(result)
    assert list(found) == ["image", "map:change", "mask:square", "report"]
    assert [entry["instances"] for entry in found.values()] == [4, 1, 1, 1]
    assert all(e["differing_pixels"] == 0 and e["largest_difference"] == 0 for e in found.values())
    assert (found["image"]["tolerance"], found["image"]["units"]) == (0.0, "MR signal")
    table = run("replay", derived, "--sources", sources)
    assert "Every pixel agrees." in table.out
    assert "NOT" not in table.out


def test_the_real_corrector_agrees(run: Run, tmp_path: Path) -> None:
    hip_study.write(tmp_path / "hip", slices=3, metal_slices=(1,), rows=48)
    made = run("correct", tmp_path / "hip", "--out", tmp_path / "out", "--method", "li", "--device", "cpu", "--json")
    assert made.document["series"][0]["changed"] is True
    result = run("replay", tmp_path / "out", "--sources", tmp_path / "hip", "--json")
    assert result.status == 0, result.out
    assert {"ct", "map:change", "mask:metal", "report"} == set(by_role(result))
    assert "CANARY" not in result.out + result.err


def test_an_altered_pixel_is_found_and_its_instance_named(run: Run, derived: Path, sources: Path) -> None:
    before = int(pydicom.dcmread(images(derived)[2]).pixel_array[5, 5])
    uid = repaint(images(derived)[2], before + 7)
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    image = by_role(result)["image"]
    assert image["differing_instances"] == [uid]
    assert (image["differing_pixels"], image["largest_difference"]) == (1, 7.0)
    assert [e["agrees"] for e in result.document["series"]] == [False, True, True, True]
    text = run("replay", derived, "--sources", sources).out
    assert uid in text
    assert "NOT every pixel agrees." in text


@pytest.mark.parametrize(("role", "keyword"), [("map-change", "FloatPixelData"), ("mask-square", "PixelData")])
def test_an_altered_map_or_mask_is_found(run: Run, derived: Path, sources: Path, role: str, keyword: str) -> None:
    (path,) = images(derived, role)
    dataset = pydicom.dcmread(path)
    data = bytearray(getattr(dataset, keyword))
    data[0] ^= 1
    setattr(dataset, keyword, bytes(data))
    dataset.save_as(path)
    result = run("replay", path, "--sources", sources, "--json")
    assert result.status == 1
    (entry,) = result.document["series"]
    assert (entry["differing_pixels"], entry["differing_instances"]) == (1, [str(dataset.SOPInstanceUID)])


def test_an_altered_figure_is_found(run: Run, derived: Path, sources: Path) -> None:
    (path,) = images(derived, "report")
    dataset = pydicom.dcmread(path)
    figure = next(item for item in dataset.iterall() if item.keyword == "NumericValue" and item.value == 35)
    figure.value = "36"
    dataset.save_as(path)
    result = run("replay", path, "--sources", sources, "--json")
    assert result.status == 1
    assert by_role(result)["report"]["largest_difference"] == 1.0


def test_one_series_of_the_set_is_enough(run: Run, derived: Path, sources: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mask.zip", "w") as archive:
        archive.write(images(derived, "mask-square")[0], "m.dcm")
    result = run("replay", tmp_path / "mask.zip", "--sources", sources, "--json")
    assert result.status == 0, result.out
    assert set(by_role(result)) == {"mask:square"}


def test_a_series_that_is_not_whole_does_not_agree(run: Run, derived: Path, sources: Path) -> None:
    gone = images(derived)[1]
    uid = str(pydicom.dcmread(gone).SOPInstanceUID)
    gone.unlink()
    result = run("replay", gone.parent, "--sources", sources, "--json")
    assert result.status == 1
    (entry,) = result.document["series"]
    assert (entry["missing"], entry["instances"], entry["differing_instances"]) == ([uid], 3, [])


def test_an_instance_that_is_not_derived_again_does_not_agree(run: Run, derived: Path, sources: Path) -> None:
    extra = pydicom.dcmread(images(derived)[0])
    extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    extra.save_as(images(derived)[0].parent / "extra.dcm")
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    assert by_role(result)["image"]["unexpected"] == ["2.25.77"]


def test_a_missing_source_is_named(run: Run, derived: Path, sources: Path) -> None:
    sorted(sources.iterdir())[2].unlink()
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    (failed,) = result.document["failed"]
    assert study().sop_instance_uid(2) in failed["error"]
    assert "missing" in failed["error"]
    assert len(failed["series"]) == 4


def test_an_altered_source_is_found_by_the_digest(run: Run, derived: Path, sources: Path) -> None:
    repaint(sorted(sources.iterdir())[2], 1)
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    (failed,) = result.document["failed"]
    assert "digest" in failed["error"]
    assert result.document["series"] == []


def test_another_version_of_the_corrector_is_refused(run: Run, derived: Path, sources: Path, install: Install) -> None:
    install(version="2")
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    (failed,) = result.document["failed"]
    assert "replayprobe 1, but version 2 is installed" in failed["error"]


def test_a_corrector_that_is_not_installed_is_named(
    run: Run, derived: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.commands.replay.discover", lambda: Catalogue({}))
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 1
    assert "'replayprobe' is not installed" in result.document["failed"][0]["error"]


def test_other_weights_are_refused_unless_their_package_is_named(
    run: Run, sources: Path, install: Install, tmp_path: Path
) -> None:
    old, new = weights_package(tmp_path / "old", 1.0), weights_package(tmp_path / "new", 2.0)
    install(weights=old)
    run("correct", sources, "--out", tmp_path / "out", "--corrector", "replayprobe", "--json")
    request = ("replay", tmp_path / "out", "--sources", sources, "--json")
    assert run(*request).status == 0
    for here in (new, None):
        install(weights=here)
        refused = run(*request)
        assert refused.status == 1
        assert "--weights" in refused.document["failed"][0]["error"]
        named = run(*request, "--weights", old)
        assert named.status == 0, named.out
    assert run(*request, "--weights", new).status == 1
    assert run(*request, "--weights", tmp_path / "nowhere").status == 2
    (old / "model.safetensors").write_bytes(b"damaged")
    damaged = run(*request, "--weights", old)
    assert damaged.status == 1
    assert "altered" in damaged.document["failed"][0]["error"]


def test_another_kind_of_device_agrees_within_the_tolerance_only(
    run: Run, derived: Path, sources: Path, install: Install
) -> None:
    install(has_cuda=True, tolerance={"image": 2.0, "map:change": 2.0})
    here = run("replay", derived, "--sources", sources, "--json")
    assert (here.status, by_role(here)["image"]["device"]) == (0, "cpu"), "recorded as CPU: recomputed on the CPU"
    across = run("replay", derived, "--sources", sources, "--device", "cuda", "--json")
    assert across.status == 0, across.out
    image, report = by_role(across)["image"], by_role(across)["report"]
    assert (image["device"], image["tolerance"], image["largest_difference"]) == ("cuda", 2.0, 2.0)
    assert image["differing_pixels"] == 3 * 16
    assert (report["tolerance"], report["instances"]) == (None, 0)
    assert "across devices" in run("replay", derived, "--sources", sources, "--device", "cuda").out
    install(has_cuda=True, tolerance={"image": 1.5, "map:change": 2.0})
    strict = run("replay", derived, "--sources", sources, "--device", "cuda", "--json")
    assert strict.status == 1
    assert len(by_role(strict)["image"]["differing_instances"]) == 3


def test_what_cuda_made_is_recomputed_on_the_cpu_where_there_is_no_cuda(
    run: Run, sources: Path, tmp_path: Path, install: Install
) -> None:
    install(has_cuda=True, tolerance={"image": 2.0, "map:change": 2.0})
    run("correct", sources, "--out", tmp_path / "out", "--corrector", "replayprobe", "--json")
    install(has_cuda=False, tolerance={"image": 2.0, "map:change": 2.0})
    result = run("replay", tmp_path / "out", "--sources", sources, "--json")
    assert result.status == 0, result.out
    assert (by_role(result)["image"]["recorded_device"], by_role(result)["image"]["device"]) == ("cuda", "cpu")


def test_someone_elses_series_is_refused_with_the_reason(run: Run, install: Install, sources: Path) -> None:
    result = run("replay", sources, "--sources", sources, "--json")
    assert result.status == 1
    assert "not derived by this node" in result.document["error"]


def test_originals_beside_derived_series_are_left_out(run: Run, derived: Path, sources: Path) -> None:
    shutil.copytree(sources, derived / "originals")
    result = run("replay", derived, "--sources", sources, "--json")
    assert result.status == 0, result.out
    assert study().series_instance_uid in {entry["series_instance_uid"] for entry in result.document["skipped"]}


def test_a_series_without_its_private_block_cannot_be_recomputed(run: Run, derived: Path, sources: Path) -> None:
    for path in images(derived):
        dataset = pydicom.dcmread(path)
        dataset.remove_private_tags()
        dataset.save_as(path)
    result = run("replay", derived / images(derived)[0].parent, "--sources", sources, "--json")
    assert result.status == 1
    assert "private block is gone" in result.document["failed"][0]["error"]


def test_an_archive_may_store_implicit_vr(run: Run, derived: Path, sources: Path) -> None:
    for path in images(derived):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    result = run("replay", images(derived)[0].parent, "--sources", sources, "--json")
    assert result.status == 0, result.out


def test_localizers_that_belonged_to_the_input_set_are_found_again(run: Run, install: Install, tmp_path: Path) -> None:
    kinds = (["ORIGINAL", "PRIMARY", "LOCALIZER"], *[["ORIGINAL", "PRIMARY", "OTHER"]] * 4)
    study(slices=5, frame_tags={"ImageType": kinds}).write(tmp_path / "in")
    run("correct", tmp_path / "in", "--out", tmp_path / "out", "--corrector", "replayprobe", "--json")
    result = run("replay", tmp_path / "out", "--sources", tmp_path / "in", "--json")
    assert result.status == 0, result.out
    assert by_role(result)["image"]["instances"] == 4


def test_captures_of_the_sites_rules_count(run: Run, install: Install, sources: Path, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node", ", capture: [{tag: InstanceNumber, name: number}]")
    run("correct", sources, "--out", tmp_path / "out", "--config", node.config, "--json")
    without = run("replay", tmp_path / "out", "--sources", sources, "--json")
    assert without.status == 1
    assert "--config" in without.document["failed"][0]["error"]
    result = run("replay", tmp_path / "out", "--sources", sources, "--config", node.config, "--json")
    assert result.status == 0, result.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", "--sources", "SOURCES"), "does not exist"),
        (("2.25.1", "--sources", "SOURCES"), "--config"),
        (("SOURCES",), "--sources"),
        (("SOURCES", "--sources", "nowhere"), "does not exist"),
        (("SOURCES", "--sources", "SOURCES", "--device", "tpu"), "--device"),
    ],
)
def test_a_wrong_request_is_exit_2(run: Run, derived: Path, sources: Path, arguments: Any, says: str) -> None:
    # SERIES is looked at before sources; only a path that is derived reaches the missing source folder
    named = [
        derived if a == "SOURCES" and i == 0 else sources if a == "SOURCES" else a for i, a in enumerate(arguments)
    ]
    result = run("replay", *named)
    assert result.status == 2
    assert says in result.err


def test_a_node_that_has_not_run_is_a_wrong_request_and_gets_no_ledger(run: Run, derived: Path, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    result = run("replay", derived, "--config", node.config)
    assert result.status == 2
    assert "no ledger" in result.err
    assert not list(node.folder.iterdir())


def test_a_node_finds_series_and_sources_itself(run: Run, install: Install, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    job = node.receive_and_derive(study(), None, START)
    uid = node.series_uid(job)
    result = run("replay", uid, "--config", node.config, "--json")
    assert result.status == 0, result.out
    assert [entry["series_instance_uid"] for entry in result.document["series"]] == [uid]
    shutil.rmtree(node.folder / "outbox")
    gone = run("replay", uid, "--config", node.config, "--json")
    assert gone.status == 1
    assert "left the outbox" in gone.document["error"]
    unknown = run("replay", "2.25.4711", "--config", node.config, "--json")
    assert unknown.status == 1
    assert "2.25.4711" in unknown.document["error"]


def test_an_older_version_is_recomputed_from_the_images_it_had(run: Run, install: Install, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    first = node.receive_and_derive(study(), [0, 1, 2], START)
    second = node.receive_and_derive(study(), [3], START + DAY_S)
    assert (first.version, second.version, second.supersedes) == (1, 2, first.id)
    for job, instances in ((first, 3), (second, 4)):
        result = run("replay", node.series_uid(job), "--config", node.config, "--json")
        assert result.status == 0, result.out
        assert by_role(result)["image"]["instances"] == instances


def test_sources_are_found_in_the_archive_without_the_job(run: Run, derived: Path, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node", ", method: idle")
    assert node.receive_and_derive(study(), None, START).outputs == ()
    result = run("replay", derived, "--config", node.config, "--json")
    assert result.status == 0, result.out


def test_an_altered_file_of_the_archive_is_named(run: Run, derived: Path, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node", ", method: idle")
    node.receive_and_derive(study(), None, START)
    uid = study().sop_instance_uid(1)
    repaint(node.archived(uid), 3)
    node.archived(study().sop_instance_uid(2)).unlink()
    result = run("replay", derived, "--config", node.config, "--json")
    assert result.status == 1
    error = result.document["failed"][0]["error"]
    assert uid in error
    assert study().sop_instance_uid(2) in error
    assert study().sop_instance_uid(3) not in error


def test_an_altered_file_of_a_folder_is_named_where_the_node_has_received_it(
    run: Run, derived: Path, sources: Path, tmp_path: Path
) -> None:
    node = make_node(tmp_path / "node", ", method: idle")
    node.receive_and_derive(study(), None, START)
    uid = repaint(sorted(sources.iterdir())[1], 3)
    result = run("replay", derived, "--sources", sources, "--config", node.config, "--json")
    assert result.status == 1
    assert uid in result.document["failed"][0]["error"]


def test_what_retention_took_away_is_missing(run: Run, derived: Path, tmp_path: Path) -> None:
    node = make_node(tmp_path / "node")
    node.receive_and_derive(study(seed=9), None, START)
    result = run("replay", derived, "--config", node.config, "--json")
    assert result.status == 1
    assert "4 of 4 source instances are missing" in result.document["failed"][0]["error"]
