"""The main job: DCMTK pushes, the node corrects, Orthanc gets a derived series; restarts, repeats and late images."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import hip_study
import numpy as np
import peers
import pydicom
import pytest
from node import Node, node
from peers import Orthanc, wait_until

from dicom_node.testing.peer import ScriptedScu

KEPT = (
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "SOPClassUID",
)


@pytest.fixture
def running(tmp_path: Path, orthanc: Orthanc):
    with node(
        tmp_path / "node", {"pacs": {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.port}}
    ) as one:
        yield one


def corrected_images(orthanc: Orthanc) -> list[pydicom.Dataset]:
    """The derived CT images in Orthanc, along z."""
    found = []
    for series in orthanc.series():
        if series["MainDicomTags"]["Modality"] == "CT":
            uid = series["MainDicomTags"]["SeriesInstanceUID"]
            found += [pydicom.dcmread(io.BytesIO(b)) for b in orthanc.files_of_series(uid)]
    return sorted(found, key=lambda d: float(d.ImagePositionPatient[2]))


def raw_bytes(dataset: pydicom.Dataset, keyword: str) -> bytes:
    """The value as it stands in the file."""
    return bytes(dataset.get_item(keyword, keep_deferred=True).value)


def test_a_pushed_study_comes_back_corrected_once(
    tmp_path: Path, running: Node, orthanc: Orthanc, storescu: Callable[..., object]
) -> None:
    sources = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, hip_study.write(tmp_path / "study"))}
    push = storescu(running.port, [tmp_path / "study"])
    assert push.returncode == 0, push.stdout
    running.wait_jobs("DELIVERED")

    images = corrected_images(orthanc)
    assert len(images) == len(sources)
    assert len({i.SeriesInstanceUID for i in images}) == 1
    assert not {i.SOPInstanceUID for i in images} & set(sources)
    changed = 0
    for image in images:
        source = sources[image.SourceImageSequence[0].ReferencedSOPInstanceUID]
        # Before anything decodes it.
        assert raw_bytes(image, "PatientName") == raw_bytes(source, "PatientName")
        assert image.ImageType[0] == "DERIVED"
        for keyword in KEPT:
            assert image[keyword].value == source[keyword].value, keyword
        changed += not np.array_equal(image.pixel_array, source.pixel_array)
        assert image.ContributingEquipmentSequence[-1].DeviceUID
        assert image.private_block(0x0099, "DICOM CORRECTION NODE")[0x01].value == "hipct"
    assert changed == 2, "only the slices with metal may change"
    modalities = {s["MainDicomTags"]["Modality"] for s in orthanc.series()}
    assert {"SEG", "SR"} <= modalities

    before = orthanc.sop_instance_uids()
    assert storescu(running.port, [tmp_path / "study"]).returncode == 0
    wait_until(lambda: "spool" and not list((running.folder / "var" / "spool" / "ready").glob("*")), what="filed")
    time.sleep(1.5)
    assert orthanc.sop_instance_uids() == before
    assert len(running.jobs()) == 1
    assert running.page("/healthz")[0] == 200
    assert running.stop() == 0


def test_sigterm_in_the_middle_of_the_work_finishes_what_is_in_hand(
    tmp_path: Path, running: Node, orthanc: Orthanc, storescu: Callable[..., object]
) -> None:
    hip_study.write(tmp_path / "study")
    assert storescu(running.port, [tmp_path / "study"]).returncode == 0
    wait_until(lambda: running.events("job_started"), what="the worker at work")
    assert running.stop() == 0
    (job,) = running.jobs()
    assert job["state"] in ("DERIVED", "DELIVERED")
    assert len(running.events("job_started")) == 1
    running.start()
    running.wait_jobs("DELIVERED")
    assert len(running.events("job_started")) == 1
    assert len(corrected_images(orthanc)) == 8


def test_nothing_that_the_node_writes_outside_its_stores_holds_patient_data(
    tmp_path: Path, running: Node, storescu: Callable[..., object]
) -> None:
    hip_study.write(tmp_path / "study")
    assert storescu(running.port, [tmp_path / "study"]).returncode == 0
    garbage = b"\x10\x00\x10\x00PN\x0a\x00CANARY^BAD" * 3
    ScriptedScu(running.port).store_bytes("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", garbage)
    wait_until(lambda: running.events("instance_quarantined"), what="the garbage in quarantine")
    running.wait_jobs("DELIVERED")
    said = running.log() + running.page("/metrics")[1] + running.page("/readyz")[1]
    said += running.run("jobs", "list").stdout + running.run("check").stdout
    names = [str(p) for p in (running.folder / "var").rglob("*")]
    assert "CANARY" not in said
    assert not [n for n in names if "CANARY" in n.upper().removeprefix(str(tmp_path).upper())]


def test_a_restart_inside_the_quiet_period_still_fires(
    tmp_path: Path, orthanc: Orthanc, storescu: Callable[..., object]
) -> None:
    pacs = {"pacs": {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.port}}
    with node(tmp_path / "node", pacs, intake={"quiet_s": 4, "poll_s": 0.05}) as one:
        hip_study.write(tmp_path / "study")
        assert storescu(one.port, [tmp_path / "study"]).returncode == 0
        one.kill()
        one.start()
        one.wait_jobs("DELIVERED")
    assert len(corrected_images(orthanc)) == 8


def test_late_images_lead_to_a_new_version_that_names_the_old_one(
    tmp_path: Path, running: Node, orthanc: Orthanc, storescu: Callable[..., object]
) -> None:
    files = hip_study.write(tmp_path / "study")
    assert storescu(running.port, files[:6]).returncode == 0
    running.wait_jobs("DELIVERED", 1)
    first = {i.SeriesInstanceUID for i in corrected_images(orthanc)}
    assert storescu(running.port, files[6:]).returncode == 0
    running.wait_jobs("DELIVERED", 2)
    newer = [i for i in corrected_images(orthanc) if i.SeriesInstanceUID not in first]
    assert len(newer) == 8
    versions = sorted(job["version"] for job in running.jobs())
    assert versions == [1, 2]
    text = newer[0].to_json()
    assert next(iter(first)) in text
    assert newer[0].SeriesDescription.startswith(f"[v2, replaces ..{next(iter(first))[-6:]}] ")


def test_an_unreachable_pacs_costs_time_and_nothing_else(tmp_path: Path, storescu: Callable[..., object]) -> None:
    port = peers.free_port()
    with node(tmp_path / "node", {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": port}}) as one:
        hip_study.write(tmp_path / "study")
        assert storescu(one.port, [tmp_path / "study"]).returncode == 0
        one.wait_jobs("DERIVED")
        wait_until(
            lambda: one.events("delivery_failed") or one.events("delivery_postponed"),
            what="a refused delivery in the log",
        )
        with peers.orthanc(tmp_path / "orthanc", port=port) as pacs:
            one.wait_jobs("DELIVERED")
            assert len(corrected_images(pacs)) == 8


def test_the_nodes_own_output_is_never_its_input(
    tmp_path: Path, running: Node, orthanc: Orthanc, storescu: Callable[..., object]
) -> None:
    hip_study.write(tmp_path / "study")
    storescu(running.port, [tmp_path / "study"])
    running.wait_jobs("DELIVERED")
    back = tmp_path / "back"
    back.mkdir()
    for number, image in enumerate(corrected_images(orthanc)):
        image.save_as(back / f"{number}.dcm")
    assert storescu(running.port, [back]).returncode == 0
    time.sleep(2)
    assert len(running.jobs()) == 1
