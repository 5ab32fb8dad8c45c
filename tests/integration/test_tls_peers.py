"""TLS towards peers: DCMTK and Orthanc, certificates on both sides, and what is said of each thing that is wrong."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

import peers
import pytest
import yaml
from certificates import Authority, Identity
from consignments import Dispatch, dispatch
from hostile import Call, HostilePeer, Manners
from pydicom import dcmread

from dicom_node.config import PeerSection
from dicom_node.config.sections import TlsClientSection
from dicom_node.errors import PeerUnreachable
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.net.sender import Sender
from dicom_node.testing.peer import ScriptedScp
from dicom_node.testing.series import SyntheticSeries

Dispatching = Callable[..., Dispatch]


@pytest.fixture
def dispatching(tmp_path: Path) -> Iterator[Dispatching]:
    """Makes a `Dispatch` for the given peers; its database is closed after the test."""
    made = []

    def make(known: Mapping[str, PeerSection]) -> Dispatch:
        made.append(dispatch(tmp_path, known, attempts=1))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def over_tls(
    port: int,
    ca: Path,
    own: Identity | None = None,
    *,
    ae_title: str = "STORESCP",
    check_host: bool = True,
    timeout_s: float = 20,
) -> PeerSection:
    """A peer on loopback that speaks TLS."""
    section = TlsClientSection(
        ca=ca, certificate=own.certificate if own else None, key=own.key if own else None, check_host=check_host
    )
    return PeerSection(ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=timeout_s, tls=section)


def tls_options(identity: Identity, ca: Path, *, mutual: bool = True) -> tuple[str, ...]:
    """DCMTK's."""
    asked = "--require-peer-cert" if mutual else "--ignore-peer-cert"
    return ("+tls", str(identity.key), str(identity.certificate), "+cf", str(ca), asked)


def test_storescp_with_certificates_on_both_sides_gets_everything(
    storescp: Callable[..., peers.StoreScp], dispatching: Dispatching, authority: Authority
) -> None:
    there = storescp(*tls_options(authority.issue("pacs"), authority.certificate))
    sending = dispatching({"pacs": over_tls(there.port, authority.certificate, authority.issue("node"))})
    job = sending.derived("a", {"ct": SyntheticSeries(slices=4, rows=300, columns=300)}, ("pacs",))
    sending.attempt()
    assert sending.job(job).state is JobState.DELIVERED
    assert len(there.files()) == 4


def test_orthanc_with_certificates_on_both_sides_has_everything_and_says_so(
    tmp_path: Path, need_program: Callable[..., Path], dispatching: Dispatching, authority: Authority
) -> None:
    need_program("Orthanc")
    pacs = authority.issue("pacs")
    settings = {
        "DicomTlsEnabled": True, "DicomTlsRemoteCertificateRequired": True, "DicomTlsPrivateKey": str(pacs.key),
        "DicomTlsCertificate": str(pacs.certificate), "DicomTlsTrustedCertificates": str(authority.certificate),
    }  # fmt: skip
    with peers.orthanc(tmp_path / "orthanc", **settings) as orthanc:
        peer = over_tls(orthanc.port, authority.certificate, authority.issue("node"), ae_title="ORTHANC")
        sending = dispatching({"pacs": peer})
        series = SyntheticSeries(slices=20, rows=128, columns=128)
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert sending.deliveries(job)["pacs"].verified == "ct: c-find 20 of 20"
        received = {dcmread(BytesIO(b)).PixelData for b in orthanc.files_of_series(series.series_instance_uid)}
        assert received == {d.PixelData for d in series.datasets()}


def test_what_is_wrong_with_a_certificate_is_said(
    storescp: Callable[..., peers.StoreScp], tmp_path: Path, authority: Authority
) -> None:
    good = storescp(*tls_options(authority.issue("pacs"), authority.certificate))
    own = authority.issue("node")
    stranger = Authority(tmp_path / "elsewhere", "stranger")

    def says(peer: PeerSection) -> str:
        with pytest.raises(PeerUnreachable) as caught:
            Sender(peer, "NODE").echo()
        return str(caught.value)

    assert "its certificate is not trusted (self-signed" in says(over_tls(good.port, stranger.certificate, own))
    assert "does not take our certificate" in says(over_tls(good.port, authority.certificate))
    assert "does not take our certificate" in says(over_tls(good.port, authority.certificate, stranger.issue("node")))
    expired = storescp(*tls_options(authority.issue("old", days=-1), authority.certificate, mutual=False))
    assert "not trusted (certificate has expired)" in says(over_tls(expired.port, authority.certificate))
    elsewhere = storescp(
        *tls_options(authority.issue("far", hosts=("pacs.example",)), authority.certificate, mutual=False)
    )
    assert "IP address mismatch" in says(over_tls(elsewhere.port, authority.certificate))
    Sender(over_tls(elsewhere.port, authority.certificate, check_host=False), "NODE").echo()
    Sender(over_tls(good.port, authority.certificate, own), "NODE").echo()


