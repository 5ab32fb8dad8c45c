"""The HTTP server of the three pages."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from dicom_node import logs
from dicom_node.errors import RequestError
from dicom_node.metrics.status import NodeStatus

log = logs.get("metrics")

_TEXT = "text/plain; charset=utf-8"


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
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

        def _answer(self, code: HTTPStatus, body: bytes, kind: str = _TEXT) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug("http", status=str(args[1]) if len(args) > 1 else "")

    return Handler
