"""Jobs whose outbox is filled, without a worker: something for delivery to send."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peers import wait_until
from pydicom import dcmread

from dicom_node.config import Config, JobsSection, NodeSection, PeerSection
from dicom_node.contracts import FileRef
from dicom_node.database.engine import Database
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import Delivery as DeliveryRow
from dicom_node.jobs.model import Job, JobInput, NewJob, OutputInstance, OutputSeries
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.net.delivery import Delivery
from dicom_node.testing.series import SyntheticSeries


def peer(ae_title: str, port: int, *, timeout_s: float = 10, verify: bool = True) -> PeerSection:
    """A peer on loopback."""
    return PeerSection(ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=timeout_s, verify=verify)


@dataclass
class Dispatch:
    """A ledger with an outbox and a delivery stage, driven by hand with a clock of its own."""

    config: Config
    database: Database
    ledger: JobLedger
    now: float

    def derived(self, name: str, outputs: Mapping[str, SyntheticSeries], send_to: tuple[str, ...]) -> Job:
        """A job that has derived `outputs` (role -> series)."""
        source = JobInput("ct", "1.2.3", "1.2", FileRef(Path("/none")), sha256="0" * 64)
        new = NewJob("route", "corrector", "method", {}, send_to, (source,), set_key=name, input_digest=name)
        with self.database.begin() as tx:
            self.ledger.submit(tx, new, self.now)
            lease = self.ledger.lease(tx, "worker", 60, self.now)
            assert lease is not None
        folder = self.config.node.data_dir.resolve() / "outbox" / lease.job.id
        series = tuple(self._output(role, one, folder) for role, one in outputs.items())
        with self.database.begin() as tx:
            return self.ledger.derived(tx, lease, series, (), {}, self.now)

    def attempt(self, *, wait: bool = True) -> Delivery:
        """One delivery stage, everything due handed out; waits until nothing is in hand."""
        stage = Delivery(self.config, self.database, self.ledger, owner="delivery", clock=lambda: self.now)
        stage.step(self.now)
        if wait:
            wait_until(lambda: stage.step(self.now) == 0 and stage.busy() == 0, 60, "lanes empty")
            stage.close(10)
        return stage

    def later(self, seconds: float = 10_000) -> None:
        """Turn the clock past every backoff."""
        self.now += seconds

    def job(self, job: Job) -> Job:
        with self.database.read() as tx:
            return self.ledger.get(tx, job.id)

    def deliveries(self, job: Job) -> dict[str, DeliveryRow]:
        """By peer."""
        with self.database.read() as tx:
            return {d.peer: d for d in self.ledger.deliveries(tx, job.id)}

    def _output(self, role: str, series: SyntheticSeries, folder: Path) -> OutputSeries:
        scratch = folder / "scratch"
        found = []
        for path in series.write(scratch):
            header = dcmread(path, stop_before_pixels=True)
            name = f"{series.series_number}-{path.name}"
            path.rename(folder / name)
            found.append(OutputInstance(str(header.SOPInstanceUID), str(header.SOPClassUID), name))
        shutil.rmtree(scratch)
        classes = tuple(dict.fromkeys(one.sop_class_uid for one in found))
        return OutputSeries(role, series.series_instance_uid, classes, tuple(found))


def dispatch(folder: Path, peers: Mapping[str, PeerSection], *, attempts: int = 3) -> Dispatch:
    """An empty ledger in `folder`; the caller closes `database`."""
    config = Config(
        node=NodeSection(data_dir=folder / "var"),
        peers=dict(peers),
        jobs=JobsSection(max_attempts=attempts, lease_s=30),
    )
    database = Database.open(config.database_url)
    policy = RetryPolicy(max_attempts=attempts, backoff_s=5)
    return Dispatch(config, database, JobLedger(policy, data_dir=config.node.data_dir.resolve()), time.time())
