"""The synthetic series must themselves be right: every other test leans on them."""

import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.testing.encoding import LOSSLESS, UNCOMPRESSED
from dicom_node.testing.identity import NON_LATIN
from dicom_node.testing.series import SyntheticSeries, mr_series

VALID = {
    "ct": SyntheticSeries(slices=2),
    "ct padded": SyntheticSeries(slices=2, signed=True, intercept=0.0, padding_value=-2000),
    "mr": mr_series(slices=2),
    "mr cine": mr_series(slices=2, phases=3),
    "mr japanese": mr_series(slices=1, patient=NON_LATIN["japanese"]),
    "ct jpeg-ls": SyntheticSeries(slices=1, transfer_syntax_uid=LOSSLESS[1]),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", VALID)
def test_the_validator_finds_no_error(name, tmp_path, need_program):
    need_program("dciodvfy")
    for path in VALID[name].write(tmp_path):
        found = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False).stderr
        assert b"Error" not in found


@pytest.mark.parametrize("syntax", (*UNCOMPRESSED, *LOSSLESS), ids=lambda uid: UID(uid).keyword)
def test_every_lossless_encoding_holds_the_same_pixels(syntax, tmp_path):
    series = SyntheticSeries(slices=1, transfer_syntax_uid=syntax)
    (path,) = series.write(tmp_path)
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(dataset.pixel_array, series.stored_frame(0))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_uids(tmp_path):
    first, again, other = (
        SyntheticSeries(slices=1, seed=seed).write(tmp_path / n)[0] for n, seed in zip("abc", (1, 1, 2), strict=True)
    )
    assert first.read_bytes() == again.read_bytes()
    assert pydicom.dcmread(first).SOPInstanceUID != pydicom.dcmread(other).SOPInstanceUID


@pytest.mark.parametrize("syntax", (ImplicitVRLittleEndian, ExplicitVRBigEndian))
@pytest.mark.parametrize("script", NON_LATIN)
def test_names_come_back_in_every_script(script, syntax, tmp_path):
    patient = NON_LATIN[script]
    (path,) = SyntheticSeries(slices=1, patient=patient, transfer_syntax_uid=syntax).write(tmp_path)
    assert pydicom.dcmread(path).PatientName == patient.name


def test_padding_lies_outside_the_circle_only():
    series = SyntheticSeries(slices=1, signed=True, intercept=0.0, padding_value=-2000)
    np.testing.assert_array_equal(series.stored_frame(0) == -2000, series.outside_circle())
