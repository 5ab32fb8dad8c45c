"""A derived image made after a pattern has the very bytes of one made from its parts; where it would not, it is not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from derivation_case import Case, make_case
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from dicom_node.dicom import corrected
from dicom_node.dicom.files import WriteBehind
from dicom_node.dicom.template import Template
from dicom_node.errors import StorageFull
from dicom_node.testing.series import SyntheticSeries, mr_series

SLICES = 6


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each image was made, in order."""
    ways: list[str] = []
    original = corrected.CorrectedSeries._from_parts

    def from_parts(self: corrected.CorrectedSeries, *arguments: object) -> bytes:
        ways.append("parts")
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(corrected.CorrectedSeries, "_from_parts", from_parts)
    return ways


def files(case: Case, folder: Path) -> list[bytes]:
    return [file.path.read_bytes() for file in case.derive(folder).series[0].files]


def both_ways(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, ways: list[str]) -> int:
    """Derive with and without patterns, compare, and tell how many images were made after one."""
    with_patterns = files(case, folder / "with")
    made = ways.count("parts")
    with monkeypatch.context() as patch:
        patch.setattr(Template, "learned", lambda *_: None)
        assert files(case, folder / "without") == with_patterns
    assert ways.count("parts") == made + len(with_patterns)
    return len(with_patterns) - made


def altered(folder: Path, change: Callable[[Dataset, int], None]) -> None:
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        change(dataset, number)
        dataset.save_as(path)


def case_of(folder: Path, change: Callable[[Dataset, int], None] = lambda *_: None, **options: object) -> Case:
    series = SyntheticSeries(slices=SLICES, rows=32, columns=32, **options)  # type: ignore[arg-type]
    make_case(series, folder)
    altered(folder, change)
    from derivation_case import spec_for

    from dicom_node.contracts import Correction, RoleInstance
    from dicom_node.dicom.provenance import Provenance
    from dicom_node.dicom.reading import read_volume
    from dicom_node.dicom.scan import scan

    spec = spec_for(series.modality)
    instances = [RoleInstance(h, {}) for s in scan([folder]).series for h in s.instances]
    loaded = read_volume(instances, spec.inputs["image"])
    pixels = loaded.volume.pixels.copy()
    pixels[1:-1, 10:20, 12:24] += 7
    correction = Correction(changed=True, volumes={"image": loaded.volume.with_pixels(pixels)})
    provenance = Provenance(
        spec=spec, method="classical", parameters={}, weights_sha256="", input_digest="cd" * 32, created_at=1.7e9
    )
    return Case(spec, {"image": loaded}, correction, provenance, tuple(folder.rglob("*.dcm")))


def slice_facts(dataset: Dataset, number: int) -> None:
    """What scanners change from slice to slice."""
    dataset.AcquisitionTime = f"10{number:02d}00.{number}"
    dataset.ContentTime = f"1111{number:02d}"
    dataset.InstanceCreationTime = f"2222{number:02d}"
    dataset.SliceLocation = number * 1.5
    dataset.XRayTubeCurrent = 100 + number
    dataset.WindowCenter = [40, 40 + number]
    dataset.add_new(0x00280106, "US", number)
    block = dataset.private_block(0x0019, "SOME VENDOR", create=True)
    block.add_new(0x10, "LO", "x" * (number + 1))
    block.add_new(0x11, "FD", [number / 3] * (number + 1))
    dataset.private_block(0x0029, "SOME OTHER", create=True).add_new(0x10, "OB", bytes([number]) * 300 * (number + 1))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signed": True, "intercept": 0.0},
        {"bits_stored": 12},
        {"padding_value": 0},
        {"bits_allocated": 8, "bits_stored": 8},
    ],
    ids=["plain", "signed", "12 bits", "padding", "8 bits"],
)
def test_slices_that_differ_as_scanners_make_them_follow_the_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str], syntax: str, options: dict[str, object]
) -> None:
    case = case_of(tmp_path / "in", slice_facts, transfer_syntax_uid=syntax, **options)
    # The first is the pattern, the second is made both ways to prove it; unchanged ones follow it, too.
    assert both_ways(case, tmp_path, monkeypatch, counted) == SLICES - 2


def odd(number: int, key: str, *values: object) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, index: int) -> None:
        slice_facts(dataset, index)
        setattr(dataset, key, values[index >= number])

    return change


def references(dataset: Dataset, number: int) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", f"1.2.{number}"
    dataset.ReferencedImageSequence = [item]


