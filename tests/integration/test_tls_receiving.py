"""TLS for those who call the node, and who may call at all: real senders against receiver processes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nodes
import peers
import pytest
from certificates import Authority, Identity
from nodes import ReceiverNode
from peers import free_port, wait_until

from dicom_node.testing.series import SyntheticSeries

HANDSHAKE_S = 1.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, need_program: Callable[..., Path]
) -> Iterator[ReceiverNode]:
    """A receiver with a TLS port that wants certificates, beside a plain one; it knows only some callers."""
    need_program("storescu")
    own = authority.issue("node")
    tls = {
        "certificate": own.certificate, "key": own.key, "client_ca": authority.certificate, "port": free_port(),
        "handshake_timeout_s": HANDSHAKE_S,
    }  # fmt: skip
    access = {"check_called_ae": True, "callers": [{"ae_title": "STORESCU", "address": "127.0.0.0/8"}]}
    config = nodes.node_config(tmp_path_factory.mktemp("node"), node={"tls": tls}, access=access)
    with nodes.receivers(config) as node:
        yield node


def tls_port(node: ReceiverNode) -> int:
    assert node.config.node.tls is not None
    return node.config.node.tls.port or node.port


def series(folder: Path, seed: int) -> tuple[set[str], list[Path]]:
    """A new series: its SOP Instance UIDs and files."""
    one = SyntheticSeries(slices=3, seed=seed, series_number=seed)
    return {one.sop_instance_uid(n) for n in range(one.frames)}, one.write(folder / f"series{seed}")


def push(port: int, files: list[Path], *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return peers.storescu(port, files, "-ta", "10", *options, **settings)


def with_certificate(identity: Identity, authority: Authority) -> tuple[str, ...]:
    """DCMTK's options."""
    return ("+tls", str(identity.key), str(identity.certificate), "+cf", str(authority.certificate))


def shake_hands(port: int, authority: Authority, own: Identity | None = None) -> bytes:
    """A handshake as any TLS client would do it: the certificate that the node showed."""
    context = ssl.create_default_context(cafile=authority.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
    ):
        return line.getpeercert(binary_form=True) or b""


def is_cut_off(line: socket.socket, limit_s: float) -> bool:
    """Whether the node hangs up in time."""
    line.settimeout(limit_s)
    try:
        while line.recv(4096):
            continue
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_storescu_with_a_certificate_is_received_and_on_the_plain_port_too(
    secured: ReceiverNode, authority: Authority, tmp_path: Path
) -> None:
    by_tls, files = series(tmp_path, 1)
    done = push(tls_port(secured), files, *with_certificate(authority.issue("scanner"), authority))
    assert done.returncode == 0, done.stdout
    in_the_clear, files = series(tmp_path, 2)
    done = push(secured.port, files)
    assert done.returncode == 0, done.stdout
    assert by_tls | in_the_clear <= set(secured.received())