def server_hello_without_end(call: Call) -> None:
    call.trickle(bytes([0x16, 3, 3, 0x3F, 0]) + bytes(1000), 0.2)


@pytest.mark.parametrize(
    ("manner", "says"),
    [
        (Call.hang, "no answer to the TLS handshake"),
        (server_hello_without_end, "no answer to the TLS handshake"),
        (lambda call: call.line.close(), "hung up in the TLS handshake"),
        # What DCMTK and others say to what is no DICOM: A-ABORT.
        (lambda call: call.line.sendall(bytes.fromhex("0700000000040000 0201")), "does it speak TLS"),
        (None, "does it speak TLS"),
    ],
)
def test_peers_that_speak_no_tls_are_left_in_time_and_charged_nothing(
    dispatching: Dispatching, authority: Authority, manner: Callable[[Call], None] | None, says: str
) -> None:
    with HostilePeer(Manners(connected=manner)) as there:
        sending = dispatching({"pacs": over_tls(there.port, authority.certificate, timeout_s=1)})
        job = sending.derived("a", {"ct": SyntheticSeries(slices=1)}, ("pacs",))
        begun = time.monotonic()
        sending.attempt()
        assert time.monotonic() - begun < 10
        delivery = sending.deliveries(job)["pacs"]
        assert (delivery.state, delivery.attempts, delivery.error_code) == (DeliveryState.PENDING, 0, "PeerUnreachable")
        assert says in (delivery.error or "")


def test_a_file_that_is_away_for_a_moment_costs_nothing(
    storescp: Callable[..., peers.StoreScp], dispatching: Dispatching, authority: Authority, tmp_path: Path
) -> None:
    there = storescp(*tls_options(authority.issue("pacs"), authority.certificate, mutual=False))
    ca = tmp_path / "ca.pem"
    sending = dispatching({"pacs": over_tls(there.port, ca)})
    job = sending.derived("a", {"ct": SyntheticSeries(slices=1)}, ("pacs",))
    sending.attempt()
    delivery = sending.deliveries(job)["pacs"]
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    assert str(ca) in (delivery.error or "")
    ca.write_bytes(authority.certificate.read_bytes())
    sending.later()
    sending.attempt()
    assert sending.job(job).state is JobState.DELIVERED


def test_a_plain_call_to_a_tls_port_asks_about_tls(
    storescp: Callable[..., peers.StoreScp], authority: Authority
) -> None:
    there = storescp(*tls_options(authority.issue("pacs"), authority.certificate))
    plain = PeerSection(ae_title="STORESCP", host="127.0.0.1", port=there.port, timeout_s=1)
    with pytest.raises(PeerUnreachable, match="does it want TLS"):
        Sender(plain, "NODE").echo()


def test_check_calls_tls_peers(storescp: Callable[..., peers.StoreScp], authority: Authority, tmp_path: Path) -> None:
    there = storescp(*tls_options(authority.issue("pacs"), authority.certificate, mutual=False))
    peer = {"ae_title": "STORESCP", "host": "127.0.0.1", "port": there.port, "tls": {"ca": str(authority.certificate)}}
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": str(tmp_path), "min_free_mb": 1}, "peers": {"pacs": peer}}))
    command = [sys.executable, "-m", "dicom_node.cli", "check", "--config", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    findings = {f["what"]: f for f in json.loads(done.stdout)["findings"]}
    assert "answers C-ECHO" in findings["peer pacs"]["detail"]
    assert findings["peers.pacs.tls.ca"]["ok"]


def test_a_peer_whose_own_tls_is_chatty_is_understood(authority: Authority, tmp_path: Path) -> None:
    """Python's server sends session tickets, which are no DICOM data, right behind the handshake."""
    identity = authority.issue("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with ScriptedScp() as there:
        there._server.ssl_context = context
        sender = Sender(over_tls(there.port, authority.certificate, ae_title="SCRIPTED"), "NODE")
        for _ in range(3):
            sender.echo()
        assert sender.verify("1.2", "1.2.3", ["1.2.3.4"]).text == "c-find 0 of 1"
