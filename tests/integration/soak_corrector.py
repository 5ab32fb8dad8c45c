"""A corrector for tests: adds 10 HU, needs numpy only, and can take its time or take its process along."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from dicom_node.contracts import Accepts, Correction, CorrectorSpec, Limits, Parameter, ParameterValue, Units, Volume

CHANGE_HU = 10

SPEC = CorrectorSpec(
    name="soak",
    version="1",
    api=1,
    title="Test",
    inputs={"ct": Accepts("CT", Units.HU)},
    methods={"plain": "adds 10 HU"},
    default_method="plain",
    factory="soak_corrector:build",
    limits={"ct": Limits(-1024.0, 4000.0)},
    parameters={
        "seconds": Parameter(0.0, "how long it takes [s]"),
        "deadly": Parameter(False, "kills its own process"),
    },
)


class Soak:
    """See above."""

    def __init__(self, seconds: float, deadly: bool) -> None:
        self._seconds = seconds
        self._deadly = deadly

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        """Add 10 HU."""
        time.sleep(self._seconds)
        if self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        ct = inputs["ct"]
        return Correction(changed=True, volumes={"ct": ct.with_pixels(ct.pixels + CHANGE_HU)})


def build(*, method: str, weights: Path | None, device: str, parameters: Mapping[str, ParameterValue]) -> Soak:
    """The factory."""
    return Soak(float(parameters["seconds"]), bool(parameters["deadly"]))


def install(folder: Path) -> str:
    """Make the corrector known to whoever has the returned text as PYTHONPATH."""
    info = folder / "soak_corrector-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: soak-corrector\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dicom_node.correctors]\nsoak = soak_corrector:SPEC\n")
    return os.pathsep.join([str(folder), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
