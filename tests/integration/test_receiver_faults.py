"""Faults injected under a receiver that runs in this process: full disk, database away; and what its log may say."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from nodes import node_config, receivers
from peers import wait_until
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy import Connection

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Received
from dicom_node.config import Config
from dicom_node.database.engine import Database
from dicom_node.errors import LedgerError, RequestError, StorageFull
from dicom_node.net.receiver import Receiver, check_port
from dicom_node.net.spool import Spool, SpoolFile
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.peer import ScriptedScu
from dicom_node.testing.series import SyntheticSeries

CT = "1.2.840.10008.5.1.4.1.1.2"


class SmallDiskFile(SpoolFile):
    """Has room for 100 kB."""

    def write(self, data: bytes | memoryview) -> None:
        if self.path.stat().st_size + len(data) > 100_000:
            self.discard()
            raise StorageFull(f"{self.path}: No space left on device")
        super().write(data)


class SmallDisk(Spool):
    """Every file may grow to 100 kB."""

    def create(self) -> SpoolFile:
        file = super().create()
        file.__class__ = SmallDiskFile
        return file


class FailingIndex(ArchiveIndex):
    """The database is away until `well`."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.well = False

    def record_received(self, tx: Connection, received: Received) -> int:
        if not self.well:
            raise LedgerError("the database refused: server closed the connection")
        return super().record_received(tx, received)


@contextmanager
def receiving(config: Config, spool: Spool, index: ArchiveIndex) -> Iterator[Database]:
    database = Database.open(config.database_url)
    receiver = Receiver(config, database, index, spool)
    receiver.open()
    stop = threading.Event()
    thread = threading.Thread(target=receiver.serve, args=(stop,))
    thread.start()
    try:
        yield database
    finally:
        stop.set()
        thread.join(30)
        database.close()
        spool.close()
    assert not thread.is_alive()


def spooled(config: Config) -> list[Path]:
    return list((config.node.data_dir.resolve() / "spool").rglob("*.dcm"))


def test_disk_that_fills_up_costs_one_instance_and_not_the_association(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    folder = config.node.data_dir.resolve()
    big = SyntheticSeries(slices=1, rows=512, columns=512, seed=1).write(tmp_path / "big")
    small = SyntheticSeries(slices=1, rows=32, columns=32, seed=2).write(tmp_path / "small")
    with receiving(config, SmallDisk(folder / "spool"), ArchiveIndex(folder)) as database:
        scanner = ScriptedScu(config.node.port)
        assert scanner.store([*big, *small])
        assert [status for _, status in scanner.statuses] == [0xA700, 0x0000]
        with database.read() as tx:
            assert [r.path for r in ArchiveIndex(folder).unfiled(tx, 10)] == spooled(config)


def test_without_a_row_nothing_is_acknowledged_and_nothing_stays(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    folder = config.node.data_dir.resolve()
    paths = SyntheticSeries(slices=2).write(tmp_path / "series")
    index = FailingIndex(folder)
    with receiving(config, Spool(folder / "spool"), index) as database:
        scanner = ScriptedScu(config.node.port)
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses] == [0xA700, 0xA700]
        assert spooled(config) == []
        index.well = True
        assert scanner.store(paths)
        assert [status for _, status in scanner.statuses[2:]] == [0, 0]
        with database.read() as tx:
            assert index.counts(tx)["unfiled"] == 2


def test_request_without_a_data_set_is_refused(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    folder = config.node.data_dir.resolve()
    with receiving(config, Spool(folder / "spool"), ArchiveIndex(folder)):
        assert ScriptedScu(config.node.port).store_bytes(CT, "1.2.3", b"") == 0x0117
        assert spooled(config) == []


@pytest.mark.parametrize(
    "pdu",
    [
        bytes.fromhex("04000000000a 00000006 0103 ffffffff"),  # a command set that is none
        bytes.fromhex("040000000006 00000002 6302"),  # the end of a data set without a command
    ],
)
def test_a_peer_that_sends_nonsense_is_cut_off_and_its_association_closed(tmp_path: Path, pdu: bytes) -> None:
    config = node_config(tmp_path)
    folder = config.node.data_dir.resolve()
    (path,) = SyntheticSeries(slices=1).write(tmp_path / "series")
    with receiving(config, Spool(folder / "spool"), ArchiveIndex(folder)):
        ae = AE("SCANNER")
        ae.add_requested_context(CT, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", config.node.port)
        assert association.send_c_store(path).Status == 0
        association.dul.socket.send(pdu)
        wait_until(lambda: association.is_aborted, what="the receiver aborts")
        assert ScriptedScu(config.node.port).store([path])


_PARENT = """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from dicom_node.processes import receiver
from nodes import node_config
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    child = spawn.Process(target=receiver.run, args=(node_config(Path(sys.argv[1])), 0, ready))
    child.start()
    ready.wait()
    print(child.pid, flush=True)
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


def test_second_node_on_the_port_is_noticed(tmp_path: Path) -> None:
    config = node_config(tmp_path)
    folder = config.node.data_dir.resolve()
    check_port(config.node.host, config.node.port)
    with (
        receiving(config, Spool(folder / "spool"), ArchiveIndex(folder)),
        pytest.raises(RequestError, match=str(config.node.port)),
    ):
        check_port(config.node.host, config.node.port)


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
        assert len(node.unfiled()) == 3
    heard = "".join(capfd.readouterr())
    assert "association_opened" in heard
    assert "CANARY" not in heard
    assert all("CANARY" not in str(p) for p in node.spool.rglob("*"))
