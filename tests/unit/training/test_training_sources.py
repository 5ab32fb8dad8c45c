"""From images to patients: splits by patient, packs, sheets, draws, and what is left out."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import small_task
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.contracts import FoundImage, FoundImages, Geometry, LeftOut, ReadImage, Units, Volume
from dicom_node.errors import InputError, RequestError, UnusableSeries
from training import pack as packing
from training.anatomy import Anatomy, split_by_patient
from training.data_sheet import DataFolder, data_folders
from training.pack import is_pack, read_pack, write_pack
from training.recipe import DataSection
from training.sources import Examples, fixed_cases, gather, procedural_patients


def anatomy(patient: str, series: str, frames: int = 2, kind: str = "real", weight: float = 1.0) -> Anatomy:
    """Frames that tell whose they are."""
    value = sum(map(ord, patient + series))
    return Anatomy(patient, series, kind, {"frames": np.full((frames, 4, 4), value, np.int16)}, weight)  # type: ignore[arg-type]


patients = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from(["real", "procedural"])), min_size=1, max_size=40
)


@given(patients, st.integers(0, 5), st.floats(0, 0.45), st.floats(0, 0.45))
def test_no_patient_is_in_two_parts_and_none_is_lost(
    drawn: list[tuple[int, int, str]], seed: int, validation: float, test: float
) -> None:
    all_of_them = [anatomy(f"{kind}{p}", f"{kind}{p}-{s}", kind=kind) for p, s, kind in set(drawn)]
    split = split_by_patient(all_of_them, validation_share=validation, test_share=test, seed=seed)
    of_part = {name: {a.patient for a in part} for name, part in split.parts.items()}
    assert not of_part["training"] & of_part["validation"]
    assert not of_part["training"] & of_part["test"]
    assert not of_part["validation"] & of_part["test"]
    assert Counter(a.series for part in split.parts.values() for a in part) == Counter(a.series for a in all_of_them)
    again = split_by_patient(all_of_them[::-1], validation_share=validation, test_share=test, seed=seed)
    assert again.digest == split.digest
    for kind in {k for _, _, k in drawn}:
        count = len({a.patient for a in all_of_them if a.kind == kind})
        if count >= 3 and test > 0:
            assert any(a.kind == kind for a in split.test)
        if count < 3:
            assert not any(a.kind == kind for a in split.test)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(0, 50))
def test_example_n_is_the_same_however_it_is_asked_for(seed: int, count: int, first: int) -> None:
    examples = Examples([anatomy(str(k), str(k)) for k in range(4)], DataSection(), seed)
    together = examples.draws(first, count)
    alone = [examples.draws(first + k, 1)[0] for k in range(count)]
    for one, other in zip(together, alone, strict=True):
        assert one.anatomy is other.anatomy
        assert one.rng.random() == other.rng.random()


def test_weights_decide_how_often_a_patient_is_drawn() -> None:
    those = [anatomy("a", "a", 4), anatomy("b", "b", 4, weight=3.0), anatomy("p", "p", 4, "procedural")]
    section = DataSection(real_weight=2, procedural_weight=1)
    drawn = Counter(d.anatomy.patient for d in Examples(those, section, 1).draws(0, 6000))
    assert drawn["p"] / 6000 == pytest.approx(1 / 3, abs=0.03)
    assert drawn["b"] / drawn["a"] == pytest.approx(3, rel=0.15)


def test_weights_that_leave_nobody_are_told() -> None:
    with pytest.raises(InputError, match="leave no patient"):
        Examples([anatomy("a", "a")], DataSection(real_weight=0, procedural_weight=1), 1)


def test_fixed_cases_are_the_same_at_each_call_and_real_patients_come_first() -> None:
    those = [anatomy("p", "p", kind="procedural"), anatomy("b", "b"), anatomy("a", "a")]
    first, second = fixed_cases(those, 5, 3), fixed_cases(those, 5, 3)
    assert [c.anatomy.patient for c in first] == ["a", "b", "a", "b", "a"]
    assert [c.rng.random() for c in first] == [c.rng.random() for c in second]


def test_procedural_patients_are_others_for_another_seed() -> None:
    task = small_task.Blur()
    one, two = (procedural_patients(task, 3, seed, lambda *_: None) for seed in (1, 2))
    assert len({a.digest for a in (*one, *two)}) == 6


class Reader:
    """A context that finds what it was given."""

    def __init__(self, volumes: dict[str, tuple[str, Volume]]) -> None:
        self._volumes = volumes

    def find(self, inputs: Sequence[Path], *, modality: str | None = None) -> FoundImages:
        images = tuple(FoundImage(n, p, "CT", v.shape[0], (), n) for n, (p, v) in self._volumes.items())
        return FoundImages(images, (LeftOut("readme.txt", "not DICOM"),))

    def load(self, found: FoundImage, *, tags: Sequence[str] = (), modality: str | None = None) -> ReadImage:
        assert tuple(tags) == ("KVP",)
        if found.label == "broken":
            raise UnusableSeries("series broken: truncated")
        return ReadImage(self._volumes[found.label][1], None, found.label, found.patient)


def volume(slices: int, value: float) -> Volume:
    """A flat CT."""
    geometry = Geometry((1, 0, 0), (0, 1, 0), (1, 1), tuple((0, 0, float(z)) for z in range(slices)), 16, 16)
    return Volume(np.full((slices, 16, 16), value, np.float32), Units.HU, geometry)


def test_what_does_not_serve_is_reported_and_the_rest_is_used(tmp_path: Path) -> None:
    reader = Reader({"good": ("p1", volume(3, 1)), "thin": ("p1", volume(1, 2)), "broken": ("p2", volume(3, 3)),
                     "more": ("p1", volume(4, 4))})  # fmt: skip
    got = gather(reader, [DataFolder(path=tmp_path)], small_task.Blur(), lambda *_: None)  # type: ignore[arg-type]
    assert [a.series for a in got.anatomies] == ["good", "more"]
    assert {a.patient for a in got.anatomies} == {"good"}  # one patient, called by the first series
    reasons = {one.what: one.reason for one in got.left_out}
    assert reasons["series thin"] == "fewer than two slices"
    assert "truncated" in reasons["series broken"]
    assert reasons["readme.txt"] == "not DICOM"


def test_a_data_set_with_one_id_for_all_can_be_split_by_series(tmp_path: Path) -> None:
    reader = Reader({"a": ("same", volume(3, 1)), "b": ("same", volume(3, 2))})
    folder = DataFolder(path=tmp_path, patient_is="series")
    got = gather(reader, [folder], small_task.Blur(), lambda *_: None)  # type: ignore[arg-type]
    assert len({a.patient for a in got.anatomies}) == 2


def test_a_folder_without_a_usable_series_is_told_with_the_reasons(tmp_path: Path) -> None:
    reader = Reader({"thin": ("p", volume(1, 1))})
    with pytest.raises(InputError, match=r"can be used for training(.|\n)*fewer than two slices"):
        gather(reader, [DataFolder(path=tmp_path)], small_task.Blur(), lambda *_: None)  # type: ignore[arg-type]


def test_a_pack_gives_back_what_went_in_and_the_same_bytes_twice(tmp_path: Path) -> None:
    those = [anatomy("a", "a1", 3), anatomy("b", "b1", 2, weight=2.5)]
    write_pack(tmp_path / "one", those, "blur-12")
    write_pack(tmp_path / "two", those, "blur-12")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert is_pack(tmp_path / "one")
    back = read_pack(tmp_path / "one", "blur-12")
    assert [(a.patient, a.series, a.kind, a.weight, a.digest) for a in back] == [
        (a.patient, a.series, a.kind, a.weight, a.digest) for a in those
    ]


def test_a_pack_that_would_be_too_large_is_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LARGEST_BYTES", 60_000)
    frames = np.random.default_rng(1).integers(0, 2000, (40, 48, 48)).astype(np.int16)
    arrays = {"frames": frames, "frames_offset_mm": np.arange(40.0), "sites_mm": np.zeros((40, 2))}
    kept = write_pack(tmp_path / "pack", [Anatomy("a", "a", "real", arrays)], "p")
    assert (tmp_path / "pack").stat().st_size <= 60_000
    offsets = kept[0].arrays["frames_offset_mm"]
    assert 4 < len(offsets) < 40
    assert len(set(np.diff(offsets))) == 1
    assert kept[0].arrays["sites_mm"].shape == (40, 2)


@pytest.mark.parametrize("content", [b"", b"PK not a zip", None])
def test_what_is_no_pack_is_told(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.json", '{"format": 1}')
    else:
        path.write_bytes(content)
        assert not is_pack(path)
    with pytest.raises(InputError, match="pack it again"):
        read_pack(path, "p")


def test_a_pack_of_another_grid_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", [anatomy("a", "a")], "old")
    with pytest.raises(InputError, match="was packed for 'old', this recipe needs 'new'"):
        read_pack(tmp_path / "pack", "new")


def test_a_sheet_names_folders_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    sheet = tmp_path / "sheet.yaml"
    sheet.write_text("folders:\n  - {path: ct, patient_is: series, weight: 2}\n")
    assert data_folders([sheet]) == (DataFolder(path=tmp_path / "ct", patient_is="series", weight=2),)


@pytest.mark.parametrize(
    ("text", "told"),
    [("folders: []", "folders"), ("folders:\n  - {path: ., wieght: 2}", "wieght"), ("a: [", "not valid YAML")],
)
def test_a_wrong_sheet_is_told(text: str, told: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.yaml"
    sheet.write_text(text)
    with pytest.raises(RequestError, match=told):
        data_folders([sheet])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file or folder"):
        data_folders([tmp_path / "none"])
