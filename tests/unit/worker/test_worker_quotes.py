"""What a corrector quotes of typed header values is left out of its texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.contracts import Accepts, FileRef, RoleInstance, Units, Volume
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.reading import read_volume
from dicom_node.testing.series import SyntheticSeries
from dicom_node.worker.quotes import Quotes


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder: Path = tmp_path_factory.mktemp("series")
    series = SyntheticSeries(slices=3, rows=8, columns=8, series_description="CANARY (left hip)", protocol_name="12")
    files = series.write(folder)
    wants = ("SeriesDescription", "ProtocolName", "Modality", "ImageType")
    instances = [RoleInstance(read_header(FileRef(path)), {}) for path in files]
    return read_volume(instances, Accepts("CT", Units.HU, wants=wants)).volume


def test_typed_values_are_left_out_and_codes_stay(volume: Volume) -> None:
    quotes = Quotes([volume])
    assert quotes.without("will not touch CANARY (left hip): AXIAL CT") == "will not touch [left out]: AXIAL CT"
    assert quotes.without("in 'canary (LEFT hip)' and CANARY (left hip)") == "in '[left out]' and [left out]"


def test_values_too_short_to_name_anybody_stay(volume: Volume) -> None:
    assert Quotes([volume]).without("12 slices") == "12 slices"


@given(st.text())
def test_other_text_is_kept(text: str) -> None:
    assert Quotes([]).without(text) == text


@pytest.mark.parametrize(
    "keyword", ["PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "InstitutionName", "OtherPatientIDs"]
)
def test_a_corrector_cannot_ask_who_the_patient_is(keyword: str) -> None:
    with pytest.raises(ValueError, match=keyword):
        Accepts("CT", Units.HU, wants=(keyword,))


def test_a_corrector_may_ask_how_heavy_and_how_old_the_patient_is() -> None:
    Accepts("CT", Units.HU, needs=("PatientPosition", "PatientAge", "PatientWeight"))
