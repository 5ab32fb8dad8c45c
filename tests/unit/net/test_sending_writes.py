"""How messages leave: without Nagle's delay, and each in one write however small the peer's PDUs are."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pynetdicom import build_context

from dicom_node.config import PeerSection
from dicom_node.net import requestor
from dicom_node.net.peer_socket import PeerSocket
from dicom_node.net.sender import Outgoing, Sender
from dicom_node.testing.peer import ScriptedScp
from dicom_node.testing.series import SyntheticSeries

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_connections_to_peers_do_not_wait_for_acknowledgements() -> None:
    with ScriptedScp() as scp:
        peer = PeerSection(ae_title=scp.ae_title, host="127.0.0.1", port=scp.port)
        with requestor.association(peer, "NODE", [build_context(CT)]) as found:
            connection = found.dul.socket.socket
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_message_is_one_write_whatever_the_size_of_its_pdus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = PeerSocket.write

    def recorded(self: PeerSocket, data: bytes | bytearray) -> None:
        writes.append(bytes(data))
        write(self, data)

    monkeypatch.setattr(PeerSocket, "write", recorded)
    series = SyntheticSeries(slices=2, rows=300, columns=300)
    files = [Outgoing(path, series.dataset(i).SOPInstanceUID, CT) for i, path in enumerate(series.write(tmp_path))]
    with ScriptedScp() as scp:
        peer = PeerSection(ae_title=scp.ae_title, host="127.0.0.1", port=scp.port)
        statuses: dict[str, int] = {}
        Sender(peer, "NODE").send(files, statuses.__setitem__)
    assert set(statuses.values()) == {0}
    assert len(writes) == len(files)
    # PS3.8 9.3.1: a PDU is type, reserved, length (4), body; the peer's limit cuts each message into several.
    for message in writes:
        pdus, at = 0, 0
        while at < len(message):
            assert message[at] == 0x04
            at += 6 + int.from_bytes(message[at + 2 : at + 6])
            pdus += 1
        assert pdus > 1
