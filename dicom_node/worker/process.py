"""The worker: leases jobs, keeps correctors warm, publishes to the outbox."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from dicom_node import faults, logs
from dicom_node.contracts import Corrector, CorrectorSpec, ParameterValue, RoleInstance
from dicom_node.database.engine import Database
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.parsing import quiet
from dicom_node.durable import storage_error
from dicom_node.errors import (
    CorrectionRefused,
    DerivationError,
    InputError,
    LeaseLost,
    LedgerError,
    NodeError,
    PluginError,
    TooLarge,
)
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import Job, JobInput, Lease, OutputInstance, OutputSeries
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.plugins.parameters import resolve
from dicom_node.worker.memory import MEGABYTE, Memory
from dicom_node.worker.outbox import Outbox
from dicom_node.worker.pipeline import Outcome, Task, run

Clock = Callable[[], float]
_BEAT_S = 1.0
_READERS = 2

log = logs.get("worker")


class Worker:
    """Owns one device and runs one job at a time.

    Attributes:
        owner: name under which leases are held, unique among processes.
    """

    def __init__(
        self,
        *,
        owner: str,
        device: str,
        lease_s: float,
        database: Database,
        ledger: JobLedger,
        outbox: Outbox,
        catalogue: Catalogue,
        build: Callable[[CorrectorSpec, str, str, Mapping[str, ParameterValue]], Corrector],
        clock: Clock = time.time,
        beat: Callable[[], None] = lambda: None,
        derived: Callable[[], None] = lambda: None,
        memory: Memory | None = None,
    ) -> None:
        self.owner = owner
        self._device = device
        self._lease_s = lease_s
        self._database = database
        self._ledger = ledger
        self._outbox = outbox
        self._catalogue = catalogue
        self._build = build
        self._clock = clock
        self._beat = beat
        self._derived = derived
        self._memory = memory
        self._warm: dict[str, Corrector] = {}

    def warm_up(self, correctors: Iterable[str]) -> None:
        """Import and build installed correctors with their defaults, so that the first job finds them warm.

        A corrector that cannot be built is logged; its jobs will say why.
        """
        for name in dict.fromkeys(correctors):
            spec = self._catalogue.specs.get(name)
            if spec is None:
                continue
            try:
                method, parameters = resolve(spec, None, {})
                self._built(spec, method, parameters)
            except NodeError as error:
                log.warning("warm_up_failed", corrector=name, code=error.code, error=str(error))

    def step(self) -> bool:
        """Lease and finish one job. Returns whether there was one."""
        with self._database.begin() as tx:
            lease = self._ledger.lease(tx, self.owner, self._lease_s, self._clock())
        if lease is None:
            return False
        faults.reach("worker.leased")
        with logs.bound(job=lease.job.id, attempt=lease.job.attempts + 1), self._heartbeat(lease):
            try:
                self._work(lease)
            except LeaseLost:
                log.warning("lease_lost")
        return True

    def _work(self, lease: Lease) -> None:
        job = lease.job
        started = time.monotonic()
        log.info("job_started", corrector=job.corrector, method=job.method, version=job.version)
        working = None
        try:
            working = self._outbox.open(job.id, lease.token)
            task = self._task(job)
            self._make_room(task)
            outcome = run(task, self._corrector(job), working, lambda name: log.info("job_step", step=name))
            faults.reach("worker.derived")
            if outcome.derived is None:
                self._outbox.discard(working)
                with self._database.begin() as tx:
                    self._ledger.unchanged(tx, lease, outcome.reason, self._clock())
                log.info("job_unchanged", reason=outcome.reason)
                return
            outputs = _outputs(outcome)
            self._outbox.seal(working, _manifest(job, outputs, outcome))
            with self._database.begin() as tx:
                # Publishing replaces a folder: from here to the commit nobody else can lease the job, and publish too.
                self._ledger.heartbeat(tx, lease, self._lease_s, self._clock())
                self._outbox.publish(job.id, working)
                self._ledger.derived(tx, lease, outputs, outcome.warnings, dict(outcome.metrics), self._clock())
            faults.reach("worker.committed")
            self._derived()
            log.info("job_derived", series=len(outputs), seconds=round(time.monotonic() - started, 3))
        except CorrectionRefused as refusal:
            self._discard(working)
            with self._database.begin() as tx:
                self._ledger.refused(tx, lease, str(refusal), self._clock())
            log.info("job_refused", reason=str(refusal))
        except LeaseLost:
            self._discard(working)
            raise
        except NodeError as error:
            self._discard(working)
            self._failed(lease, error)
        except OSError as error:
            self._discard(working)
            self._failed(lease, storage_error(error, self._outbox.folder(job.id)))
        except MemoryError:
            self._discard(working)
            self._warm.clear()
            self._failed(lease, TooLarge(self._too_much()))
        except Exception as error:  # noqa: BLE001  a fault of ours over one series must not cost the process
            self._discard(working)
            self._failed(lease, DerivationError(f"the node itself failed over this input: {logs.place(error)}"))

    def _make_room(self, task: Task) -> None:
        """Refuse what cannot fit; what correctors of earlier jobs keep is let go first."""
        if self._memory is None:
            return
        try:
            self._memory.check(task.roles)
        except TooLarge:
            self._warm.clear()
            gc.collect()
            self._memory.check(task.roles)

    def _too_much(self) -> str:
        if self._memory is None:
            return "the images, or what is made of them, do not fit into the memory of this machine"
        return (
            f"the images, or what is made of them, need more than the {self._memory.limit / MEGABYTE:.0f} MB of memory "
            "that a worker may use: raise node.worker_memory_mb, or keep such series out of the route"
        )

    def _failed(self, lease: Lease, error: NodeError) -> None:
        with self._database.begin() as tx:
            job = self._ledger.failed(tx, lease, error, self._clock())
        log.error("job_failed", code=error.code, error=str(error), state=str(job.state), attempts=job.attempts)

    def _discard(self, working: object) -> None:
        if working is not None:
            self._outbox.discard(working)  # type: ignore[arg-type]

    def _corrector(self, job: Job) -> Corrector:
        return self._built(self._spec(job.corrector), job.method, job.parameters)

    def _built(self, spec: CorrectorSpec, method: str, parameters: Mapping[str, ParameterValue]) -> Corrector:
        key = json.dumps([spec.name, method, dict(parameters)], sort_keys=True)
        if key not in self._warm:
            self._warm[key] = self._build(spec, method, self._device, parameters)
        return self._warm[key]

    def _spec(self, name: str) -> CorrectorSpec:
        try:
            return self._catalogue.specs[name]
        except KeyError:
            raise PluginError(
                f"the corrector {name!r} is not installed here; installed: {sorted(self._catalogue.specs)}"
            ) from None

    def _task(self, job: Job) -> Task:
        spec = self._spec(job.corrector)
        roles: dict[str, list[RoleInstance]] = {}
        # Several at once: most of the time goes into digests and the disk, which Python lets run beside each other.
        with quiet(), ThreadPoolExecutor(_READERS) as pool:
            for item, instance in zip(job.inputs, pool.map(_instance, job.inputs), strict=True):
                roles.setdefault(item.role, []).append(instance)
        weights = spec.weights.get(job.method)
        return Task(
            spec=spec,
            method=job.method,
            parameters=job.parameters,
            weights_sha256=weights.sha256 if weights else "",
            roles=roles,
            input_digest=job.input_digest,
            created_at=job.created_at,
            version=job.version,
            superseded_series=self._superseded(job),
        )

    def _superseded(self, job: Job) -> dict[str, str]:
        if job.supersedes is None:
            return {}
        with self._database.read() as tx:
            older = self._ledger.get(tx, job.supersedes)
        return {output.role: output.series_instance_uid for output in older.outputs}

    @contextmanager
    def _heartbeat(self, lease: Lease) -> Iterator[None]:
        """Renew the lease from a thread while the job runs, and tell the supervisor that the process turns."""
        done = threading.Event()

        def beat() -> None:
            renew_at = time.monotonic() + self._lease_s / 3
            while not done.wait(min(_BEAT_S, self._lease_s / 3)):
                self._beat()
                if time.monotonic() < renew_at:
                    continue
                renew_at = time.monotonic() + self._lease_s / 3
                try:
                    with self._database.begin() as tx:
                        self._ledger.heartbeat(tx, lease, self._lease_s, self._clock())
                except LeaseLost:
                    return  # the result will be refused by its token
                except (LedgerError, MemoryError) as error:
                    log.warning("heartbeat_failed", code=type(error).__name__)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _instance(item: JobInput) -> RoleInstance:
    """Read the header again and make sure that the archive still holds what the job was made for."""
    header = read_header(item.file)
    if header.sop_instance_uid != item.sop_instance_uid or header.sha256 != item.sha256:
        raise InputError(
            f"{item.file} is no longer the instance {item.sop_instance_uid} that was received: restore the archive"
        )
    return RoleInstance(header, item.captures)


def _outputs(outcome: Outcome) -> tuple[OutputSeries, ...]:
    assert outcome.derived is not None
    return tuple(
        OutputSeries(
            role=series.role,
            series_instance_uid=series.series_instance_uid,
            sop_class_uids=tuple(dict.fromkeys(f.sop_class_uid for f in series.files)),
            instances=tuple(
                OutputInstance(f.sop_instance_uid, f.sop_class_uid, str(f.path.relative_to(outcome.derived.folder)))
                for f in series.files
            ),
        )
        for series in outcome.derived.series
    )


def _manifest(job: Job, outputs: tuple[OutputSeries, ...], outcome: Outcome) -> dict[str, object]:
    return {
        "job": job.id,
        "corrector": job.corrector,
        "method": job.method,
        "version": job.version,
        "input_digest": job.input_digest,
        "warnings": list(outcome.warnings),
        "metrics": dict(outcome.metrics),
        "series": [
            {
                "role": s.role,
                "series_instance_uid": s.series_instance_uid,
                "instances": [i.file_name for i in s.instances],
            }
            for s in outputs
        ],
    }
