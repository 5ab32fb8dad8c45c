"""Both readout polarities from computed volumes to DICOM, through the default route and back, to what is derived."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.compose.replay import FolderSources
from dicom_node.contracts import Accepts, Correction, Geometry, Limits, ParameterMap, Units, Volume
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.dicom.derived import read_derived
from dicom_node.dicom.files import output_folder
from dicom_node.dicom.reading import read_volume
from dicom_node.dicom.scan import scan
from dicom_node.planning import input_digest
from dicom_node.routing import default_rules, route
from dicom_node.testing.specs import routing_spec
from dicom_node.worker.pipeline import Task, run
from dicom_node.worker.replay import replay_set

CONTEXT = DicomCommandContext()
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
MR = Accepts(
    "MR",
    Units.MR_SIGNAL,
    axes="bzyx",
    needs=("PixelBandwidth",),
    wants=("InPlanePhaseEncodingDirection", "EchoNumbers"),
)
SPEC = replace(
    routing_spec("mavric", plus=MR, minus=MR), limits={"plus": Limits(0.0, 65535.0), "minus": Limits(0.0, 65535.0)}
)
TAGS = {
    "PixelBandwidth": 1e6 / 1024 / 3,  # more digits than DS holds
    "InPlanePhaseEncodingDirection": "ROW",
    "ScanningSequence": "SE",
    "MagneticFieldStrength": 1.5,
}


def bins(count: int = 3, scale: float = 4000.0, seed: int = 0, tags=TAGS) -> Volume:
    geometry = Geometry(*AXIAL, (1.0, 1.0), tuple((0.0, 0.0, 4.0 * z) for z in range(2)), 24, 32, 4.0)
    pixels = np.random.default_rng(seed).uniform(0, scale, (count, 2, 24, 32)).astype(np.float32)
    return Volume(np.rint(pixels), Units.MR_SIGNAL, geometry, axes="bzyx", tags=tags)


def write_pair(folder, plus: Volume, minus: Volume, words=("RO+", "RO-")):
    for name, volume, word in (("plus", plus, words[0]), ("minus", minus, words[1])):
        CONTEXT.write(volume, folder / name, tags={"SeriesDescription": f"MAVRIC hip {word}"}, seed=3)


def routed(folder, spec=SPEC):
    return route(scan([folder]).series, default_rules(), {"mavric": spec})


@pytest.mark.parametrize("count", [1, 3])
def test_written_polarities_are_routed_and_read_back(count, tmp_path):
    plus, minus = bins(count, seed=1), bins(count, seed=2)
    write_pair(tmp_path, plus, minus)
    (made,) = routed(tmp_path).input_sets
    for role, given in (("plus", plus), ("minus", minus)):
        back = read_volume(made.roles[role], SPEC.inputs[role]).volume
        assert back.axes == "bzyx" and np.array_equal(back.pixels, given.pixels)
        assert float(back.tags["PixelBandwidth"]) == pytest.approx(TAGS["PixelBandwidth"])
        assert back.tags["InPlanePhaseEncodingDirection"] == "ROW"


def test_equal_polarities_are_two_series_of_one_study(tmp_path):
    write_pair(tmp_path, bins(), bins())
    files = [pydicom.dcmread(path) for path in sorted(tmp_path.rglob("*.dcm"))]
    assert len({f.SOPInstanceUID for f in files}) == len(files) == 12
    assert len({f.SeriesInstanceUID for f in files}) == 2 and len({f.StudyInstanceUID for f in files}) == 1
    assert len(routed(tmp_path).input_sets) == 1


def test_the_same_words_in_the_volumes_own_tags_count_too(tmp_path):
    for name in ("RO+", "RO-"):
        CONTEXT.write(bins(tags={**TAGS, "SequenceName": name}), tmp_path / name, seed=3)
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in tmp_path.rglob("*.dcm")}) == 2


def test_a_series_without_bandwidth_is_left_with_its_name(tmp_path):
    bare = {key: value for key, value in TAGS.items() if key != "PixelBandwidth"}
    write_pair(tmp_path, bins(tags=bare), bins(tags=bare, seed=1))
    result = routed(tmp_path)
    assert result.input_sets == ()
    assert all("missing what mavric needs: PixelBandwidth" in " ".join(e.reasons) for e in result.explanations)


class Combines:
    """The root sum of squares of all bins of both polarities, and a map."""

    def correct(self, inputs):
        plus, minus = inputs["plus"], inputs["minus"]
        both = np.sqrt((np.square(plus.pixels).sum(axis=0) + np.square(minus.pixels).sum(axis=0)) / 2)
        after = Volume(both.astype(np.float32), plus.units, plus.geometry)
        field = ParameterMap("plus", after.pixels - 1.0, Units.HERTZ, "Off-resonance")
        return Correction(changed=True, volumes={"plus": after}, maps={"off_resonance": field})


def corrected(folder, out):
    (made,) = routed(folder).input_sets
    task = Task(SPEC, "classical", {}, "", made.roles, input_digest(made.roles), 1_700_000_000.0)
    return run(task, Combines(), out)


def test_a_job_writes_one_series_of_combined_bins_that_names_both_polarities(tmp_path):
    write_pair(tmp_path / "in", bins(seed=1), bins(seed=2))
    outcome = corrected(tmp_path / "in", tmp_path / "out")
    images, field = outcome.derived.series
    assert (images.role, field.role, len(images.files)) == ("plus", "map:off_resonance", 2)
    for file in images.files:
        made = pydicom.dcmread(file.path)
        assert len(made.SourceImageSequence) == 6 and "EchoNumbers" not in made
        assert made.BitsStored == 16 and made.pixel_array.max() > 4095
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    ("syntax", "vr"), [(ExplicitVRLittleEndian, "SL"), (ExplicitVRLittleEndian, "IS"), (ImplicitVRLittleEndian, "IS")]
)
def test_the_offset_frequency_of_ge_numbers_bins_and_does_not_outlive_them(syntax, vr, tmp_path):
    write_pair(tmp_path / "in", bins(seed=1), bins(seed=2))
    for path in (tmp_path / "in").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        offset = 1000 * (int(dataset.EchoNumbers) - 2)
        dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x34, vr, offset)
        del dataset.EchoNumbers
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    (made,) = routed(tmp_path / "in").input_sets
    assert {item.captures["bin"] for item in made.roles["minus"]} == {"-1000", "0", "1000"}
    for file in corrected(tmp_path / "in", tmp_path / "out").derived.series[0].files:
        assert 0x34 not in pydicom.dcmread(file.path).private_block(0x0043, "GEMS_PARM_01")


@pytest.mark.parametrize("only", ["plus", "map:off_resonance"])
def test_what_was_combined_is_found_and_recomputed_from_its_sources(only, tmp_path):
    write_pair(tmp_path / "in", bins(seed=1), bins(seed=2))
    corrected(tmp_path / "in", tmp_path / "out")
    derived = [
        read_derived(header)
        for one in scan([tmp_path / "out" / output_folder(only)]).series
        for header in one.instances
    ]
    named = frozenset[str]().union(*(one.sources for one in derived))
    recipe = derived[0].recipe
    roles = FolderSources(scan([tmp_path / "in"]), default_rules()).roles(recipe, named, SPEC)
    task = Task(SPEC, "classical", {}, "", roles, recipe.input_digest, 1_700_000_000.0)
    (agreement,) = replay_set(derived, task, Combines())
    assert agreement.agrees and agreement.pixels == 0 and agreement.instances == len(derived)


@pytest.mark.integration
def test_the_validator_finds_no_error(tmp_path, need_program):
    need_program("dciodvfy")
    write_pair(tmp_path / "in", bins(seed=1), bins(seed=2))
    corrected(tmp_path / "in", tmp_path / "out")
    for path in [*(tmp_path / "in").rglob("*.dcm"), *(tmp_path / "out" / "plus").rglob("*.dcm")]:
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False).stderr
        assert b"Error" not in said, said.decode()
