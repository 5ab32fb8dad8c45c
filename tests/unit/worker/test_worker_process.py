"""A worker and a ledger, with correctors that do right and wrong: only what is right is ever published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dicom_node import faults
from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectionRefused,
    CorrectorSpec,
    FileRef,
    InputSet,
    Limits,
    RoleInstance,
    Units,
    Volume,
)
from dicom_node.database.engine import Database
from dicom_node.dicom.headers import read_header
from dicom_node.errors import StorageFull
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import Job
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.jobs.states import JobState
from dicom_node.metrics import NodeStatus
from dicom_node.planning import new_job
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.testing.series import SyntheticSeries
from dicom_node.worker import process
from dicom_node.worker.outbox import Outbox
from dicom_node.worker.process import Worker

SPEC = CorrectorSpec(
    name="toy", version="1", api=1, title="Toy", inputs={"ct": Accepts(modality="CT", units=Units.HU)},
    methods={"m": "does"}, default_method="m", factory="x:y", limits={"ct": Limits(-1024, 3071)},
)  # fmt: skip

Act = Callable[[Volume], object]


class Toy:
    """Does what the test says."""

    def __init__(self, act: Act) -> None:
        self._act = act

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        return self._act(inputs["ct"])  # type: ignore[return-value]


class Bench:
    """One job in a ledger, and a worker to run it."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self.ledger = JobLedger(RetryPolicy(max_attempts=2, backoff_s=0.001, max_backoff_s=0.002))
        self.outbox = Outbox(folder / "outbox")
        self.files = SyntheticSeries(slices=3, rows=16, columns=16).write(folder / "in")
        headers = [read_header(FileRef(p)) for p in self.files]
        roles = {"ct": tuple(RoleInstance(h, {}) for h in headers)}
        with database.begin() as tx:
            job = self.ledger.submit(tx, new_job(InputSet("r", "toy", None, {}, ("pacs",), roles), SPEC), time.time())
        assert job is not None
        self.job_id = job.id
        self.warnings: list[str] = []

    def run(self, act: Act, beat: Callable[[], None] = lambda: None) -> Job:
        """Let the worker work until nothing is due."""
        worker = Worker(
            owner="w", device="cpu", lease_s=30, database=self.database, ledger=self.ledger, outbox=self.outbox,
            catalogue=Catalogue({"toy": SPEC}), build=lambda *_: Toy(act), beat=beat,
        )  # fmt: skip
        while worker.step():
            time.sleep(0.005)
        return self.job

    @property
    def job(self) -> Job:
        with self.database.read() as tx:
            return self.ledger.get(tx, self.job_id)

    @property
    def published(self) -> bool:
        return self.outbox.folder(self.job_id).exists()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database.open(f"sqlite:///{tmp_path / 'node.sqlite'}")) as database:
        yield Bench(tmp_path, database)


def brighter(volume: Volume) -> Correction:
    pixels = volume.pixels.copy()
    pixels[1, 4:8, 4:8] += 25
    return Correction(changed=True, volumes={"ct": volume.with_pixels(pixels)}, metrics={"change_hu": 25.0})


def test_a_right_correction_is_published_with_a_delivery(bench: Bench) -> None:
    job = bench.run(brighter)
    assert job.state is JobState.DERIVED
    assert job.outputs[0].role == "ct"
    names = [i.file_name for o in job.outputs for i in o.instances]
    assert all((bench.outbox.folder(job.id) / n).is_file() for n in names)
    with bench.database.read() as tx:
        assert [d.peer for d in bench.ledger.deliveries(tx, job.id)] == ["pacs"]


def raises(volume: Volume) -> object:
    raise ValueError("CANARY^NAME")


def exits(volume: Volume) -> object:
    raise SystemExit(3)


class Panic(BaseException):
    """What extensions written in Rust raise."""


def panics(volume: Volume) -> object:
    raise Panic("CANARY^NAME")


def exhausts(volume: Volume) -> object:
    raise MemoryError("CANARY^NAME")


def exhausts_as_torch_does(volume: Volume) -> object:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: CANARY^NAME")


def not_finite(volume: Volume) -> object:
    pixels = volume.pixels.copy()
    pixels[0, 0, 0] = np.nan
    return Correction(changed=True, volumes={"ct": volume.with_pixels(pixels)})


def wrong_shape(volume: Volume) -> object:
    return Correction(changed=True, volumes={"ct": volume.with_pixels(volume.pixels[:, :-1])})


def alters_its_input(volume: Volume) -> object:
    volume.pixels[0] = 0
    return brighter(volume)


