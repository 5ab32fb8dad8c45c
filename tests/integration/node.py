"""A node as a process on loopback, as an operator would start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from peers import free_port, wait_until

COMMAND = [sys.executable, "-m", "dicom_node.cli"]


@dataclass
class Node:
    """A node that can be stopped, killed and started again on the same data.

    Attributes:
        folder: its data, configuration and log.
        peers: the `peers` section.
        settings: other sections, merged over the test's defaults.
        command: what runs `dicom-node`.
        environment: variables beside the test's own.
    """

    folder: Path
    peers: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = tuple(COMMAND)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.folder / "node.yaml"

    def write_config(self) -> Path:
        """Write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "node": {
                "port": self.port, "metrics_port": self.metrics_port, "data_dir": str(self.folder / "var"),
                "device": "cpu", "min_free_mb": 10, "receivers": 2, "drain_s": 30,
            },
            "peers": self.peers,
            "intake": {"quiet_s": 0.5, "poll_s": 0.05},
            "jobs": {"backoff_s": 0.2, "max_backoff_s": 2, "lease_s": 15},
            "default_send_to": sorted(self.peers),
        }  # fmt: skip
        for section, values in self.settings.items():
            config[section] = {**config[section], **values} if isinstance(config.get(section), dict) else values
        self.config_path.write_text(yaml.safe_dump(config))
        return self.config_path

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it is ready."""
        self.write_config()
        environment = {**os.environ, "OMP_NUM_THREADS": "2", **self.environment}
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", "--config", str(self.config_path)],
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_ready()

    def wait_ready(self, limit_s: float = 60) -> None:
        """Wait for /readyz."""
        wait_until(lambda: self.dead or self.page("/readyz")[0] == 200, limit_s, "node ready")
        assert not self.dead, self.log()[-3000:]

    @property
    def dead(self) -> bool:
        """Whether the supervisor has ended."""
        return self.process is None or self.process.poll() is not None

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of /metrics, /healthz or /readyz; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self) -> str:
        """Everything the node wrote to stdout and stderr."""
        return (self.folder / "node.log").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        lines = []
        for line in self.log().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if entry.get("event") == name:
                    lines.append(entry)
        return lines

    def pids(self) -> dict[str, int]:
        """Living children by name, e.g. `worker-0`."""
        found = {}
        for entry in self.events("process_started"):
            # A number alone may by now belong to somebody else's process; the session is this node's own.
            with contextlib.suppress(ProcessLookupError):
                if self.process is not None and os.getsid(entry["pid"]) == self.process.pid:
                    found[entry["child"]] = entry["pid"]
        return found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `dicom-node` command against this node's configuration."""
        return subprocess.run(
            [*COMMAND, *arguments, "--config", str(self.config_path), "--json"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def jobs(self) -> list[dict[str, Any]]:
        """`dicom-node jobs list`."""
        result = self.run("jobs", "list")
        assert result.returncode == 0, result.stderr
        return list(json.loads(result.stdout)["jobs"])

    def wait_jobs(self, state: str, count: int = 1, limit_s: float = 120) -> list[dict[str, Any]]:
        """Wait until so many jobs are in a state."""
        wanted = f'dicom_node_jobs{{state="{state}",table="job"}}'
        wait_until(lambda: self.gauge(wanted) >= count, limit_s, f"{count} jobs {state}; log: {self.log()[-1500:]}")
        return [job for job in self.jobs() if job["state"] == state]

    def gauge(self, name: str) -> float:
        """One value of /metrics, 0 where it is not there; `name` may stop before the end of its labels."""
        for line in self.page("/metrics")[1].splitlines():
            if line.startswith(name):
                return float(line.split()[-1])
        return 0.0

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """`kill -9` of the supervisor; its children end by themselves."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=10)


@contextlib.contextmanager
def node(folder: Path, peers: dict[str, Any], **settings: Any) -> Iterator[Node]:
    """A started node that is gone afterwards, whatever happened."""
    one = Node(folder, peers, settings)
    try:
        one.start()
        yield one
    finally:
        if not one.dead:
            one.kill()
            time.sleep(0.1)