def test_orthanc_sends_over_tls(
    secured: ReceiverNode, authority: Authority, tmp_path: Path, need_program: Callable[..., Path]
) -> None:
    need_program("Orthanc")
    own = authority.issue("orthanc")
    settings = {
        "DicomTlsPrivateKey": str(own.key), "DicomTlsCertificate": str(own.certificate),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomModalities": {"node": {
            "AET": "CORRECTOR", "Host": "127.0.0.1", "Port": tls_port(secured), "UseDicomTls": True,
            "LocalAet": "STORESCU",
        }},
    }  # fmt: skip
    uids, files = series(tmp_path, 3)
    with peers.orthanc(tmp_path / "orthanc", **settings) as orthanc:
        assert peers.storescu(orthanc.port, files, ae_title="ORTHANC").returncode == 0
        document = json.dumps({"Resources": orthanc.get("/patients"), "Synchronous": True}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{orthanc.http_port}/modalities/node/store", data=document)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.loads(answer.read())["FailedInstancesCount"] == 0
    assert uids <= set(secured.received())


@pytest.mark.parametrize("wrong", ["none", "expired", "stranger", "plain"])
def test_callers_without_a_valid_certificate_are_refused_and_others_are_not(
    secured: ReceiverNode, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    uids, files = series(tmp_path, 4)
    stranger = Authority(tmp_path / "elsewhere", "stranger")
    options = {
        "none": ("+tla", "--ignore-peer-cert"),
        "expired": with_certificate(authority.issue("old", days=-1), authority),
        "stranger": with_certificate(stranger.issue("scanner"), authority),
        "plain": (),
    }[wrong]
    assert push(tls_port(secured), files, *options).returncode != 0
    assert not uids & set(secured.received())
    assert shake_hands(tls_port(secured), authority, authority.issue("scanner"))


def test_silent_and_slow_handshakes_stop_nobody_and_end(
    secured: ReceiverNode, authority: Authority, tmp_path: Path
) -> None:
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", tls_port(secured)))) for _ in range(30)]
        slow = silent.pop()
        uids, files = series(tmp_path, 5)
        done = push(tls_port(secured), files, *with_certificate(authority.issue("scanner"), authority))
        assert done.returncode == 0, done.stdout
        assert uids <= set(secured.received())
        with contextlib.suppress(OSError):
            for one in bytes([0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]) + bytes(100):
                slow.sendall(bytes([one]))
                if time.monotonic() - begun > 20:
                    pytest.fail("a handshake byte by byte is not cut off")
                time.sleep(HANDSHAKE_S / 5)
        assert all(is_cut_off(line, 5 * HANDSHAKE_S) for line in silent)


def test_a_renewed_certificate_is_shown_without_a_restart(
    secured: ReceiverNode, authority: Authority, tmp_path: Path
) -> None:
    scanner = authority.issue("scanner")
    before = shake_hands(tls_port(secured), authority, scanner)
    authority.issue("node")
    wait_until(lambda: shake_hands(tls_port(secured), authority, scanner) != before, 10, "the new certificate")
    uids, files = series(tmp_path, 6)
    assert push(tls_port(secured), files, *with_certificate(scanner, authority)).returncode == 0
    assert uids <= set(secured.received())
    # A broken file changes nothing.
    assert secured.config.node.tls is not None
    shown = shake_hands(tls_port(secured), authority, scanner)
    secured.config.node.tls.certificate.write_text("broken")
    assert shake_hands(tls_port(secured), authority, scanner) == shown
    authority.issue("node")
    assert [p.exitcode for p in secured.processes] == [None]


@pytest.mark.parametrize(
    ("options", "called", "says"),
    [
        (("-aet", "OTHER"), "CORRECTOR", "Calling AE Title Not Recognized"),
        ((), "OTHER", "Called AE Title Not Recognized"),
    ],
)
def test_who_may_not_call_is_told_so(
    secured: ReceiverNode, tmp_path: Path, options: tuple[str, ...], called: str, says: str
) -> None:
    uids, files = series(tmp_path, 7)
    done = push(secured.port, files, *options, ae_title=called)
    assert done.returncode != 0
    assert re.search(says, done.stdout), done.stdout
    assert not uids & set(secured.received())
    assert secured.counters()["rejected_access"] > 0


def test_a_port_of_its_own_speaks_tls_only(tmp_path: Path, authority: Authority) -> None:
    own = authority.issue("single")
    config = nodes.node_config(tmp_path, node={"tls": {"certificate": own.certificate, "key": own.key}})
    with nodes.receivers(config) as node:
        _, files = series(tmp_path, 8)
        assert push(node.port, files).returncode != 0
        assert not node.received()
        # Without client_ca a caller needs no certificate.
        done = push(node.port, files, "+tla", "+cf", str(authority.certificate))
        assert done.returncode == 0, done.stdout
        assert len(node.received()) == 3