def beyond_its_limits(volume: Volume) -> object:
    return Correction(changed=True, volumes={"ct": volume.with_pixels(volume.pixels + 9000)})


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (raises, "CorrectorFailed"),
        (exits, "CorrectorFailed"),
        (panics, "CorrectorFailed"),
        (exhausts, "TooLarge"),
        (exhausts_as_torch_does, "TooLarge"),
        (lambda volume: None, "CorrectorFailed"),
        (wrong_shape, "CorrectorFailed"),
        (alters_its_input, "CorrectorFailed"),
        (not_finite, "GuardViolation"),
        (beyond_its_limits, "GuardViolation"),
    ],
)
def test_a_misbehaving_corrector_never_leads_to_a_derived_series(
    bench: Bench, act: Act, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = bench.run(act)
    assert (job.state, job.error_code, job.outputs) == (JobState.DEAD, code, ())
    assert not bench.published
    printed = capsys.readouterr()
    assert "job_failed" in printed.out + printed.err
    assert "CANARY" not in printed.out + printed.err + (job.error or "")
    status = NodeStatus(bench.database, bench.folder, 0, dict)
    samples = {
        (s.name, s.labels.get("state")): s.value
        for m in status.collect()
        for s in m.samples
        if s.labels.get("table") == "job"
    }
    assert samples["dicom_node_jobs", "DEAD"] == 1


def test_a_fault_of_the_node_ends_the_job_not_the_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Worker, job: Job) -> None:
        raise ValueError("CANARY^NAME")

    monkeypatch.setattr(Worker, "_task", broken)
    job = bench.run(brighter)
    assert (job.state, job.error_code) == (JobState.DEAD, "DerivationError")
    printed = capsys.readouterr()
    assert "ValueError at" in (job.error or "")
    assert "CANARY" not in printed.out + printed.err + (job.error or "")


def test_a_worker_that_computes_shows_that_it_lives(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BEAT_S", 0.01)
    beats: list[int] = []

    def slow(volume: Volume) -> Correction:
        enough = len(beats) + 5
        while len(beats) < enough:
            time.sleep(0.01)
        return brighter(volume)

    assert bench.run(slow, beat=lambda: beats.append(1)).state is JobState.DERIVED


def test_a_retry_by_the_operator_gets_a_fresh_budget(bench: Bench) -> None:
    bench.run(raises)
    with bench.database.begin() as tx:
        bench.ledger.retry(tx, bench.job_id, time.time())
    assert bench.run(brighter).state is JobState.DERIVED


def test_no_change_is_a_result_with_a_reason(bench: Bench) -> None:
    job = bench.run(lambda volume: Correction(changed=False, reason="there is no metal"))
    assert (job.state, job.reason) == (JobState.UNCHANGED, "there is no metal")
    assert not bench.published


def refuses(volume: Volume) -> object:
    raise CorrectionRefused("the gantry is tilted")


def test_a_refusal_is_not_a_failure(bench: Bench) -> None:
    job = bench.run(refuses)
    assert (job.state, job.reason, job.attempts) == (JobState.REFUSED, "the gantry is tilted", 0)


def test_whoever_lost_the_lease_just_before_publishing_leaves_the_new_holders_folder_alone(bench: Bench) -> None:
    """A worker that stood still for longer than its lease, between its last step and the publishing."""
    seen = []

    def stand_still(point: str) -> None:
        if point != "outbox.synced":
            return
        faults.arm(None)
        with bench.database.begin() as tx:
            assert bench.ledger.release_worker(tx, "w", time.time()) == 1
        assert bench.run(brighter).state is JobState.DERIVED
        seen.extend(sorted(p.stat().st_ino for p in bench.outbox.folder(bench.job_id).rglob("*")))

    faults.arm(stand_still)
    try:
        job = bench.run(brighter)
    finally:
        faults.arm(None)
    assert job.state is JobState.DERIVED
    assert seen
    assert sorted(p.stat().st_ino for p in bench.outbox.folder(job.id).rglob("*")) == seen
    assert [p.name for p in (bench.folder / "outbox").iterdir()] == [job.id]


def test_a_full_disk_costs_no_attempt_and_the_job_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(self: Outbox, job_id: str, token: int) -> Path:
        calls.append(token)
        if len(calls) < 4:
            raise StorageFull("the disk is full")
        return original(self, job_id, token)

    original = Outbox.open
    monkeypatch.setattr(Outbox, "open", full)
    job = bench.run(brighter)
    assert len(calls) == 4
    assert (job.state, job.attempts) == (JobState.DERIVED, 0)


def test_an_archive_file_that_changed_is_refused(bench: Bench) -> None:
    bench.files[1].write_bytes(bench.files[1].read_bytes()[:-2] + b"\x01\x01")
    job = bench.run(brighter)
    assert (job.state, job.error_code) == (JobState.DEAD, "InputError")
    assert "restore the archive" in (job.error or "")


def test_the_input_files_are_never_touched(bench: Bench) -> None:
    before = [p.read_bytes() for p in bench.files]
    bench.run(brighter)
    assert [p.read_bytes() for p in bench.files] == before
