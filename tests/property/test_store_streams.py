"""However a peer cuts its messages into fragments, PDUs and packets, the spool gets the same bytes."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from dicom_node.archive.model import AssociationOpened, InstanceReceived
from dicom_node.net.connection import Connection
from dicom_node.net.journal import read_journal
from dicom_node.net.negotiation import Request, accept, read_request
from dicom_node.net.spool import Spool
from dicom_node.net.store_association import Patience, StoreAssociation

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXT = 1
RELEASE_RQ = struct.pack(">BBI4x", 5, 0, 4)


def request() -> Request:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "CORRECTOR"
    context = build_context(CT, ExplicitVRLittleEndian)
    context.context_id = CONTEXT
    primitive.presentation_context_definition_list = [context]
    length, name = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, name.implementation_class_uid = 16384, "1.2.3"
    primitive.user_information = [length, name]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return read_request(pdu.encode())


def element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(number: int) -> bytes:
    return b"".join(
        (
            element(0x0002, CT.encode()),
            element(0x0100, struct.pack("<H", 1)),
            element(0x0110, struct.pack("<H", number + 1)),
            element(0x0800, struct.pack("<H", 0)),
            element(0x1000, f"1.2.3.{number}".encode()),
        )
    )


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces = []
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces or [b""]


def fragments(number: int, body: bytes, sizes: Sequence[int]) -> list[bytes]:
    values = []
    for bits, data in ((1, command(number)), (0, body)):
        pieces = cut(data, sizes)
        for index, piece in enumerate(pieces):
            last = 2 if index == len(pieces) - 1 else 0
            values.append(struct.pack(">IBB", len(piece) + 2, CONTEXT, bits | last) + piece)
    return values


def pdus(values: list[bytes], together: Sequence[int]) -> bytes:
    stream, at, turn = b"", 0, 0
    while at < len(values):
        count = together[turn % len(together)]
        body = b"".join(values[at : at + count])
        stream += struct.pack(">BBI", 4, 0, len(body)) + body
        at, turn = at + count, turn + 1
    return stream


def serve(folder: Path, stream: list[bytes], buffer: int) -> tuple[StoreAssociation, bytes]:
    """Feed packets to an association, and gather its answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wanted = request()
    _, accepted = accept(wanted)
    with closing(Spool(folder)) as spool, closing(Connection(ours, "127.0.0.1")) as connection, peer:
        connection.enlarge(buffer)
        association = StoreAssociation(connection, wanted, accepted, spool, Patience(5, 5), lambda name, amount: None)

        def run() -> None:
            association.serve()
            connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        for packet in stream:
            peer.sendall(packet)
        peer.shutdown(socket.SHUT_WR)
        answers = b""
        while piece := peer.recv(65536):
            answers += piece
        thread.join(20)
        assert not thread.is_alive()
    return association, answers


sizes = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    bodies=st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=4),
    fragment_sizes=sizes,
    together=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    packets=sizes,
    buffer=st.integers(16_384, 20_000),
)
def test_fragmentation_does_not_matter(
    bodies: list[bytes], fragment_sizes: list[int], together: list[int], packets: list[int], buffer: int
) -> None:
    values = [value for n, body in enumerate(bodies) for value in fragments(n, body, fragment_sizes)]
    stream = cut(pdus(values, together) + RELEASE_RQ, packets)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        association, answers = serve(folder, stream, buffer)
        assert association.ending == "released"
        assert answers.endswith(struct.pack(">BBI4x", 6, 0, 4))
        [journal] = (folder / "journals").iterdir()
        opened, *received = read_journal(journal, 0).entries
        assert isinstance(opened, AssociationOpened)
        assert (opened.calling_ae, opened.called_ae) == ("SCANNER", "CORRECTOR")
        assert len(received) == len(bodies)
        for number, (entry, body) in enumerate(zip(received, bodies, strict=True)):
            assert isinstance(entry, InstanceReceived)
            path = folder / "files" / entry.file
            data = path.read_bytes()
            assert data.endswith(body)
            assert entry.size == len(data)
            meta = read_file_meta_info(path)
            assert meta.MediaStorageSOPInstanceUID == entry.sop_instance_uid == f"1.2.3.{number}"
            assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
            assert len(data) == 144 + meta.FileMetaInformationGroupLength + len(body)


@settings(max_examples=25, deadline=None)
@given(body=st.binary(min_size=50, max_size=300), at=st.integers(1, 400), packets=sizes)
def test_what_is_cut_off_leaves_no_file(body: bytes, at: int, packets: list[int]) -> None:
    stream = pdus(fragments(0, body, [17]), [1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        association, _ = serve(folder, cut(stream[: min(at, len(stream) - 1)], packets), 16_384)
        assert association.ending == "lost"
        assert association.ledger_id is None
        assert list((folder / "files").iterdir()) == []
