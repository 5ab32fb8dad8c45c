"""A small corrector that is installed for the test, a study, and a node that has derived from it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from safetensors.numpy import save
from structlog.testing import capture_logs

from dicom_node.archive.store import ArchiveStore
from dicom_node.compose.routing import load_checked, make_planner
from dicom_node.database.engine import Database
from dicom_node.jobs.model import Job
from dicom_node.plugins.catalogue import discover
from dicom_node.plugins.loader import build
from dicom_node.plugins.weights import CARD, DESCRIPTION, REQUIRED_KEYS, SUMS, TENSORS, weights_from
from dicom_node.testing.series import SyntheticSeries, mr_series
from dicom_node.worker.process import Worker

sys.path.append(str(Path(__file__).parents[1] / "keeping"))
from keeping_site import DAY_S as DAY_S
from keeping_site import START as START
from keeping_site import make_site

PROBE = """
import numpy as np
from dicom_node.contracts import *

SPEC = CorrectorSpec(
    name="replayprobe", version={version!r}, api=1, title="Probe of replay",
    inputs={{"image": Accepts("MR", Units.MR_SIGNAL)}}, methods={{"square": "Adds a square", "idle": "Does nothing"}},
    default_method="square", factory="replay_probe:build", limits={{"image": Limits(0.0, 4095.0)}},
    parameters={{"add": Parameter(20.0, "added"), "shift": Parameter(1, "first changed slice")}},
    device_tolerance={tolerance!r}, weights={weights},
)

class Probe:
    def __init__(self, method, device, parameters):
        self._method = method
        # As a machine with CUDA would: `auto` takes it, and its rounding differs.
        self._device = "cuda" if device in ("auto", "cuda") and {has_cuda!r} else "cpu"
        self._add, self._shift = parameters["add"], parameters["shift"]

    def correct(self, inputs):
        image = inputs["image"]
        if self._method == "idle":
            return Correction(changed=False, reason="nothing to do")
        change = np.zeros_like(image.pixels)
        change[self._shift:, 4:8, 4:8] = self._add + (2.0 if self._device == "cuda" else 0.0)
        pixels = np.clip(image.pixels + change, 0, 4095)
        return Correction(
            changed=True, volumes={{"image": image.with_pixels(pixels)}},
            maps={{"change": ParameterMap("image", pixels - image.pixels, Units.MR_SIGNAL, "Change")}},
            masks={{"square": Mask("image", change > 0, "Square")}},
            quality={{"largest_change": tuple(float(c.max()) for c in change)}}, metrics={{"added": float(self._add)}},
            device=self._device,
        )

def build(*, method, weights, device, parameters):
    return Probe(method, device, parameters)
"""
Install = Callable[..., None]


@contextmanager
def installing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(version=..., has_cuda=..., tolerance=...)`: the probe is installed like that from now on."""
    folder.mkdir()
    info = folder / "replay_probe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: replay-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dicom_node.correctors]\nreplayprobe = replay_probe:SPEC\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # bytecode knows its source by time and size only

    def install(
        *,
        version: str = "1",
        has_cuda: bool = False,
        tolerance: dict[str, float] | None = None,
        weights: Path | None = None,
    ) -> None:
        reference = {} if weights is None else {"square": weights_from(weights)}
        text = PROBE.format(version=version, has_cuda=has_cuda, tolerance=tolerance or {}, weights=reference)
        (folder / "replay_probe.py").write_text(text)
        sys.modules.pop("replay_probe", None)
        importlib.invalidate_caches()

    install()
    yield install
    sys.modules.pop("replay_probe", None)


def study(**options: Any) -> SyntheticSeries:
    """Four small slices."""
    return mr_series(**{"slices": 4, "rows": 16, "columns": 16, "seed": 3, **options})


def weights_package(folder: Path, value: float) -> Path:
    """A sound weights package."""
    folder.mkdir()
    (folder / TENSORS).write_bytes(save({"scale": np.full(1, value, np.float32)}))
    about = dict.fromkeys(REQUIRED_KEYS, "x") | {"architecture": {"name": "net", "arguments": {}}}
    (folder / DESCRIPTION).write_text(yaml.safe_dump(about))
    (folder / CARD).write_text("# Card\n")
    names = (TENSORS, DESCRIPTION, CARD)
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(sums))
    return folder


def repaint(path: Path, value: int, at: tuple[int, int] = (5, 5)) -> str:
    """Give one pixel another stored value; returns the SOP Instance UID."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array.copy()
    pixels[at] = value
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    return str(dataset.SOPInstanceUID)


@dataclass
class NodeBench:
    """A node's data folder, its configuration, and what happens to it."""

    folder: Path
    config: Path
    derived: list[Job] = field(default_factory=list)

    def receive_and_derive(self, series: SyntheticSeries, frames: list[int] | None, now: float) -> Job:
        """Images arrive, come to rest, are routed and corrected; the newest job as it stands then."""
        loaded = load_checked(self.config)
        with capture_logs(), closing(Database.open(loaded.database_url)) as database:
            site = make_site(loaded.node.data_dir.resolve(), database)
            site.room.plan = make_planner(loaded)  # type: ignore[method-assign]
            site.push(series, now, frames)
            site.route(now)
            worker = Worker(
                owner="w", device="cpu", lease_s=30, database=database, ledger=site.ledger, outbox=site.outbox,
                catalogue=discover(), build=build, clock=lambda: now + 1000,
            )  # fmt: skip
            while worker.step():
                pass
            with database.read() as tx:
                job = site.ledger.find(tx)[0]
        self.derived.append(job)
        return job

    def series_uid(self, job: Job, role: str = "image") -> str:
        """Series Instance UID of an output."""
        return next(output.series_instance_uid for output in job.outputs if output.role == role)

    def archived(self, uid: str) -> Path:
        """The archived file of an instance."""
        return ArchiveStore(self.folder / "archive").path(uid)


def make_node(folder: Path, rule: str = "") -> NodeBench:
    """A node whose one route takes MR for the probe."""
    folder.mkdir()
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(
        f"node: {{data_dir: {folder}}}\ndefaults: off\n"
        f"routes: [{{name: mine, when: {{Modality: MR}}, corrector: replayprobe{rule}}}]\n"
    )
    return NodeBench(folder, config)
