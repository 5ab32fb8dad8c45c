"""Given pairs as cases: `DIR/CASE/artefact` and `DIR/CASE/truth`, as `dicom-node simulate` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dicom_node.contracts import CommandContext, CorrectorSpec, Geometry, ReadImage
from dicom_node.errors import InputError, RequestError
from training.cases import CaseSource, EvaluationCase
from training.subject import Subject

LARGEST_SHIFT_MM = 0.05
"""Slices of artefact and truth that lie farther apart are not of one grid [mm]."""


def given_pairs(context: CommandContext, subject: Subject, spec: CorrectorSpec, folder: Path) -> CaseSource:
    """Pairs below a folder, or the folder itself where it holds `artefact` and `truth`.

    Args:
        context: the node's reader.
        subject: says what of a pair is judged.
        spec: of the corrector.
        folder: that of the cases.

    Raises:
        RequestError: the folder holds no pair, or half of one.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is no folder")
    cases = [folder] if (folder / "artefact").is_dir() else sorted(path for path in folder.iterdir() if path.is_dir())
    for case in cases:
        if missing := [name for name in ("artefact", "truth") if not (case / name).is_dir()]:
            raise RequestError(f"case {case.name}: there is no folder {case / missing[0]}")
    if not cases:
        raise RequestError(f"{folder} holds no case: it must hold CASE/artefact and CASE/truth")

    def make() -> Iterator[EvaluationCase]:
        names: dict[str, str] = {}  # a patient is called by the first of his cases
        for case in cases:
            try:
                made = _read(context, subject, spec, case)
            except InputError as error:
                raise InputError(f"case {case.name}: {error}") from error
            yield replace(made, patient=names.setdefault(made.patient, case.name))

    return CaseSource("pairs", len(cases), (), make)


def _read(context: CommandContext, subject: Subject, spec: CorrectorSpec, folder: Path) -> EvaluationCase:
    sets = context.read_roles([folder / "artefact"], spec.name)
    if len(sets) != 1:
        raise InputError(f"artefact holds {len(sets)} input sets of {spec.name}, there must be one")
    truth = {role: _truth(context, spec, role, sets[0][role], folder) for role in subject.scales}
    judged = subject.judge(
        {role: image.volume for role, image in sets[0].items()}, {r: image.volume for r, image in truth.items()}
    )
    return EvaluationCase(folder.name, _patient(truth) or folder.name, None, judged)


def _truth(context: CommandContext, spec: CorrectorSpec, role: str, artefact: ReadImage, folder: Path) -> ReadImage:
    """The one image of the truth on the artefact's grid."""
    images = context.read([folder / "truth"], modality=spec.inputs[role].modality)
    fitting = [image for image in images if same_grid(image.volume.geometry, artefact.volume.geometry)]
    if len(fitting) != 1:
        raise InputError(
            f"truth must hold one series on the grid of the artefact's {role} "
            f"({' x '.join(map(str, artefact.volume.geometry.shape))} voxels), it holds {len(fitting)} of {len(images)}"
        )
    truth = fitting[0].volume  # of spectral bins the truth is their combination: it lies on their grid without an axis
    if truth.axes != "zyx" and truth.shape != artefact.volume.shape:
        raise InputError(f"the truth of {role} has shape {truth.shape}, not {artefact.volume.shape}")
    return fitting[0]


def _patient(truth: Mapping[str, ReadImage]) -> str:
    return next((image.patient for image in truth.values() if image.patient), "")


def same_grid(first: Geometry, second: Geometry) -> bool:
    """Whether voxels of one index lie in the same place, to 0.05 mm at every corner of every slice."""
    if first.shape != second.shape:
        return False
    shift = np.abs(_corners(first) - _corners(second))
    return bool(shift.max() <= LARGEST_SHIFT_MM)


def _corners(geometry: Geometry) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """First and last voxel, and the end of the first row, of each slice [mm, LPS]."""
    origins = np.asarray(geometry.slice_origins_mm, dtype=np.float64)
    row = np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1] * (geometry.columns - 1)
    column = np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0] * (geometry.rows - 1)
    return np.stack([origins, origins + row, origins + row + column])
