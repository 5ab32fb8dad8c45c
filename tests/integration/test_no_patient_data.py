"""Whatever happens, no canary gets out of archive, spool and ledger, but in the derived instances themselves."""

from __future__ import annotations

import http.server
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import canaries
import psutil
import pydicom
import pytest
from node import Node
from peers import StoreScp, free_port, wait_until

from dicom_node.testing.peer import ScriptedScu

PLUGIN = """
import logging, sys, threading, warnings
from dicom_node.contracts import Accepts, Correction, CorrectionRefused, CorrectorSpec, Limits, Parameter, Units

SPEC = CorrectorSpec(
    name="leaky", version="1", api=1, title="Test",
    inputs={"ct": Accepts("CT", Units.HU, wants=("SeriesDescription",))},
    methods={"plain": "leaks"}, default_method="plain", factory="leaky:build", limits={"ct": Limits(-1024.0, 4000.0)},
    parameters={"how": Parameter("", "how")},
)

class Dying:
    def __init__(self, secret): self.secret = secret
    def __del__(self): raise ValueError(self.secret)

class Leaky:
    def __init__(self, how): self.how = how
    def correct(self, inputs):
        secret = str(inputs["ct"].tags["SeriesDescription"])
        def fail(): raise ValueError(secret)
        if self.how == "raise":
            try:
                fail()
            except ValueError as error:
                raise RuntimeError("while working on " + secret) from error
        if self.how == "refuse":
            raise CorrectionRefused("must not touch " + secret)
        if self.how == "unchanged":
            return Correction(changed=False, reason="nothing to do in " + secret)
        print(secret); print(secret, file=sys.stderr); sys.__stdout__.write(secret + "\\n")
        warnings.warn(secret); logging.getLogger("somebody").error(secret)
        thread = threading.Thread(target=fail, name=secret); thread.start(); thread.join()
        Dying(secret)
        ct = inputs["ct"]
        return Correction(changed=True, volumes={"ct": ct.with_pixels(ct.pixels + 10)}, warnings=("odd: " + secret,))

def build(*, method, weights, device, parameters):
    return Leaky(parameters["how"])
"""
WAYS = ("raise", "refuse", "unchanged", "print")


def install(folder: Path) -> str:
    """Make the plugin known to whoever has the returned PYTHONPATH."""
    info = folder / "leaky-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dicom_node.correctors]\nleaky = leaky:SPEC\n")
    (folder / "leaky.py").write_text(PLUGIN)
    return str(folder)


