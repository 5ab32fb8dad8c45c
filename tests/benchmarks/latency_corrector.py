"""A corrector that costs next to nothing and says how long it took: what is left of the time is the node's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dicom_node.contracts import Accepts, Correction, CorrectorSpec, Limits, ParameterValue, Units, Volume

SPEC = CorrectorSpec(
    name="latency",
    version="1",
    api=1,
    title="Adds 10 HU",
    inputs={"ct": Accepts("CT", Units.HU)},
    methods={"plain": "adds 10 HU to every voxel"},
    default_method="plain",
    factory="latency_corrector:build",
    limits={"ct": Limits(-1024.0, 4000.0)},
)


class Latency:
    """See above."""

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        """Add 10 HU."""
        started = time.monotonic()
        ct = inputs["ct"]
        pixels = ct.pixels + np.float32(10)
        if ct.padding is not None:
            np.copyto(pixels, ct.pixels, where=ct.padding)
        volumes = {"ct": ct.with_pixels(pixels)}
        return Correction(changed=True, volumes=volumes, metrics={"own_seconds": time.monotonic() - started})


def build(*, method: str, weights: Path | None, device: str, parameters: Mapping[str, ParameterValue]) -> Latency:
    """The factory."""
    return Latency()


def install(folder: Path) -> str:
    """Make the corrector known to whoever has the returned text as PYTHONPATH."""
    info = folder / "latency_corrector-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: latency-corrector\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dicom_node.correctors]\nlatency = latency_corrector:SPEC\n")
    return f"{folder}:{Path(__file__).parent}"
