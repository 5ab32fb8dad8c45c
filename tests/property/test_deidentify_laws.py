"""Laws of de-identification: intervals stay, UIDs map one to one, and doing it twice harms nothing."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import date, datetime, timedelta
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from dicom_node.contracts import FileRef
from dicom_node.dicom import deidentify_values as values
from dicom_node.dicom.deidentify import deidentify
from dicom_node.dicom.deidentify_comments import without_comments
from dicom_node.dicom.deidentify_file import deidentified_file
from dicom_node.dicom.deidentify_pseudonyms import MOST_DAYS, Pseudonyms
from dicom_node.errors import InputError
from dicom_node.keeping.export_routes import harmless
from dicom_node.testing.series import SyntheticSeries

KEYS = st.binary(min_size=16, max_size=40)
BYTE = st.integers(0, 255)
PREAMBLE = bytes(128) + b"DICM"
TEXTS = st.text(max_size=20)
DATES = st.dates(min_value=date(1900, 1, 1))
UIDS = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){2,6}", fullmatch=True)


@given(KEYS, TEXTS, DATES, DATES)
def test_intervals_of_a_patient_stay_exactly(key: bytes, patient: str, one: date, other: date) -> None:
    days = Pseudonyms(key).days(patient)
    assert -MOST_DAYS <= days <= -1
    moved = [values.moved_date(d.strftime("%Y%m%d"), days) for d in (one, other)]
    assert all(text is not None and len(text) == 8 for text in moved)
    first, second = (datetime.strptime(str(text), "%Y%m%d").date() for text in moved)
    assert second - first == other - one
    assert first == one + timedelta(days=days)


@given(
    DATES, st.integers(-MOST_DAYS, -1), st.from_regex(r"([01][0-9]([0-5][0-9]){0,2}(\.[0-9]{1,6})?)?", fullmatch=True)
)
def test_times_of_a_moved_date_time_stay(day: date, days: int, time: str) -> None:
    moved = values.moved_date_time(f"{day:%Y%m%d}{time}+0200", days)
    assert moved is not None
    assert moved[8:] == f"{time}+0200"
    assert moved[:8] == values.moved_date(f"{day:%Y%m%d}", days)


@given(KEYS, st.lists(UIDS, unique=True, max_size=30))
def test_uids_map_one_to_one_and_to_uids(key: bytes, uids: list[str]) -> None:
    pseudonyms = Pseudonyms(key)
    mapped = [pseudonyms.uid(uid) for uid in uids]
    assert len(set(mapped)) == len(uids)
    assert mapped == [Pseudonyms(key).uid(uid) for uid in uids]
    assert all(UID(one).is_valid and len(one) <= 64 and one not in uids for one in mapped)


@given(KEYS, KEYS, UIDS, TEXTS)
def test_another_key_gives_other_pseudonyms(one: bytes, other: bytes, uid: str, patient: str) -> None:
    first, second = Pseudonyms(one), Pseudonyms(other)
    same = one == other
    assert (first.uid(uid) == second.uid(uid)) is same
    assert (first.patient(patient) == second.patient(patient)) is same
    assert (first.check == second.check) is same


@given(st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.4.1.1", "1.2.840.10008.2.16.4"]), KEYS)
def test_registered_uids_stay(uid: str, key: bytes) -> None:
    assert Pseudonyms(key).uid(uid) == uid


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["CT", "MR"]), st.text("pqr", min_size=1, max_size=3), st.integers(0, 2))
def test_doing_it_again_keeps_every_attribute(modality: str, patient: str, seed: int) -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    source = SyntheticSeries(modality=modality, slices=1, rows=4, columns=4, seed=seed).dataset(0)
    once = deidentify(source, patient, pseudonyms)
    twice = deidentify(once, patient, pseudonyms)
    assert sorted(once.keys()) == sorted(twice.keys())
    assert once == deidentify(source, patient, pseudonyms)
    changed = {e.keyword for e in once if e.value != twice[e.tag].value}
    assert all(k.endswith(("UID", "Date")) for k in changed), changed


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([None, JPEG2000Lossless, JPEGLSLossless]),
    st.lists(st.tuples(st.integers(132, 4000), BYTE), max_size=6),
)
def test_a_damaged_file_is_exported_or_refused(syntax: str | None, damage: list[tuple[int, int]]) -> None:
    data = bytearray(_file(syntax))
    for place, value in damage:
        data[place % len(data)] = value
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(InputError):
            assert deidentified_file(FileRef(Path(file.name)), "somebody", Pseudonyms(bytes(16)))[:132] == PREAMBLE


@lru_cache
def _file(syntax: str | None) -> bytes:
    encoded = BytesIO()
    dataset = SyntheticSeries(slices=1, rows=32, columns=32, transfer_syntax_uid=syntax or ExplicitVRLittleEndian)
    dataset.dataset(0).save_as(encoded, enforce_file_format=True)
    return encoded.getvalue()


@given(
    st.binary(min_size=2, max_size=60),
    st.sampled_from([JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless]),
    st.booleans(),
)
def test_any_code_is_blanked_or_refused_and_never_grows(code: bytes, syntax: str, started: bool) -> None:
    if started:
        code = (b"\xff\x4f\xff\x51" if syntax == JPEG2000Lossless else b"\xff\xd8") + code
    value = encapsulate([code])
    with contextlib.suppress(ValueError):
        assert len(without_comments(value, syntax)) == len(value)


@given(st.dictionaries(st.sampled_from(["polarity", "bin", "operator"]), st.text(max_size=12)))
def test_captures_are_tokens_and_numbers(captures: dict[str, str]) -> None:
    kept = harmless(captures)
    assert kept.items() <= captures.items()
    assert all(value.isascii() and " " not in value and len(value) <= 18 for value in kept.values())
    assert not any(c.isalpha() for c in kept.get("operator", ""))