@contextmanager
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """An URL, and the bodies that it gets."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])) + str(self.headers).encode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings(url: str) -> dict[str, object]:
    def rule(name: str, corrector: str, **more: object) -> dict[str, object]:
        return {
            "name": name, "corrector": corrector,
            "when": {"Modality": "CT", "SeriesDescription": {"matches": f" {name}$"}}, **more,
        }  # fmt: skip

    return {
        "node": {"receivers": 1},
        "jobs": {"backoff_s": 0.1, "max_backoff_s": 0.5, "lease_s": 15, "max_attempts": 2},
        "notify": {"webhook": url, "unreachable_after_s": 1},
        "default_send_to": ["pacs"],
        "routes": [
            rule("HIP", "hipct", method="li", parameters={"n_angles": 180}, send_to=["pacs", "away"]),
            *(rule(way.upper(), "leaky", parameters={"how": way}) for way in WAYS),
            rule("MISSING", "not-installed"),
        ],
    }


def push(one: Node, study: Path) -> None:
    """Push every series; then a damaged instance, and one that is in conflict with what came before."""
    scanner = ScriptedScu(one.port)
    for folder in sorted(study.iterdir()):
        assert scanner.store(sorted(folder.iterdir()))
    assert {status for _, status in scanner.statuses} == {0}
    path = sorted(next(iter(sorted(study.iterdir()))).iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.PatientComments = "CANARY CONFLICT"
    conflicting = path.parent.parent.parent / "conflict.dcm"
    dataset.save_as(conflicting)
    assert scanner.store([conflicting])
    body = path.read_bytes()
    start = body.index(b"\x08\x00\x05\x00")
    assert scanner.store_bytes(str(dataset.SOPClassUID), "1.2.3.4.5", body[start : len(body) // 2]) == 0


def everything_written(one: Node, *more: Path) -> Iterator[tuple[str, bytes]]:
    """All files but archive, spool, quarantine, ledger and derived instances; and the names of all."""
    var = one.folder / "var"
    for root in (one.folder, *more):
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root.parent)
            yield f"the name {name}", str(name).encode()
            if not path.is_file():
                continue
            below = path.relative_to(var).parts if path.is_relative_to(var) else ("",)
            patient_data = below[0] in ("archive", "spool", "quarantine") or below[0].startswith("node.sqlite")
            derived = below[0] == "outbox" and path.suffix == ".dcm"
            if not patient_data and not derived:
                yield str(name), path.read_bytes()


@pytest.mark.slow
def test_nothing_that_identifies_gets_out(tmp_path: Path, storescp: Callable[..., StoreScp]) -> None:
    study, temporary = tmp_path / "study", tmp_path / "temporary"
    temporary.mkdir()
    names = ("HIP", *(way.upper() for way in WAYS), "MISSING")
    for number, (name, patient) in enumerate(zip(names, canaries.PATIENTS, strict=True)):
        canaries.write_study(study / name, patient, f"CANARY {name}", seed=number + 1)
    pacs = storescp()
    peers = {
        "pacs": {"ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port},
        "away": {"ae_title": "AWAY", "host": "127.0.0.1", "port": free_port()},
    }
    heard: dict[str, bytes] = {}
    environment = {"PYTHONPATH": install(tmp_path / "plugins"), "TMPDIR": str(temporary)}
    with webhook() as (url, bodies):
        one = Node(tmp_path / "node", peers, settings(url), environment=environment)
        one.start()
        try:
            push(one, study)
            wait_until(lambda: finished(one), 120, "all jobs have ended")
            wait_until(lambda: len(events(bodies)) >= 4, 60, "what needs a person was told")
            for pid in one.pids().values():
                assert max(resource.prlimit(pid, resource.RLIMIT_CORE)) <= 1
            for name, pid in one.pids().items():
                if name.startswith(("worker", "intake", "receiver")):
                    psutil.Process(pid).send_signal(signal.SIGABRT if name == "worker-0" else signal.SIGKILL)
            for page in ("/metrics", "/readyz"):
                heard[page] = one.page(page)[1].encode()
            heard |= commands(one, study, environment, tmp_path / "out")
            wait_until(lambda: one.page("/readyz")[0] == 200, 60, "all are back")
            assert one.stop() == 0
        finally:
            if not one.dead:
                one.kill()
    assert events(bodies) >= {"job_dead", "peer_unreachable", "quarantined", "route_unusable"}
    heard |= {f"webhook {number}": body for number, body in enumerate(bodies)}
    found = [
        (name, trace)
        for name, data in (*everything_written(one, temporary), *heard.items())
        for trace in canaries.traces(data)
    ]
    assert not found, "\n".join(
        f"{name}: {trace.secret} as {trace.how}: {trace.around!r}" for name, trace in found[:10]
    )
    dumps = [path for folder in (Path.cwd(), tmp_path) for path in (*folder.glob("core"), *folder.glob("core.*"))]
    assert not dumps, "memory was dumped to the disk"
    archived = (path.read_bytes() for path in (one.folder / "var" / "archive").rglob("*.dcm"))
    in_archive = {trace.secret for data in archived for trace in canaries.traces(data)}
    assert in_archive >= {"CANARY", "Канарейка", canaries.BIRTH_DATE}, "the search finds what is there"


def finished(one: Node) -> bool:
    """The hip series waits for a peer that is away; the series without a corrector of its own goes the default way."""
    ended = {"DEAD": 1, "REFUSED": 1, "UNCHANGED": 1, "DERIVED": 1, "DELIVERED": len(WAYS) - 2}
    return all(one.gauge(f'dicom_node_jobs{{state="{state}",table="job"}}') == n for state, n in ended.items())


def events(bodies: list[bytes]) -> set[str]:
    return {json.loads(body[: body.rindex(b"}") + 1])["event"] for body in list(bodies)}


def commands(one: Node, study: Path, environment: dict[str, str], out: Path) -> dict[str, bytes]:
    """What an operator's commands print, failures among them; and what `correct` writes beside its instances."""
    job = one.jobs()[0]["id"]
    given = ["--config", str(one.config_path)]
    asked: dict[str, list[str]] = {
        "jobs list": ["jobs", "list", *given],
        "jobs show": ["jobs", "show", job, *given, "--json"],
        "status": ["status", *given],
        "route": ["route", str(study), *given, "--json"],
        "correct": ["correct", str(study / "RAISE"), str(study / "REFUSE"), "--out", str(out), *given, "--json"],
    }
    heard = {}
    for name, arguments in asked.items():
        result = subprocess.run(
            [sys.executable, "-m", "dicom_node.cli", *arguments], capture_output=True, timeout=120, check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert b"usage" not in result.stderr.lower(), result.stderr
        heard[name] = result.stdout + result.stderr
    for path in out.rglob("*.json"):
        heard[f"correct wrote {path.name}"] = path.read_bytes()
    return heard
