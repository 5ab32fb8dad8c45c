"""The processes of a running node, from its own `/metrics` page."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S: Final = 5.0
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here
_READY, _RESTARTS = "dicom_node_process_ready", "dicom_node_process_restarts_total"


@dataclass(frozen=True)
class ProcessState:
    """One process: whether it can do its work, and how often it was started again."""

    name: str
    ready: bool
    restarts: int


def read_processes(host: str, port: int) -> tuple[ProcessState, ...] | None:
    """Ask the node; None when it does not answer as it should.

    Args:
        host: `node.host`.
        port: `node.metrics_port`.
    """
    name = _ANY.get(host, host)
    where = f"[{name}]" if ":" in name else name
    try:
        with urllib.request.urlopen(f"http://{where}:{port}/metrics", timeout=_TIMEOUT_S) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (OSError, ValueError, urllib.error.URLError):
        return None
    ready: dict[str, float] = {}
    restarts: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            into = {_READY: ready, _RESTARTS: restarts}.get(sample.name)
            if into is not None:
                into[sample.labels.get("process", "")] = sample.value
    return tuple(ProcessState(one, bool(ready[one]), int(restarts.get(one, 0))) for one in sorted(ready))
