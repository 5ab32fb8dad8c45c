"""Exports from a real archive: what is written, what is left out, and what a repetition or a fault does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from keeping_site import START, Site, make_site, study

from dicom_node.contracts import InputSet, RoleInstance, SeriesView
from dicom_node.database import Database
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.errors import RequestError, StorageFull
from dicom_node.keeping import export as export_module
from dicom_node.keeping.export import OWN_OUTPUT, UNREADABLE, Exported, Exporter, ExportRequest
from dicom_node.keeping.export_folder import ExportFolder
from dicom_node.keeping.export_key import load_pseudonyms
from dicom_node.keeping.export_routes import RuleNames
from dicom_node.routing.defaults import default_rules

KEY = b"0123456789abcdef0123456789abcdef"
POLARITIES = {0: "plus", 1: "minus"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "var"
    folder.mkdir()
    one = make_site(folder, Database.open(f"sqlite:///{folder}/node.sqlite"))
    yield one
    one.database.close()


def nothing(series: Sequence[SeriesView]) -> list[InputSet]:
    return []


def polar(series: Sequence[SeriesView]) -> list[InputSet]:
    """An input set over all series: the first image of each is `plus`, the second `minus`, the others are not in it."""
    roles: dict[str, tuple[RoleInstance, ...]] = {}
    for one in series:
        for header in one.instances:
            role = POLARITIES.get(int(str(header.get("InstanceNumber"))) - 1)
            if role is not None:
                captures = {"polarity": role, "bin": "3", "operator": "Canary"}
                roles[role] = (*roles.get(role, ()), RoleInstance(header, captures))
    return [InputSet("hospital of canaries", "mavric", None, {}, (), roles)] if roles else []


def export(site: Site, out: Path, route: Any = nothing, key: bytes = KEY, **request: Any) -> Exported:
    names = RuleNames((), default_rules())
    exporter = Exporter(site.database, site.room.index, route, names, Pseudonyms(key))
    return exporter.run(out, ExportRequest(**request), lambda done, total: None)


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_patients_studies_and_series_become_folders(site: Site, tmp_path: Path) -> None:
    for one in (study(1), study(2), study(3, 3, patient=1)):
        site.push(one, START)
    out = tmp_path / "out"
    done = export(site, out)
    assert (done.patients, done.series, done.files, done.unchanged, done.left_out) == (2, 3, 7, 0, [])
    names = [name for name in files(out) if name != "manifest.json"]
    assert {name.count("/") for name in names} == {3}
    assert {name.rpartition("/")[2] for name in names} == {"0001.dcm", "0002.dcm", "0003.dcm"}
    series = manifest(out)["series"]
    assert sorted(len(one["files"]) for one in series) == [2, 2, 3]
    assert len({one["patient"] for one in series}) == 2
    for one in series:
        read = [pydicom.dcmread(out / one["folder"] / name) for name in one["files"]]
        assert [int(image.InstanceNumber) for image in read] == list(range(1, len(read) + 1))
        assert {image.PatientID for image in read} == {one["patient"]} == {one["folder"].partition("/")[0]}
        assert {image.SeriesInstanceUID for image in read} == {one["series_instance_uid"]}
        assert {image.StudyInstanceUID for image in read} == {one["study_instance_uid"]}
    originals = {uid for row in (study(1), study(2), study(3, 3)) for uid in (row.study_instance_uid,)}
    assert not any(uid.encode() in data for data in files(out).values() for uid in originals)


def test_days_between_the_studies_of_a_patient_stay(site: Site, tmp_path: Path) -> None:
    site.push(study(1, tags={"StudyDate": "20200101"}), START)
    site.push(study(2, tags={"StudyDate": "20200315"}), START)
    out = tmp_path / "out"
    export(site, out)
    dates = sorted({pydicom.dcmread(path).StudyDate for path in out.rglob("*.dcm")})
    first, second = (datetime.strptime(text, "%Y%m%d") for text in dates)
    assert (second - first).days == 74
    assert first < datetime(2020, 1, 1)


def test_roles_polarity_and_bin_are_kept_and_nothing_else_of_routing(site: Site, tmp_path: Path) -> None:
    site.push(study(1, 3), START)
    out = tmp_path / "out"
    export(site, out, polar)
    (one,) = manifest(out)["series"]
    assert [(role["rule"], role["corrector"], role["role"], role["files"]) for role in one["roles"]] == [
        ("site", "mavric", "minus", {"0002.dcm": {"polarity": "minus", "bin": "3"}}),
        ("site", "mavric", "plus", {"0001.dcm": {"polarity": "plus", "bin": "3"}}),
    ]
    assert len({role["set"] for role in one["roles"]}) == 1
    assert b"canar" not in (out / "manifest.json").read_bytes().lower()


def test_only_what_routing_gives_to_the_corrector(site: Site, tmp_path: Path) -> None:
    site.push(study(1, 2), START)
    out = tmp_path / "out"
    done = export(site, out, only_routed=True)
    assert (done.series, [one.instances for one in done.left_out]) == (0, [2])
    assert export(site, out, polar, only_routed=True).series == 1


def test_chosen_studies(site: Site, tmp_path: Path) -> None:
    first, second = study(1), study(2)
    site.push(first, START)
    site.push(second, START)
    done = export(site, tmp_path / "out", studies=(second.study_instance_uid,))
    assert done.series == 1
    with pytest.raises(RequestError, match=r"not in the archive: study 1\.2\.3"):
        export(site, tmp_path / "out", studies=("1.2.3", second.study_instance_uid))


def test_what_is_refused_is_left_out_with_its_reason(site: Site, tmp_path: Path) -> None:
    burned = study(1, 3, frame_tags={"BurnedInAnnotation": ("NO", "YES", "NO")})
    screen = study(2, tags={"ConversionType": "WSD"}, patient=1)
    site.push(burned, START)
    site.push(screen, START)
    out = tmp_path / "out"
    done = export(site, out)
    left = {one.series_instance_uid: (one.instances, one.reason.split()[0]) for one in done.left_out}
    assert left == {
        burned.series_instance_uid: (1, "BurnedInAnnotation"),
        screen.series_instance_uid: (2, "ConversionType"),
    }
    (one,) = manifest(out)["series"]
    assert one["files"] == ["0001.dcm", "0003.dcm"]
    assert list(one["left_out"].values()) == [1]


def test_what_the_node_made_is_left_out(site: Site, tmp_path: Path) -> None:
    made = study(1)
    site.push(made, START)
    with site.database.begin() as tx:
        tx.exec_driver_sql("UPDATE instances SET own_output = 1")
    done = export(site, tmp_path / "out")
    assert [(one.reason, one.instances) for one in done.left_out] == [(OWN_OUTPUT, 2)]
    assert manifest(tmp_path / "out")["series"] == []


def test_a_file_that_is_gone_is_left_out(site: Site, tmp_path: Path) -> None:
    one = study(1)
    site.push(one, START)
    site.store.path(one.sop_instance_uid(0)).unlink()
    done = export(site, tmp_path / "out")
    assert (done.files, [(left.reason, left.instances) for left in done.left_out]) == (1, [(UNREADABLE, 1)])


def test_repeated_it_writes_nothing_and_says_the_same(site: Site, tmp_path: Path) -> None:
    site.push(study(1, 3, frame_tags={"BurnedInAnnotation": ("NO", "YES", "NO")}), START)
    out = tmp_path / "out"
    first, before = export(site, out), files(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    again = export(site, out)
    assert (again.unchanged, again.files, again.left_out) == (1, first.files, first.left_out)
    assert files(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == times


def test_late_images_and_later_studies_come_into_the_same_folder(site: Site, tmp_path: Path) -> None:
    late, out = study(1, 4), tmp_path / "out"
    site.push(late, START, frames=[0, 2])
    export(site, out)
    before = {pydicom.dcmread(path).SOPInstanceUID for path in out.rglob("*.dcm")}
    site.push(late, START + 1, frames=[1, 3])
    site.push(study(2), START + 1)
    done = export(site, out)
    assert (done.series, done.unchanged, done.files) == (2, 0, 6)
    after = {pydicom.dcmread(path).SOPInstanceUID for path in out.rglob("*.dcm")}
    assert before < after
    assert len(list(out.rglob("*.dcm"))) == len(after) == 6


def test_roles_follow_the_rules_without_the_files_being_written_again(site: Site, tmp_path: Path) -> None:
    site.push(study(1), START)
    out = tmp_path / "out"
    export(site, out)
    assert manifest(out)["series"][0]["roles"] == []
    assert export(site, out, polar).unchanged == 1
    assert len(manifest(out)["series"][0]["roles"]) == 2


def test_a_full_disk_leaves_whole_series_and_the_next_try_goes_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        site.push(study(number, 2, patient=number), START)
    out, written = tmp_path / "out", []
    write = export_module.write_file

    def failing(path: Path, parts: Any) -> None:
        if len(written) == 3:
            raise StorageFull("the disk is full")
        written.append(path)
        write(path, parts)

    with monkeypatch.context() as patch:
        patch.setattr(export_module, "write_file", failing)
        with pytest.raises(StorageFull, match="same command again"):
            export(site, out)
    assert len(list(out.rglob("*.dcm"))) == 2
    assert not list(out.rglob(".*"))
    assert export(site, out).files == 6
    fresh = tmp_path / "fresh"
    export(site, fresh)
    assert files(out) == files(fresh)


def test_killed_anywhere_the_next_try_ends_with_the_same_files(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    for number in range(2):
        site.push(study(number, 2, patient=number), START)
    fresh, out = tmp_path / "fresh", tmp_path / "out"
    export(site, fresh)
    for name in ("write_file", "sync_folder"):
        for nth in range(3):
            calls, real = iter(range(100)), getattr(export_module, name)

            def dying(*given: Any, calls: Any = calls, nth: int = nth, real: Any = real) -> None:
                if next(calls) == nth:
                    raise Killed
                real(*given)

            with monkeypatch.context() as patch:
                patch.setattr(export_module, name, dying)
                patch.setattr(export_module.Outbox, "discard", lambda self, working: None)
                try:
                    export(site, out)
                except Killed:
                    assert not (out / "manifest.json").exists() or manifest(out)["series"] is not None
    export(site, out)
    assert files(out) == files(fresh)


def test_space_that_the_node_needs_is_left_to_it(site: Site, tmp_path: Path) -> None:
    site.push(study(1), START)
    with pytest.raises(StorageFull, match="no space"):
        export(site, tmp_path / "out", least_free_mb=1e12)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_another_key_or_another_program_or_another_export_is_refused(site: Site, tmp_path: Path) -> None:
    site.push(study(1), START)
    out = tmp_path / "out"
    export(site, out)
    with pytest.raises(RequestError, match="another key"):
        export(site, out, key=KEY[::-1])
    with ExportFolder(out, Pseudonyms(KEY).check), pytest.raises(RequestError, match="another export"):
        export(site, out)
    (out / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(RequestError, match="choose another --out"):
        export(site, out)


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key, out = tmp_path / "keys" / "export.key", tmp_path / "out"
    first = load_pseudonyms(key, out)
    assert key.stat().st_mode & 0o777 == 0o600
    assert load_pseudonyms(key, out).check == first.check
    assert [path.name for path in key.parent.iterdir()] == ["export.key"]
    key.chmod(0o640)
    with pytest.raises(RequestError, match="chmod 600"):
        load_pseudonyms(key, out)
    short = tmp_path / "short"
    short.write_bytes(b"secret\n")
    short.chmod(0o600)
    with pytest.raises(RequestError, match="needs 16"):
        load_pseudonyms(short, out)
    with pytest.raises(RequestError, match="must not lie in"):
        load_pseudonyms(out / "my.key", out)
    assert not out.exists()


def test_the_node_may_be_writing_meanwhile(site: Site, tmp_path: Path) -> None:
    site.push(study(1), START)
    with site.database.begin() as tx:
        tx.exec_driver_sql("UPDATE instances SET received_at = 0")
        assert export(site, tmp_path / "out").files == 2
