"""`dicom-node demo`: the main job on loopback, with a stand-in PACS, shown to the user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
import yaml

from dicom_node.commands.before_after import Errors, errors, most_changed_slice, picture
from dicom_node.commands.output import Advance, JsonFlag, Output
from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import DemoStudy, DemoStudyMaker, Volume
from dicom_node.dicom.scan import scan
from dicom_node.errors import InputError, NodeError, PluginError, RequestError
from dicom_node.testing.peer import ScriptedScp, ScriptedScu

_GROUP = "dicom_node.demo_studies"
_REAL_DATA = Path("../shared/data")
_LONGEST_S = 600.0


@dataclass(frozen=True)
class Received:
    """One derived series as it arrived in the PACS."""

    series_instance_uid: str
    modality: str
    instances: int


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for what the demo writes; its old demo is replaced.")
    ] = Path("demo-out"),
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with real CT; default: ../shared/data where it exists.")
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Use the synthetic pelvis even if there is real CT.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulated metal.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Start a node and a stand-in PACS on loopback, push a study, show what comes back."""
    output = Output(as_json)
    if data is not None and not data.is_dir():
        raise RequestError(f"{data} is no folder")
    real = None if synthetic else data or (_REAL_DATA if _REAL_DATA.is_dir() else None)
    _empty(out)
    with output.progress() as advance:
        advance("making the study", 0, 0)
        study = _study_maker()(NodeCommandContext(), out / "study", data=real, seed=seed)
        files = sorted(study.artefact.rglob("*.dcm"))
        output.line(f"Study: {study.title} ({len(files)} images)")
        with ScriptedScp(ae_title="PACS") as pacs, _node(out, pacs.port, advance) as port:
            advance("pushing the study", 0, len(files))
            started = time.monotonic()
            scanner = ScriptedScu(port)
            if not scanner.store(files) or any(status for _, status in scanner.statuses):
                raise InputError(f"the node did not take the study; its log is {out / 'node.log'}")
            output.line(f"Pushed over DICOM to the node: {len(files)} images in {time.monotonic() - started:.1f} s")
            _wait_delivered(out, advance)
            seconds = time.monotonic() - started
            pacs.save(out / "pacs")
    received = [Received(s.series_instance_uid, s.modality, len(s.instances)) for s in scan([out / "pacs"]).series]
    output.line(f"Came back to the PACS within {seconds:.1f} s of the push (quiet period of 1 s included):")
    output.table(
        "Derived series",
        ["series", "modality", "images"],
        [[r.series_instance_uid, r.modality, r.instances] for r in received],
    )
    result, image = _compare(study, out)
    if result is not None:
        output.line(
            f"HU error (RMSE outside metal, {result.slices} slices with metal): "
            f"{result.before_hu:.1f} HU before, {result.after_hu:.1f} HU after"
        )
    else:
        output.line("HU error: not known, the study has no truth")
    output.line(f"Picture of the slice that changed most: {image}")
    output.document(
        {
            "study": study.title,
            "pushed": len(files),
            "derived": [vars(r) for r in received],
            "hu_rmse_before": result.before_hu if result else None,
            "hu_rmse_after": result.after_hu if result else None,
            "picture": str(image),
            "seconds": round(seconds, 1),
        }
    )


def _study_maker() -> DemoStudyMaker:
    entries = sorted(entry_points(group=_GROUP), key=lambda e: e.name)
    if not entries:
        raise PluginError(f"no installed package offers a demo study (entry-point group {_GROUP})")
    try:
        maker: DemoStudyMaker = entries[0].load()
    except ImportError as error:
        raise PluginError(f"the demo study {entries[0].value} cannot be imported: {error}") from error
    return maker


def _empty(out: Path) -> None:
    """Make the folder, and remove the parts that an earlier demo left: nothing else in it is touched."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("study", "pacs", "var"):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / "node.log").unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write to {out}: {error.strerror}") from error


@contextmanager
def _node(out: Path, pacs_port: int, advance: Advance) -> Iterator[int]:
    """A node as its own process, with its log in a file; stopped by SIGTERM."""
    port, metrics_port = _free_port(), _free_port()
    config = {
        "node": {"port": port, "metrics_port": metrics_port, "data_dir": str(out / "var"), "min_free_mb": 200},
        "peers": {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port}},
        "intake": {"quiet_s": 1},
        "default_send_to": ["pacs"],
    }
    path = out / "node.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    advance("starting the node", 0, 0)
    with (out / "node.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "dicom_node.cli", "serve", "--config", str(path)], stdout=log, stderr=log
        )
    try:
        _wait(lambda: _page(metrics_port, "/readyz") == "ready", process, out, "the node did not become ready")
        yield port
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_delivered(out: Path, advance: Advance) -> None:
    """Until the job has ended; ask the ledger as an operator would."""
    advance("correcting and sending back", 0, 0)
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        result = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-m", "dicom_node.cli", "jobs", "list", "--json", "--config", str(out / "node.yaml")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        jobs = yaml.safe_load(result.stdout)["jobs"] if result.returncode == 0 else []
        states = {job["state"] for job in jobs}
        if states and states <= {"DELIVERED"}:
            return
        if ended := states & {"DEAD", "REFUSED", "UNCHANGED", "CANCELLED"}:
            why = next(job["error"] or job["reason"] for job in jobs if job["state"] in ended)
            raise InputError(f"the job ended {', '.join(sorted(ended))}: {why}; the node's log is {out / 'node.log'}")
        time.sleep(0.5)
    raise InputError(f"nothing came back within {_LONGEST_S:g} s; the node's log is {out / 'node.log'}")


def _wait(condition: object, process: subprocess.Popen[bytes], out: Path, what: str) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not condition():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > deadline:
            raise InputError(f"{what}; its log is {out / 'node.log'}")
        time.sleep(0.1)


def _page(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode()).strip()
    except (urllib.error.URLError, OSError):
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _compare(study: DemoStudy, out: Path) -> tuple[Errors | None, Path]:
    before = _ct(study.artefact)
    after = _ct(out / "pacs")
    truth = _ct(study.truth) if study.truth is not None else None
    path = out / "before_after.png"
    picture(before, after, truth, most_changed_slice(before, after), path)
    return (errors(before, after, truth, study.metal_hu) if truth is not None else None), path


def _ct(folder: Path) -> Volume:
    """The CT series in a folder; segmentations, maps and reports beside it are left out."""
    try:
        return NodeCommandContext().read([folder], modality="CT")[0].volume
    except NodeError as error:
        raise InputError(f"{folder} holds no readable CT: {error}") from error
