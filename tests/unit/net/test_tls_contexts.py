"""Contexts from PEM files: what is wrong with one is said by name, and a renewed one is taken up."""

from __future__ import annotations

import os
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from certificates import Authority, Identity, pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dicom_node.config.sections import TlsClientSection, TlsServerSection
from dicom_node.errors import ConfigError
from dicom_node.net.tls import ReloadingContext, certificates, client_context, explain, server_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> tuple[ssl.SSLObject, bytes]:
    """Both ends in memory: the client's end and the certificate that it got."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near, near.getpeercert(binary_form=True) or b""


def serving(identity: Identity, client_ca: Path | None = None) -> TlsServerSection:
    return TlsServerSection(certificate=identity.certificate, key=identity.key, client_ca=client_ca)


def test_both_sides_talk_and_know_each_other(authority: Authority) -> None:
    server = server_context(serving(authority.issue("node"), authority.certificate))
    own = authority.issue("peer")
    client = client_context(TlsClientSection(ca=authority.certificate, certificate=own.certificate, key=own.key), "tls")
    end, _ = handshake(server, client)
    assert end.version() == "TLSv1.3"
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    end, _ = handshake(server, client)
    assert end.version() == "TLSv1.2"
    assert end.cipher()[0].endswith(("GCM-SHA256", "GCM-SHA384"))  # type: ignore[index]


def test_caller_without_certificate_is_refused_where_one_is_asked_for(authority: Authority) -> None:
    server = server_context(serving(authority.issue("node"), authority.certificate))
    client = client_context(TlsClientSection(ca=authority.certificate), "peers.pacs.tls")
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        handshake(server, client)
    handshake(server_context(serving(authority.issue("node"))), client)


def test_old_versions_and_suites_without_forward_secrecy_are_not_spoken(authority: Authority) -> None:
    server = server_context(serving(authority.issue("node")))
    old = client_context(TlsClientSection(ca=authority.certificate), "peers.pacs.tls")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError):
        handshake(server, old)
    assert {c["protocol"] for c in server.get_ciphers()} == {"TLSv1.2", "TLSv1.3"}
    assert server.minimum_version == old.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("hosts", "check_host", "says"),
    [(("other.example",), True, "IP address mismatch"), (("other.example",), False, None)],
)
def test_host_name_is_checked_unless_switched_off(
    authority: Authority, hosts: tuple[str, ...], check_host: bool, says: str | None
) -> None:
    server = server_context(serving(authority.issue("node", hosts=hosts)))
    client = client_context(TlsClientSection(ca=authority.certificate, check_host=check_host), "peers.pacs.tls")
    if says is None:
        handshake(server, client)
        return
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(server, client)
    assert says in explain(caught.value)


def test_expired_and_foreign_certificates_are_not_trusted(authority: Authority, tmp_path: Path) -> None:
    client = client_context(TlsClientSection(ca=authority.certificate), "peers.pacs.tls")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(server_context(serving(authority.issue("node", days=-1))), client)
    assert "expired" in explain(caught.value)
    stranger = Authority(tmp_path / "elsewhere", "stranger").issue("node")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        handshake(server_context(serving(stranger)), client)
    assert "not trusted" in explain(caught.value)


def test_a_devices_own_certificate_may_be_trusted_by_itself(authority: Authority) -> None:
    identity = authority.issue("node")
    handshake(
        server_context(serving(identity)), client_context(TlsClientSection(ca=identity.certificate), "peers.pacs.tls")
    )


def damaged(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([lines[0], *lines[2:]])


@pytest.mark.parametrize(
    ("broken", "content", "says"),
    [
        ("certificate", None, "No such file"),
        ("certificate", b"\x30\x82\x01\x00 not PEM", "no certificate in PEM form"),
        ("certificate", "damaged", "cannot be used"),
        ("key", None, "No such file"),
        ("key", b"-----BEGIN CERTIFICATE-----", "no private key in PEM form"),
        ("key", "other", "does not belong to the certificate"),
        ("key", "encrypted", "encrypted"),
        ("client_ca", b"", "no certificate in PEM form"),
        ("client_ca", "damaged", "damaged"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_name(
    authority: Authority, broken: str, content: bytes | str | None, says: str
) -> None:
    identity = authority.issue("node")
    section = serving(identity, authority.certificate)
    path: Path = getattr(section, broken)
    if content == "other":
        content = pem(ec.generate_private_key(ec.SECP256R1()))
    elif content == "encrypted":
        content = pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
    elif content == "damaged":
        content = damaged(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=says) as caught:
        server_context(section)
    assert str(path) in str(caught.value)
    assert f"node.tls.{broken}" in str(caught.value) or "node.tls:" in str(caught.value)


def test_directory_instead_of_a_file_is_named(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"peers.pacs.tls.ca: .*: Is a directory"):
        client_context(TlsClientSection(ca=tmp_path), "peers.pacs.tls")


def test_expiry_is_that_of_the_certificate(authority: Authority) -> None:
    identity = authority.issue("node", days=20)
    both = authority.folder / "chain.pem"
    both.write_bytes(identity.certificate.read_bytes() + b"# a comment\n" + authority.certificate.read_bytes())
    found = certificates({"node.tls.certificate": both, "node.tls.client_ca": None})
    truth = [
        x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
        for path in (identity.certificate, authority.certificate)
    ]
    assert [one.expires_at for one in found] == truth
    assert {one.path for one in found} == {both}


@pytest.mark.parametrize("year", [1951, 2049, 2050, 9999])
def test_expiry_in_both_forms_of_time(authority: Authority, year: int) -> None:
    end = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), authority.key.public_key(), 5)
        .not_valid_before(datetime(1950, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
    )
    path = authority.folder / "one.pem"
    path.write_bytes(builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    assert [one.expires_at for one in certificates({"x": path})] == [end.timestamp()]


def test_renewed_certificate_is_taken_up_and_a_broken_one_is_not(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    section = serving(authority.issue("node"))
    reloading = ReloadingContext(section)
    client = client_context(TlsClientSection(ca=authority.certificate), "peers.pacs.tls")
    first = handshake(reloading.current(), client)[1]
    assert reloading.current() is reloading.current()
    # Certificate and key are not replaced at once: what does not match meanwhile is left alone.
    key = section.key.read_bytes()
    authority.issue("node")
    renewed = section.key.read_bytes()
    section.key.write_bytes(key)
    before = reloading.current()
    assert reloading.current() is before
    assert handshake(reloading.current(), client)[1] == first
    section.key.write_bytes(renewed)
    now = time.time_ns() + 10**9
    os.utime(section.key, ns=(now, now))
    assert handshake(reloading.current(), client)[1] != first
    section.certificate.unlink()
    assert reloading.current() is reloading.current()
    output = capsys.readouterr()
    assert (output.out + output.err).count("certificate_not_reloaded") == 2
