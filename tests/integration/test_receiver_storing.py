"""Real and scripted scanners push into real receiver processes."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest
from nodes import ReceiverNode, node_config, receivers
from peers import accepts_connections, wait_until
from pydicom import dcmread
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.headers import read_header
from dicom_node.testing.peer import ScriptedScu
from dicom_node.testing.series import SyntheticSeries

CT = "1.2.840.10008.5.1.4.1.1.2"
Push = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverNode]:
    """Two receiver processes on one port, for tests that leave them as they are."""
    with receivers(node_config(tmp_path_factory.mktemp("node")), count=2) as node:
        yield node


def data_set_bytes(path: Path) -> bytes:
    data = dcmread(path, stop_before_pixels=True, specific_tags=[])
    return path.read_bytes()[132 + 12 + data.file_meta.FileMetaInformationGroupLength :]


def stored(node: ReceiverNode) -> dict[str, Path]:
    """Files that count, by SOP Instance UID; reading checks that they are whole."""
    return {read_header(FileRef(path)).sop_instance_uid: path for path in node.received().values()}


def test_parallel_associations_are_stored_byte_for_byte(shared: ReceiverNode, storescu: Push, tmp_path: Path) -> None:
    series = [SyntheticSeries(slices=12, series_number=n, seed=n) for n in range(1, 5)]
    sent = [(s, s.write(tmp_path / str(s.series_number))) for s in series]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda one: storescu(shared.port, [one[1][0].parent]), sent))
    assert all(r.returncode == 0 for r in results), results[0].stdout
    files = stored(shared)
    for one, paths in sent:
        for frame, path in enumerate(paths):
            assert data_set_bytes(files[one.sop_instance_uid(frame)]) == data_set_bytes(path)
    wait_until(lambda: not shared.open_associations())


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRBigEndian, "-xb"),
        (JPEGLosslessSV1, "-xs"),
        (JPEGBaseline8Bit, "-xy"),
        (JPEG2000Lossless, "-xv"),
        (JPEGLSLossless, "-xt"),
        (RLELossless, "-xr"),
    ],
    ids=lambda value: getattr(value, "keyword", str(value)),
)
def test_transfer_syntax_is_kept_as_sent(
    shared: ReceiverNode, storescu: Push, tmp_path: Path, syntax: str, option: str
) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 16
    series = SyntheticSeries(
        slices=1, seed=hash(option) % 1000, transfer_syntax_uid=syntax, bits_allocated=bits, bits_stored=bits
    )
    paths = series.write(tmp_path)
    result = storescu(shared.port, paths, option)
    assert result.returncode == 0, result.stdout
    kept = stored(shared)[series.sop_instance_uid(0)]
    assert dcmread(kept).file_meta.TransferSyntaxUID == syntax
    assert data_set_bytes(kept) == data_set_bytes(paths[0])


def test_private_storage_class_is_stored_and_video_is_refused_at_negotiation(shared: ReceiverNode) -> None:
    scanner = ScriptedScu(shared.port)
    private = "1.3.12.2.1107.5.9.1"
    assert scanner.accepted([(private, ExplicitVRLittleEndian), (CT, MPEG2MPML)]) == {(private, ExplicitVRLittleEndian)}
    assert scanner.store_bytes(private, "1.2.3.4", b"not decoded here") == 0x0000
    assert shared.received()["1.2.3.4"].read_bytes().endswith(b"not decoded here")


def test_echo(shared: ReceiverNode) -> None:
    assert ScriptedScu(shared.port).echo()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_implausible_uid_is_refused_and_leaves_nothing(shared: ReceiverNode) -> None:
    before = len(shared.received())
    assert ScriptedScu(shared.port).store_bytes(CT, "../../1.2", b"x" * 50_000) == 0x0117
    assert len(shared.received()) == before
    assert not shared.orphans()


def test_connection_dropped_in_a_data_set_leaves_no_orphan(shared: ReceiverNode) -> None:
    before = len(shared.received())
    scanner = ScriptedScu(shared.port)
    assert scanner.store_bytes(CT, "1.2.3.5", b"y" * 500_000, sent=300_000) is None
    wait_until(lambda: not shared.orphans(), what="orphan removed")
    assert len(shared.received()) == before


def test_memory_does_not_grow_with_the_instance(shared: ReceiverNode) -> None:
    assert ScriptedScu(shared.port).store_bytes(CT, "1.2.3.6", b"z" * 150_000_000) == 0x0000
    assert shared.peak_mib() < 150


def test_absurd_pdu_length_costs_no_memory(shared: ReceiverNode) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 600_000_000) + b"\0" * 1000)
        connection.settimeout(10)
        assert connection.recv(1000)[:1] in (b"", b"\x07")
    assert max(psutil.Process(p.pid).memory_info().rss for p in shared.processes) < 200 * 2**20
    assert ScriptedScu(shared.port).echo()


def test_below_the_watermark_everything_is_out_of_resources(storescu: Push, tmp_path: Path) -> None:
    paths = SyntheticSeries(slices=2).write(tmp_path / "series")
    with receivers(node_config(tmp_path, node={"min_free_mb": 1e12})) as node:
        scanner = ScriptedScu(node.port)
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses] == [0xA700, 0xA700]
        assert storescu(node.port, paths).returncode != 0
        assert node.received() == {}
        assert not node.orphans()


def test_killed_in_a_push_loses_nothing_acknowledged(tmp_path: Path) -> None:
    paths = SyntheticSeries(slices=60, rows=128, columns=128).write(tmp_path / "series")
    with receivers(node_config(tmp_path)) as node:
        scanners = [ScriptedScu(node.port) for _ in range(2)]
        threads = [threading.Thread(target=s.store, args=(paths[n::2],)) for n, s in enumerate(scanners)]
        for thread in threads:
            thread.start()
        wait_until(lambda: sum(len(s.statuses) for s in scanners) > 10, what="some acknowledged")
        node.kill()
        for thread in threads:
            thread.join()
        acknowledged = {uid for s in scanners for uid, status in s.statuses if status == 0}
        assert 10 < len(acknowledged) < 60
        assert acknowledged <= stored(node).keys()
        assert node.open_associations()

        node.start()
        assert acknowledged <= stored(node).keys()
        assert ScriptedScu(node.port).store(paths)


def test_drain_finishes_what_is_running_and_refuses_what_is_new(tmp_path: Path) -> None:
    paths = SyntheticSeries(slices=30).write(tmp_path / "series")
    with receivers(node_config(tmp_path, node={"drain_s": 60})) as node:
        scanner = ScriptedScu(node.port)
        thread = threading.Thread(target=scanner.store, args=(paths,))
        thread.start()
        wait_until(lambda: len(scanner.statuses) > 3)
        process = node.processes[0]
        os.kill(process.pid or 0, signal.SIGTERM)
        node.stop_listening()
        wait_until(lambda: not accepts_connections(node.port), what="port closed")
        thread.join()
        assert [status for _, status in scanner.statuses] == [0] * 30
        process.join(20)
        assert process.exitcode == 0
        assert node.endings() == ["released"]


def test_silent_peer_is_dropped(tmp_path: Path) -> None:
    with receivers(node_config(tmp_path, intake={"request_timeout_s": 1})) as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
            connection.sendall(struct.pack(">BBL", 1, 0, 200))
            assert connection.recv(10)[:1] in (b"", b"\x07")
        assert ScriptedScu(node.port).echo()


def test_port_probes_do_not_use_up_the_places_of_senders(tmp_path: Path) -> None:
    with receivers(node_config(tmp_path, intake={"max_associations": 2})) as node:
        silent = [socket.create_connection(("127.0.0.1", node.port), timeout=10) for _ in range(20)]
        for one in silent[::2]:
            one.close()
        assert ScriptedScu(node.port).echo()
        for one in silent:
            one.close()
        assert node.counters()["rejected_limit"] == 0