def private_creators(dataset: Dataset, number: int) -> None:
    dataset.private_block(0x0019, f"VENDOR {number % 2}", create=True).add_new(0x10, "LO", "same")


@pytest.mark.parametrize(
    "change",
    [
        odd(3, "SeriesDescription", "one", "another"),
        odd(3, "DerivationDescription", "one", "another"),
        odd(3, "ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"]),
        odd(3, "SpecificCharacterSet", "ISO_IR 100", "ISO_IR 192"),
        odd(3, "TimezoneOffsetFromUTC", "+0100", "+0200"),
        odd(3, "RescaleIntercept", -1024, -1000),
        odd(3, "ContentQualification", "PRODUCT", "SERVICE"),
        odd(3, "PatientComments", "one", "another"),
        odd(3, "LossyImageCompression", "00", "01"),
        references,
        private_creators,
    ],
    ids=lambda change: getattr(change, "__name__", ""),
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_slices_that_differ_in_what_matters_are_made_from_their_parts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    counted: list[str],
    change: Callable[[Dataset, int], None],
    syntax: str,
) -> None:
    case = case_of(tmp_path / "in", change, transfer_syntax_uid=syntax)
    assert both_ways(case, tmp_path, monkeypatch, counted) < SLICES - 2


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, JPEGLSLossless])
def test_other_encodings_are_made_from_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str], syntax: str
) -> None:
    case = make_case(mr_series(slices=SLICES, rows=32, columns=32, transfer_syntax_uid=syntax), tmp_path / "in")
    assert both_ways(case, tmp_path, monkeypatch, counted) == 0


def test_a_slice_with_something_behind_its_pixels_is_made_from_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    def behind(dataset: Dataset, number: int) -> None:
        if number == 4:
            dataset.private_block(0x7FE1, "LATE", create=True).add_new(0x10, "LO", "after the pixels")

    case = case_of(tmp_path / "in", behind)
    assert both_ways(case, tmp_path, monkeypatch, counted) == SLICES - 3


def test_random_differences_never_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str]
) -> None:
    """Whatever differs between slices, in whatever combination: both ways agree."""
    keywords = (
        "AccessionNumber", "StudyDescription", "ProtocolName", "KVP", "ConvolutionKernel", "AcquisitionNumber",
        "InstitutionName", "StationName", "ReconstructionDiameter", "GantryDetectorTilt", "ImageComments",
        "LossyImageCompression",
        "SeriesTime", "OperatorsName", "FilterType", "TableHeight", "RequestingPhysician", "ScheduledProcedureStepID",
    )  # fmt: skip
    for seed in range(6):
        random_ = random.Random(seed)

        def change(dataset: Dataset, number: int, random_: random.Random = random_) -> None:
            slice_facts(dataset, number)
            for keyword in random_.sample(keywords, 4):
                vr = pydicom.datadict.dictionary_VR(keyword)
                value = str(random_.randint(1, 99)) if vr in ("DS", "IS") else random_.choice(("", "A", "CCC DDD"))
                if random_.random() < 0.3:
                    setattr(dataset, keyword, value)
            if random_.random() < 0.2:
                references(dataset, number)

        syntax = random_.choice((ExplicitVRLittleEndian, ImplicitVRLittleEndian))
        case = case_of(tmp_path / str(seed) / "in", change, transfer_syntax_uid=syntax)
        both_ways(case, tmp_path / str(seed), monkeypatch, counted)
        counted.clear()


def test_files_are_whole_when_the_writer_is_left_and_a_failure_is_told(tmp_path: Path) -> None:
    with WriteBehind() as outlet:
        for number in range(40):
            outlet.write(tmp_path / f"{number}.dcm", [b"head", bytes([number]) * 1000])
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {f"{n}.dcm": 1004 for n in range(40)}


def test_a_failure_is_raised_at_the_end_at_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicom_node.dicom import files as module

    numbers: Iterator[int] = itertools.count()
    original = module.write_file

    def fill(path: Path, parts: list[bytes]) -> None:
        if next(numbers) == 2:
            raise StorageFull("the disk is full")
        original(path, parts)

    monkeypatch.setattr(module, "write_file", fill)
    with pytest.raises(StorageFull), WriteBehind() as outlet:
        for number in range(3):
            outlet.write(tmp_path / f"{number}.dcm", [b"content"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), WriteBehind() as outlet:
        outlet.write(tmp_path / "more.dcm", [b"content"])
        raise ZeroDivisionError
    assert set(before) <= set(tmp_path.iterdir()), "nothing is written after the end"
