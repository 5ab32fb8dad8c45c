"""However a peer cuts its messages into fragments and PDUs, the spool gets the same bytes."""

from __future__ import annotations

import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_node.net.spool import Spool
from dicom_node.net.spooling_dimse import ReceivedDataSet, SpoolingDimse

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXT = 5


def fragments(number: int, body: bytes, maximum: int) -> list[tuple[int, bytes]]:
    request = C_STORE()
    request.MessageID = number + 1
    request.Priority = 2
    request.AffectedSOPClassUID = CT
    request.AffectedSOPInstanceUID = f"1.2.3.{number}"
    request.DataSet = BytesIO(body)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return [pdv for data in message.encode_msg(CONTEXT, maximum) for pdv in data.presentation_data_value_list]


def association() -> Association:
    made = Association(AE(), MODE_ACCEPTOR)
    context = build_context(CT, ExplicitVRLittleEndian)
    context.context_id = CONTEXT
    made._accepted_cx = {CONTEXT: context}
    return made


@settings(max_examples=25, deadline=None)
@given(
    bodies=st.lists(st.binary(min_size=1, max_size=600), min_size=1, max_size=4),
    maximum=st.integers(16, 400),
    together=st.lists(st.integers(1, 5), min_size=1, max_size=20),
)
def test_fragmentation_does_not_matter(bodies: list[bytes], maximum: int, together: list[int]) -> None:
    stream = [pdv for n, body in enumerate(bodies) for pdv in fragments(n, body, maximum)]
    with tempfile.TemporaryDirectory() as folder, closing(Spool(Path(folder))) as spool:
        dimse = SpoolingDimse(association(), spool)
        sizes = iter(together * len(stream))
        while stream:
            size = next(sizes)
            data = P_DATA()
            data.presentation_data_value_list.extend(stream[:size])
            del stream[:size]
            dimse.receive_primitive(data)
        for number, body in enumerate(bodies):
            context_id, message = dimse.msg_queue.get_nowait()
            assert context_id == CONTEXT
            received = message.DataSet
            assert isinstance(received, ReceivedDataSet)
            path = received.file.commit()
            assert path.read_bytes().endswith(body)
            meta = read_file_meta_info(path)
            assert meta.MediaStorageSOPInstanceUID == f"1.2.3.{number}"
            assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
        dimse.discard_unfinished()


@settings(max_examples=20, deadline=None)
@given(body=st.binary(min_size=50, max_size=300), cut=st.integers(1, 40))
def test_what_is_cut_off_leaves_no_file(body: bytes, cut: int) -> None:
    stream = fragments(0, body, 17)
    with tempfile.TemporaryDirectory() as folder, closing(Spool(Path(folder))) as spool:
        dimse = SpoolingDimse(association(), spool)
        for pdv in stream[: min(cut, len(stream))]:
            data = P_DATA()
            data.presentation_data_value_list.append(pdv)
            dimse.receive_primitive(data)
        dimse.discard_unfinished()
        assert list(spool.incoming.glob("*.dcm")) == []
