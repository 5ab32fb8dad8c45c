"""A dry run of everything that writing needs, so that the first patient does not wait for libraries to load tables."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from dicom_node import logs
from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectorSpec,
    FileRef,
    Limits,
    Mask,
    ParameterMap,
    RoleInstance,
    Units,
)
from dicom_node.dicom.derive import derive
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.reading import read_volume
from dicom_node.testing.series import SyntheticSeries

log = logs.get("worker")

_AFTER_IDLE_S: Final = 1.5
_SPEC: Final = CorrectorSpec(
    name="rehearsal",
    version="1",
    api=1,
    title="Dry run",
    inputs={"ct": Accepts("CT", Units.HU)},
    methods={"none": "changes one voxel"},
    default_method="none",
    factory="none:none",
    limits={"ct": Limits(-1024.0, 3071.0)},
)


class Rehearsal:
    """Takes place once, when the worker has been idle for a while: jobs that wait come first."""

    def __init__(self) -> None:
        self._at: float | None = time.monotonic() + _AFTER_IDLE_S

    def step(self, idle: bool) -> None:
        """Called at each turn of the worker's loop.

        Args:
            idle: whether there was no job.
        """
        if self._at is None:
            return
        if not idle:
            self._at = None  # a real performance has just warmed up everything
        elif time.monotonic() >= self._at:
            self._at = None
            rehearse()


def rehearse() -> None:
    """Derive an image, a map, a mask and a report from a synthetic series, into a folder that goes at once."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dicom-node-") as name:
            paths = SyntheticSeries(slices=3, rows=16, columns=16).write(Path(name) / "in")
            images = [RoleInstance(read_header(FileRef(path)), {}) for path in paths]
            loaded = {"ct": read_volume(images, _SPEC.inputs["ct"])}
            volume = loaded["ct"].volume
            pixels = volume.pixels.copy()
            pixels[1, 8, 8] += 1
            change = pixels - volume.pixels
            correction = Correction(
                changed=True,
                volumes={"ct": volume.with_pixels(pixels)},
                maps={"change": ParameterMap("ct", change, Units.HU, "Change")},
                masks={"changed": Mask("ct", change > 0, "Changed")},
                quality={"change_hu": tuple(float(np.abs(one).max()) for one in change)},
                metrics={"change_hu": 1.0},
            )
            provenance = Provenance(
                spec=_SPEC, method="none", parameters={}, weights_sha256="", input_digest="0" * 64, created_at=0.0
            )
            derive(_SPEC, correction, loaded, provenance, Path(name) / "out")
    except Exception as problem:  # noqa: BLE001  whatever fails here fails again, with its reason, in a job that needs it
        log.warning("rehearsal_failed", error=logs.place(problem))
    else:
        log.info("rehearsed", seconds=round(time.monotonic() - started, 3))
