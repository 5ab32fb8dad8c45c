"""Whatever bytes come in: a header, or an error that names the file. Never anything else."""

import io
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.dicom.headers import header_from
from dicom_node.dicom.parsing import parse
from dicom_node.dicom.pixels import StoredFrame, stored_from
from dicom_node.errors import UnreadableFile, UnusableSeries
from dicom_node.testing.encoding import LOSSLESS, UNCOMPRESSED
from dicom_node.testing.series import SyntheticSeries

REF = FileRef("fuzzed.dcm")


@cache
def whole(syntax: str) -> bytes:
    dataset = SyntheticSeries(slices=1, rows=8, columns=8, transfer_syntax_uid=syntax).dataset(0)
    dataset.AnatomicRegionSequence = [dataset.__class__("", {})]
    dataset.AnatomicRegionSequence[0].CodeMeaning = "Hip joint"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


damage = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(syntax=st.sampled_from([*UNCOMPRESSED, LOSSLESS[0]]), damage=damage, length=st.floats(0.1, 1))
def test_damaged_bytes_give_a_header_or_unreadable_file(syntax, damage, length):
    data = bytearray(whole(syntax))
    for where, what in damage:
        at = 132 + int(where * (len(data) - 132))
        data[at : at + len(what)] = what
    data = bytes(data[: int(len(data) * length)])
    try:
        assert isinstance(header_from(io.BytesIO(data), REF), InstanceHeader)
        assert isinstance(stored_from(parse(io.BytesIO(data), REF, pixels=True), REF), StoredFrame)
    except UnreadableFile as error:
        assert "fuzzed.dcm" in str(error)
    except UnusableSeries as error:
        assert "series " in str(error)
