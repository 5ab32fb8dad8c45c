"""A real worker process under a memory limit: each bomb ends its own job, and the jobs behind it are done."""

from __future__ import annotations

import multiprocessing
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hip_study
import pydicom
import pytest
from peers import wait_until
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import Config
from dicom_node.contracts import FileRef, InputSet, RoleInstance
from dicom_node.database.engine import Database
from dicom_node.dicom.headers import read_header
from dicom_node.jobs.model import Job
from dicom_node.jobs.states import JobState
from dicom_node.planning import new_job
from dicom_node.plugins.catalogue import discover
from dicom_node.processes import worker
from dicom_node.processes.life import Life
from dicom_node.testing.encoding import compress

LIMIT_MB = 800
_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE_S = 120


def lying_jpeg2000(folder: Path) -> None:
    """The code stream claims 40000 x 40000 pixels."""
    with one_of(folder, JPEG2000Lossless) as (dataset, code):
        start = code.index(b"\xff\x51")
        struct.pack_into(">II", code, start + 6, 40000, 40000)
        struct.pack_into(">II", code, start + 22, 40000, 40000)
        dataset.PixelData = encapsulate([bytes(code)])


def announced_jpeg2000(folder: Path) -> None:
    """Headers and code streams agree on more than any machine has."""
    for path in sorted(folder.iterdir()):
        with rewritten(path, JPEG2000Lossless) as (dataset, code):
            start = code.index(b"\xff\x51")
            for offset in (6, 22):
                struct.pack_into(">II", code, start + offset, 60000, 60000)
            dataset.PixelData = encapsulate([bytes(code)])
            dataset.Rows = dataset.Columns = 60000


def inflating_runs(folder: Path) -> None:
    """Run lengths that go on and on."""
    with one_of(folder, RLELossless) as (dataset, _):
        segment = b"\x81\x00" * 4_000_000
        head = struct.pack("<16I", 2, 64, 64 + len(segment), *([0] * 13))
        dataset.PixelData = encapsulate([head + segment + segment])


def deflated_gigabytes(folder: Path) -> None:
    """A megabyte that inflates to five hundred, in a private element before the pixels; intake would let it pass."""
    path = sorted(folder.iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    megabytes = 500
    element = struct.pack("<HH2sHI", 0x0099, 0x1010, b"OB", 0, megabytes << 20)
    dataset.save_as(path)
    whole = path.read_bytes()
    start = 144 + int(struct.unpack_from("<I", whole, 140)[0])  # behind the File Meta Information
    plain = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    pixels = plain.index(b"\xe0\x7f\x10\x00")
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = squeeze.compress(plain[:pixels] + element) + squeeze.flush(zlib.Z_FULL_FLUSH)
    zeros = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    end = squeeze.compress(plain[pixels:]) + squeeze.flush()
    path.write_bytes(whole[:start] + begin + zeros * megabytes + end)


def harmless(folder: Path) -> None:
    """Nothing is wrong."""


@contextmanager
def one_of(folder: Path, syntax: str) -> Iterator[tuple[pydicom.FileDataset, bytearray]]:
    with rewritten(sorted(folder.iterdir())[3], syntax) as found:
        yield found


@contextmanager
def rewritten(path: Path, syntax: str) -> Iterator[tuple[pydicom.FileDataset, bytearray]]:
    dataset = compress(pydicom.dcmread(path), syntax)
    yield dataset, bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)


BOMBS = {
    lying_jpeg2000: "UnreadableFile",
    announced_jpeg2000: "TooLarge",
    inflating_runs: "UnreadableFile",
    deflated_gigabytes: "TooLarge",
    harmless: None,
}


def submit(config: Config, database: Database, folder: Path, number: int) -> str:
    headers = [read_header(FileRef(path)) for path in sorted(folder.iterdir())]
    roles = {"ct": tuple(RoleInstance(header, {}) for header in headers)}
    wanted = InputSet("hip", "hipct", "li", {"n_angles": 180}, (), roles)
    with database.begin() as tx:
        job = make_ledger(config).submit(tx, new_job(wanted, discover().specs["hipct"]), float(number))
    assert job is not None
    return job.id


@pytest.mark.slow
def test_bombs_fail_their_jobs_and_nothing_else(tmp_path: Path) -> None:
    node = {"data_dir": str(tmp_path / "var"), "worker_memory_mb": LIMIT_MB, "device": "cpu"}
    config = Config.model_validate({"node": node})
    with closing(open_database(config)) as database:
        codes: dict[str, str | None] = {}
        for number, (arm, code) in enumerate(BOMBS.items()):
            folder = tmp_path / arm.__name__
            hip_study.write(folder, slices=6, metal_slices=(2, 3), seed=number)
            arm(folder)
            codes[submit(config, database, folder, number)] = code

        def jobs() -> list[Job]:
            with database.read() as tx:
                return [make_ledger(config).get(tx, job_id) for job_id in codes]

        life = Life(_SPAWN)
        process = _SPAWN.Process(target=worker.run, args=(config, 0, life))
        process.start()
        try:
            running = (JobState.QUEUED, JobState.LEASED)
            wait_until(
                lambda: process.exitcode is not None or not any(job.state in running for job in jobs()),
                _PATIENCE_S,
                "all jobs have ended",
            )
            assert process.exitcode is None, "the worker lives on"
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            assert peak_kb * 1024 < LIMIT_MB * 1e6
        finally:
            process.terminate()
            process.join(30)
        assert {job.id: job.error_code for job in jobs()} == codes
        assert [job.state for job in jobs()] == [JobState.DEAD] * 4 + [JobState.DELIVERED]
        assert all(job.attempts == 1 for job in jobs() if job.state is JobState.DEAD), "trying again would not help"
        told = jobs()[1].error or ""
        assert "21600.0 million voxels" in told and "node.worker_memory_mb" in told
