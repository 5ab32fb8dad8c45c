"""A disk that is full or refuses: senders are told to come again, and once it works everything ends as it should."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faulty_disk
import peers
import psutil
import pytest
from fault_case import Case, fault_case
from faulty_node import Fault
from light_sender import SUCCESS, LightSender
from peers import Orthanc, wait_until

TROUBLE_S = 2.0
OUT_OF_RESOURCES = 0xA700

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, need_program: Callable[..., Path]) -> Iterator[Orthanc]:
    need_program("Orthanc", "storescu")
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS"])
def test_every_write_is_refused_for_a_while(tmp_path: Path, pacs: Orthanc, code: str) -> None:
    with fault_case(tmp_path, pacs, disk=True) as case:
        case.push(8)
        wait_until(lambda: case.node.query("SELECT count(*) FROM instances")[0][0], what="something filed")
        faulty_disk.refuse(case.node.notes, getattr(errno, code))
        case.push(tool="storescu")
        case.push()
        time.sleep(TROUBLE_S)
        assert answer(case) == OUT_OF_RESOURCES
        assert not case.node.dead
        faulty_disk.refuse(case.node.notes, 0)
        case.finish()


def test_processes_that_die_meanwhile_are_back_soon(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, disk=True) as case:
        case.push().result()
        faulty_disk.refuse(case.node.notes, errno.EIO)
        for pid in case.node.pids().values():
            psutil.Process(pid).kill()
        time.sleep(TROUBLE_S)
        assert not case.node.dead
        faulty_disk.refuse(case.node.notes, 0)
        case.push()
        case.finish(limit_s=30)


def test_a_node_that_cannot_write_at_its_start_says_so(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, disk=True) as case:
        case.push().result()
        case.node.end_everything()
        faulty_disk.refuse(case.node.notes, errno.EROFS)
        case.node.start(wait=False)
        time.sleep(TROUBLE_S)
        if case.node.dead:  # the service manager starts it again
            assert str(case.node.data_dir) in case.node.log().splitlines()[-1]
        faulty_disk.refuse(case.node.notes, 0)
        if case.node.dead:
            case.node.start()
        case.finish(limit_s=30)


class Tmpfs:
    """A node whose data folder is a small file system of its own, in a mount namespace that only it sees."""

    def __init__(self, case: Case) -> None:
        self._case = case

    @property
    def folder(self) -> Path:
        return self._case.node.data_dir

    def fill(self) -> None:
        """Take every byte."""
        block = bytes(1 << 16)
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while file.write(block):
                pass
        with contextlib.suppress(OSError), (self.folder / "filler").open("ab", buffering=0) as file:
            while file.write(b"\0"):
                pass

    def empty(self) -> None:
        """Give them back."""
        (self.folder / "filler").unlink()


def can_mount() -> bool:
    """Whether this machine lets us have a mount namespace."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


needs_mount = pytest.mark.skipif(
    not can_mount(), reason="unshare -rm is not allowed here; refusals are injected instead"
)


@needs_mount
def test_the_disk_is_full_to_the_last_byte(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, tmpfs_mb=24, node={"min_free_mb": 0}) as case:
        tmpfs = Tmpfs(case)
        case.push(8)
        wait_until(lambda: case.node.query("SELECT count(*) FROM instances")[0][0], what="something filed")
        tmpfs.fill()
        case.push(tool="storescu")
        case.push()
        time.sleep(TROUBLE_S)
        assert answer(case) == OUT_OF_RESOURCES
        assert not case.node.dead
        tmpfs.empty()
        case.finish()


@needs_mount
def test_processes_die_while_the_disk_is_full(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, tmpfs_mb=24, node={"min_free_mb": 0}) as case:
        tmpfs = Tmpfs(case)
        case.push(8).result()
        tmpfs.fill()
        for pid in case.node.pids().values():
            psutil.Process(pid).kill()
        time.sleep(TROUBLE_S)
        assert not case.node.dead
        tmpfs.empty()
        case.push()
        case.finish(limit_s=30)


@needs_mount
def test_below_the_watermark_senders_are_sent_away_and_the_rest_goes_on(tmp_path: Path, pacs: Orthanc) -> None:
    with fault_case(tmp_path, pacs, tmpfs_mb=24, node={"min_free_mb": 4}) as case:
        tmpfs = Tmpfs(case)
        case.push(8).result()
        (tmpfs.folder / "filler").write_bytes(bytes(shutil.disk_usage(tmpfs.folder).free - 3_500_000))
        assert answer(case) == OUT_OF_RESOURCES
        wait_until(lambda: case.jobs("DELIVERED"), what="what was taken before is delivered")
        tmpfs.empty()
        case.push()
        case.finish()


def test_a_point_where_the_disk_refuses_twice(tmp_path: Path, pacs: Orthanc) -> None:
    plan = [
        Fault("intake", "intake.linked", 1, "error", 2.0, "ENOSPC"),
        Fault("worker", "outbox.synced", 1, "error", 1.0, "EIO"),
    ]
    with fault_case(tmp_path, pacs, plan) as case:
        case.push(6)
        case.finish()


def answer(case: Case) -> int:
    """The node's status for one more instance; nobody counts on it."""
    study = case.extra_study()
    with LightSender(case.node.port, study.instances[0].sop_class_uid) as sender:
        status = sender.store(study.instances[0])
        sender.release()
    assert status != SUCCESS
    return status
