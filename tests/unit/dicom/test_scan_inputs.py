"""Files, folders and ZIPs to series."""

import shutil
import zipfile

import pytest

from dicom_node.dicom.scan import scan
from dicom_node.errors import RequestError
from dicom_node.testing.series import SyntheticSeries, mr_series


def test_folders_are_searched_to_the_bottom_and_grouped_by_series(tmp_path):
    ct = SyntheticSeries(slices=3)
    ct.write(tmp_path / "a" / "deep")
    mr_series(slices=2).write(tmp_path / "b")
    (tmp_path / "DICOMDIR").write_bytes(b"anything")
    calls = []
    found = scan([tmp_path], progress=lambda done, total: calls.append((done, total)))
    assert [(s.modality, len(s.instances)) for s in found.series] == [("CT", 3), ("MR", 2)]
    assert found.series[0].series_instance_uid == ct.series_instance_uid
    assert found.rejected == ()
    assert calls == [(n, 5) for n in range(1, 6)]


def test_the_order_of_a_scan_is_that_of_the_names(tmp_path):
    paths = SyntheticSeries(slices=4).write(tmp_path)
    assert [i.file.path for i in scan([tmp_path]).series[0].instances] == sorted(paths)
    assert scan([tmp_path]) == scan([tmp_path, paths[2]])


def test_what_is_not_dicom_is_rejected_with_a_reason(tmp_path):
    SyntheticSeries(slices=1).write(tmp_path)
    (tmp_path / "notes.txt").write_text("read me")
    found = scan([tmp_path])
    assert len(found.series) == 1
    (rejected,) = found.rejected
    assert rejected.file.path.name == "notes.txt" and "not DICOM" in rejected.reason


def test_a_zip_is_read_in_place(tmp_path):
    series = SyntheticSeries(slices=3)
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in series.write(tmp_path / "plain"):
            archive.write(path, f"../outside/{path.name}")
        archive.writestr("readme", "not an image")
    shutil.rmtree(tmp_path / "plain")
    found = scan([tmp_path / "study.zip"])
    assert len(found.series[0].instances) == 3
    assert found.series[0].instances[0].file.member.startswith("../outside/")
    assert [r.file.member for r in found.rejected] == ["readme"]
    assert [p.name for p in tmp_path.iterdir()] == ["study.zip"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_node.dicom.scan._SMALL", 1 << 20)
    monkeypatch.setattr("dicom_node.dicom.scan.LARGEST_RATIO", 500)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (8 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    (rejected,) = scan([tmp_path]).rejected
    assert "more than an image can have" in rejected.reason


def test_a_damaged_zip_is_named(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    (rejected,) = scan([tmp_path]).rejected
    assert "damaged ZIP" in rejected.reason


def test_links_in_a_circle_end(tmp_path):
    SyntheticSeries(slices=2).write(tmp_path / "images")
    (tmp_path / "images" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = scan([tmp_path])
    assert len(found.series[0].instances) == 2 and found.rejected == ()


def test_an_identical_copy_counts_once(tmp_path):
    (path,) = SyntheticSeries(slices=1).write(tmp_path)
    shutil.copy(path, tmp_path / "copy.dcm")
    found = scan([tmp_path])
    assert len(found.series[0].instances) == 1 and found.rejected == ()


def test_the_same_uid_with_other_content_is_rejected_by_name(tmp_path):
    SyntheticSeries(slices=1).write(tmp_path / "a")
    SyntheticSeries(slices=1, series_description="OTHER").write(tmp_path / "b")
    found = scan([tmp_path])
    assert found.series[0].instances[0].file.path.parent.name == "a"
    (rejected,) = found.rejected
    assert rejected.file.path.parent.name == "b" and "same SOP Instance UID" in rejected.reason


def test_an_input_that_does_not_exist_is_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        scan([tmp_path / "nowhere"])
