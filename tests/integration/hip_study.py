"""A small synthetic hip CT with metal, made quickly and always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.series import SyntheticSeries

ROWS = 96
PATIENT = SyntheticPatient(
    name="CANARY^NAME=山田^太郎=やまだ^たろう", character_set=("", "ISO 2022 IR 87"), patient_id="CANARYID"
)
"""Escapes into JIS X 0208 (PS3.5 H.3.1): bytes that any careless decoding on the way would change."""


def pelvis(slices: int, metal_slices: tuple[int, ...], rows: int = ROWS) -> NDArray[np.float32]:
    """Soft tissue ellipse with two femoral heads; in some slices the left one is metal with streaks [HU]."""
    y, x = (np.mgrid[:rows, :rows] - (rows - 1) / 2) / rows
    noise = np.random.default_rng(7).normal(0, 8, (slices, rows, rows))
    volume = np.full((slices, rows, rows), -1000.0)
    body = (x / 0.42) ** 2 + (y / 0.30) ** 2 < 1
    heads = [(x - c) ** 2 + y**2 < 0.055**2 for c in (-0.2, 0.2)]
    for z in range(slices):
        volume[z][body] = 40.0 + noise[z][body]
        for head in heads:
            volume[z][head] = 600.0
        if z in metal_slices:
            streak = 250 * np.exp(-((y / 0.02) ** 2)) * np.sign(np.abs(x + 0.2) - 0.12)
            volume[z][body] += streak[body]
            volume[z][heads[0]] = 3071.0
    return np.clip(volume, -1024, 3071).astype(np.float32)


def hip_series(
    slices: int = 8, metal_slices: tuple[int, ...] = (3, 4), *, seed: int = 1, rows: int = ROWS
) -> SyntheticSeries:
    """The series; patient data are canaries, so that a leak is found by searching for `CANARY`."""
    spacing = 380.0 / rows
    return SyntheticSeries(
        modality="CT",
        slices=slices,
        rows=rows,
        columns=rows,
        values=pelvis(slices, metal_slices, rows),
        pixel_spacing_mm=(spacing, spacing),
        origin_mm=(-190.0, -190.0, -300.0),
        bits_stored=12,
        patient=PATIENT,
        study_description="CANARY HIP PELVIS",
        series_description="HIP 3.0 CANARY",
        protocol_name="PELVIS",
        seed=seed,
    )


def write(folder: Path, **options: object) -> list[Path]:
    """Write the series into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return list(hip_series(**options).write(folder))  # type: ignore[arg-type]
