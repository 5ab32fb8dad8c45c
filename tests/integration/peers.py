"""Real DICOM peers as processes on loopback: Orthanc, DCMTK's storescp and storescu. Stopped by their own pid."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Without it the 40 ms of Nagle against delayed ACK dominate every transfer of DCMTK and Orthanc.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
_STOCK_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], limit_s: float = 30, what: str = "condition") -> None:
    """Poll until `condition()` is true; AssertionError after `limit_s`."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit_s} s")
        time.sleep(0.02)


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str], log: Path, *, cwd: Path | None = None, gently: bool = True, stock: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`; terminated if `gently`, then killed, by its own pid on leaving.

    A `stock` one runs without TCP_NODELAY, as an installation that nobody has tuned.
    """
    environment = _STOCK_ENVIRONMENT if stock else _ENVIRONMENT
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=cwd)
        try:
            yield process
        finally:
            if gently:
                process.terminate()
            else:
                process.kill()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        ae_title: its AE title.
        port: DICOM port on loopback.
        http_port: REST port on loopback.
    """

    ae_title: str
    port: int
    http_port: int

    def get(self, path: str) -> Any:
        """REST GET, decoded JSON."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """REST GET, raw body."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def statistics(self) -> dict[str, Any]:
        """Counts of patients, studies, series and instances."""
        return dict(self.get("/statistics"))

    def count_instances(self) -> int:
        """Number of stored instances."""
        return int(self.statistics()["CountInstances"])

    def series(self) -> list[dict[str, Any]]:
        """All series with their main tags, expanded."""
        return list(self.get("/series?expand"))

    def sop_instance_uids(self) -> set[str]:
        """SOP Instance UIDs of everything stored."""
        return {i["MainDicomTags"]["SOPInstanceUID"] for i in self.get("/instances?expand")}

    def series_instance_uids(self) -> set[str]:
        """Series Instance UIDs of everything stored."""
        return {s["MainDicomTags"]["SeriesInstanceUID"] for s in self.series()}

    def files_of_series(self, series_instance_uid: str) -> list[bytes]:
        """The DICOM files of one series, as Orthanc stored them."""
        orthanc_id = next(
            s["ID"] for s in self.series() if s["MainDicomTags"]["SeriesInstanceUID"] == series_instance_uid
        )
        return [self.get_bytes(f"/instances/{i}/file") for i in self.get(f"/series/{orthanc_id}")["Instances"]]

    def instances_of(self, patient_id: str) -> list[dict[str, Any]]:
        """All instances of a patient, expanded."""
        question = {"Level": "Instance", "Expand": True, "Query": {"PatientID": patient_id}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/tools/find", data=json.dumps(question).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return list(json.loads(answer.read()))

    def delete_everything(self) -> None:
        """Delete all patients."""
        for patient in self.get("/patients"):
            request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/patients/{patient}", method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def orthanc(
    folder: Path, *, ae_title: str = "ORTHANC", port: int | None = None, stock: bool = False, **settings: object
) -> Iterator[Orthanc]:
    """Start Orthanc with its storage in `folder`; `settings` go into its configuration."""
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    folder.mkdir(parents=True, exist_ok=True)
    peer = Orthanc(ae_title, port or free_port(), free_port())
    configuration = {
        "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "DicomAet": ae_title, "DicomPort": peer.port, "HttpPort": peer.http_port, "RemoteAccessAllowed": False,
        "DicomServerEnabled": True, "DicomCheckCalledAet": False, "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": True, "AuthenticationEnabled": False,
        "SyncStorageArea": False, "SaveJobs": False, "Plugins": [], **settings,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with running([program, str(path)], folder / "orthanc.log", cwd=folder, gently=False, stock=stock) as process:
        wait_until(
            lambda: (
                process.poll() is not None or (accepts_connections(peer.http_port) and accepts_connections(peer.port))
            ),
            what="Orthanc listening",
        )
        assert process.poll() is None, (folder / "orthanc.log").read_text(errors="replace")[-2000:]
        yield peer


@dataclass(frozen=True)
class StoreScp:
    """A running DCMTK storescp.

    Attributes:
        ae_title: its AE title.
        port: DICOM port on loopback.
        folder: where received files go.
        process: the process, for tests that kill it.
    """

    ae_title: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] = field(compare=False)

    def files(self) -> list[Path]:
        """Everything stored so far."""
        return sorted(p for p in self.folder.iterdir() if p.is_file())


@contextmanager
def storescp(folder: Path, *options: str, port: int | None = None, stock: bool = False) -> Iterator[StoreScp]:
    """Start storescp (`options` as on its command line, e.g. `--refuse`, `--abort-during`, `--sleep-after 5`)."""
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = ["storescp", "-aet", "STORESCP", "-od", str(received), *options, str(port)]
    with running(command, folder / "storescp.log", stock=stock) as process:
        wait_until(lambda: process.poll() is not None or accepts_connections(port), what="storescp listening")
        assert process.poll() is None, (folder / "storescp.log").read_text(errors="replace")[-2000:]
        yield StoreScp("STORESCP", port, received, process)


def storescu_command(port: int, paths: Sequence[Path], *options: str, ae_title: str = "CORRECTOR") -> list[str]:
    """Command line that pushes files and folders with DCMTK storescu, each status in its verbose log."""
    return [
        "storescu",
        "-v",
        "-aet",
        "STORESCU",
        "-aec",
        ae_title,
        "+sd",
        "+r",
        *options,
        "127.0.0.1",
        str(port),
        *map(str, paths),
    ]


def storescu(
    port: int, paths: Sequence[Path], *options: str, ae_title: str = "CORRECTOR"
) -> subprocess.CompletedProcess[str]:
    """Push files and folders and wait; the caller looks at `returncode` and `stdout`."""
    return subprocess.run(
        storescu_command(port, paths, *options, ae_title=ae_title),
        env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
