"""Faults under a receiver that runs in this process: a disk that fills up or refuses; peers that send nonsense."""

from __future__ import annotations

import errno
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from nodes import journal_entries, node_config, receivers
from peers import wait_until
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from dicom_node import faults
from dicom_node.archive.model import AssociationClosed, AssociationOpened, Entry, InstanceReceived
from dicom_node.config import Config
from dicom_node.errors import RequestError, StorageFull
from dicom_node.net import listener, spool
from dicom_node.net.board import Board
from dicom_node.net.listener import bind
from dicom_node.net.receiver import Receiver
from dicom_node.net.spool import Spool, SpoolFile
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.peer import ScriptedScu
from dicom_node.testing.series import SyntheticSeries

CT = "1.2.840.10008.5.1.4.1.1.2"


class SmallDiskFile(SpoolFile):
    """Has room for 100 kB."""

    def write(self, *parts: bytes | memoryview) -> None:
        if self.size + sum(map(len, parts)) > 100_000:
            self.discard()
            raise StorageFull(f"{self.path}: No space left on device")
        super().write(*parts)


@contextmanager
def receiving(config: Config) -> Iterator[None]:
    data_dir = config.node.data_dir.resolve()
    own_spool = Spool(data_dir / "spool")
    board = Board.create(multiprocessing.get_context("spawn"), 1, 10, data_dir / "seats.lock")
    listening = bind(config.node)
    receiver = Receiver(config, listening, board.place(0), own_spool)
    stop = threading.Event()
    thread = threading.Thread(target=receiver.serve, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        faults.arm(None)
        stop.set()
        thread.join(30)
        own_spool.close()
    assert not thread.is_alive()


def spooled(config: Config) -> set[str]:
    return {path.name for path in (config.node.data_dir.resolve() / "spool" / "files").iterdir()}


def counted(config: Config) -> set[str]:
    return {entry.file for entry in journal_entries(config) if isinstance(entry, InstanceReceived)}


def test_disk_that_fills_up_costs_one_instance_and_not_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SpoolFile", SmallDiskFile)
    config = node_config(tmp_path)
    big = SyntheticSeries(slices=1, rows=512, columns=512, seed=1).write(tmp_path / "big")
    small = SyntheticSeries(slices=1, rows=32, columns=32, seed=2).write(tmp_path / "small")
    with receiving(config):
        scanner = ScriptedScu(config.node.port)
        assert scanner.store([*big, *small])
        assert [status for _, status in scanner.statuses] == [0xA700, 0x0000]
    assert len(spooled(config)) == 1
    assert spooled(config) == counted(config)


@pytest.mark.parametrize(
    "point", ["spool.created", "spool.written", "spool.synced", "spool.named", "spool.names_synced", "journal.written"]
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_what_the_disk_refuses_is_not_acknowledged_and_leaves_nothing(tmp_path: Path, point: str, code: int) -> None:
    config = node_config(tmp_path)
    paths = SyntheticSeries(slices=2).write(tmp_path / "series")

    def refuse(reached: str) -> None:
        if reached == point:
            raise OSError(code, "injected")

    with receiving(config):
        scanner = ScriptedScu(config.node.port)
        faults.arm(refuse)
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses] == [0xA700, 0xA700]
        assert spooled(config) == set()
        faults.arm(None)
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses[2:]] == [0, 0]
    assert spooled(config) == counted(config)
    assert len(counted(config)) == 2


def test_an_ending_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    paths = SyntheticSeries(slices=1).write(tmp_path / "series")
    entries = lambda: [e for e in journal_entries(config) if isinstance(e, AssociationClosed)]  # noqa: E731

    recorded = 0

    def refuse(reached: str) -> None:
        nonlocal recorded
        recorded += reached == "journal.written"
        if recorded > 1 and reached == "journal.written":
            raise OSError(errno.EIO, "injected")

    with receiving(config):
        faults.arm(refuse)
        assert ScriptedScu(config.node.port).store(paths)
        wait_until(lambda: recorded > 1 and entries() == [], what="the disk has refused the ending")
        faults.arm(None)
        wait_until(lambda: len(entries()) == 1, what="the ending is written")


def test_an_association_that_intake_read_before_the_disk_refused_it_is_closed(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    paths = SyntheticSeries(slices=3).write(tmp_path / "series")
    read: list[Entry] = []

    def refuse(reached: str) -> None:
        if reached == "journal.synced" and len(read) < 4:
            read.extend(journal_entries(config))
            raise OSError(errno.ENOSPC, "injected")

    with receiving(config):
        faults.arm(refuse)
        scanner = ScriptedScu(config.node.port)
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses] == [0xA700, 0xA700, 0]
    opened = {entry.id for entry in read if isinstance(entry, AssociationOpened)}
    assert len(opened) == 1
    assert opened == {entry.id for entry in journal_entries(config) if isinstance(entry, AssociationClosed)}


def test_request_without_a_data_set_is_refused(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    with receiving(config):
        assert ScriptedScu(config.node.port).store_bytes(CT, "1.2.3", b"") == 0x0117
        assert spooled(config) == set()


@pytest.mark.parametrize(
    "pdu",
    [
        bytes.fromhex("04000000000a 00000006 0103 ffffffff"),  # a command set that is none
        bytes.fromhex("040000000006 00000002 6302"),  # the end of a data set without a command
    ],
)
def test_a_peer_that_sends_nonsense_is_cut_off_and_its_association_closed(tmp_path: Path, pdu: bytes) -> None:
    config = node_config(tmp_path)
    (path,) = SyntheticSeries(slices=1).write(tmp_path / "series")
    with receiving(config):
        ae = AE("SCANNER")
        ae.add_requested_context(CT, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", config.node.port)
        assert association.send_c_store(path).Status == 0
        association.dul.socket.send(pdu)
        wait_until(lambda: association.is_aborted, what="the receiver aborts")
        assert ScriptedScu(config.node.port).store([path])


_PARENT = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from nodes import ReceiverNode, node_config
if __name__ == "__main__":
    node = ReceiverNode(node_config(Path(sys.argv[1])))
    node.start()
    print(node.processes[0].pid, flush=True)
    time.sleep(600)
"""


def test_receiver_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="child ended")


def test_second_node_on_the_port_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_RELEASE_S", 0.0)
    config = node_config(tmp_path)
    with receiving(config), pytest.raises(RequestError, match=str(config.node.port)):
        bind(config.node)


def test_log_holds_no_patient_data(
    tmp_path: Path, storescu: Callable[..., object], capfd: pytest.CaptureFixture[str]
) -> None:
    canary = "CANARYNAME"
    patient = SyntheticPatient(name=f"{canary}^ANNA", patient_id="CANARYID")
    paths = SyntheticSeries(
        slices=2, patient=patient, study_description="CANARYSTUDY", tags={"AccessionNumber": "CANARYACC"}
    ).write(tmp_path / "series")
    with receivers(node_config(tmp_path)) as node:
        storescu(node.port, paths)
        scanner = ScriptedScu(node.port)
        scanner.store_bytes(CT, "1.2.3", paths[0].read_bytes())
        scanner.store_bytes(CT, "1.2.4", paths[0].read_bytes(), sent=3_000)
        assert len(node.received()) == 3
        journals = b"".join(path.read_bytes() for path in (node.spool / "journals").iterdir())
    heard = "".join(capfd.readouterr())
    assert "association_opened" in heard
    assert "CANARY" not in heard
    assert b"CANARY" not in journals
    assert all("CANARY" not in str(p) for p in node.spool.rglob("*"))
