"""`/metrics` for Prometheus, `/healthz` (the node lives) and `/readyz` (it can do its work)."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicom_node import logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.database.engine import Database
from dicom_node.errors import LedgerError, RequestError
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.retry import RetryPolicy

log = logs.get("metrics")


@dataclass(frozen=True)
class NodeStatus(Collector):
    """Reads the node's state when asked; the ledger is the truth, so no process has to report anything.

    Attributes:
        database: the ledger.
        data_dir: folder whose free space counts.
        min_free_mb: free space below which C-STORE is refused [MB].
        processes: by name, whether it is ready and how often it was restarted.
    """

    database: Database
    data_dir: Path
    min_free_mb: float
    processes: Callable[[], Mapping[str, tuple[bool, int]]]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges of the moment; labels never hold patient data."""
        with self.database.read() as tx:
            archive = ArchiveIndex().counts(tx)
            ledger = JobLedger(RetryPolicy()).counts(tx)
        held = GaugeMetricFamily("dicom_node_archive", "Rows in the archive index", labels=["kind"])
        for kind, count in sorted(archive.items()):
            held.add_metric([kind], count)
        yield held
        jobs = GaugeMetricFamily("dicom_node_jobs", "Jobs and deliveries by state", labels=["table", "state"])
        for (table, state), count in sorted(ledger.items()):
            jobs.add_metric([table, state], count)
        yield jobs
        yield GaugeMetricFamily("dicom_node_disk_free_bytes", "Free space in the data folder", value=self.free_bytes())
        ready = GaugeMetricFamily("dicom_node_process_ready", "1 when the process is ready", labels=["process"])
        restarts = GaugeMetricFamily("dicom_node_process_restarts", "Restarts since start", labels=["process"])
        for name, (is_ready, count) in sorted(self.processes().items()):
            ready.add_metric([name], float(is_ready))
            restarts.add_metric([name], count)
        yield ready
        yield restarts

    def free_bytes(self) -> int:
        """Free space in the data folder [bytes]."""
        return shutil.disk_usage(self.data_dir).free

    def not_ready(self) -> list[str]:
        """Reasons why the node cannot do its work, empty when it can."""
        reasons = [f"process {name} is not ready" for name, (ready, _) in self.processes().items() if not ready]
        if self.free_bytes() < self.min_free_mb * 1e6:
            reasons.append(f"less than {self.min_free_mb:g} MB of disk are free")
        try:
            with self.database.read() as tx:
                ArchiveIndex().counts(tx)
        except LedgerError as error:
            reasons.append(f"the ledger cannot be read ({error.code})")
        return reasons


class _Pages(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that went away in the middle is nothing to print a traceback for."""
        log.debug("http_broken_off")


class MetricsServer:
    """Serves the three pages from a thread; port 0 in the configuration means none."""

    def __init__(self, host: str, port: int, status: NodeStatus) -> None:
        self._address = (host, port)
        self._status = status
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Bind and serve.

        Raises:
            RequestError: the port is taken.
        """
        if not self._address[1]:
            return
        try:
            self._server = _Pages(self._address, _handler(self._status))
        except OSError as error:
            raise RequestError(f"node.metrics_port {self._address[1]} cannot be used: {error.strerror}") from error
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _handler(status: NodeStatus) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n")
            elif self.path == "/readyz":
                reasons = status.not_ready()
                code = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
                self._answer(code, ("\n".join(reasons) or "ready").encode() + b"\n")
            elif self.path == "/metrics":
                try:
                    self._answer(HTTPStatus.OK, generate_latest(registry))
                except LedgerError as error:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error.code}\n".encode())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

        def _answer(self, code: HTTPStatus, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug("http", status=str(args[1]) if len(args) > 1 else "")

    return Handler
