"""Patients as a task keeps them: small arrays on the task's own grid, without identity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["real", "procedural"]
Part = Literal["training", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One prepared series.

    Attributes:
        patient: key that is equal for series of one patient; no patient data.
        series: label of the series in tables; no patient data.
        kind: whether somebody was measured.
        arrays: what the task keeps of it, by name. The first axis of `frames`, and of every array whose name begins so,
            counts what can be drawn.
        weight: how often it is drawn, relative to others of its kind with as many frames.
        part: where the patient goes in a split; None leaves it to chance.
        attribution: whom the licence of the images asks to be named.
    """

    patient: str
    series: str
    kind: Kind
    arrays: Mapping[str, NDArray[Any]]
    weight: float = 1.0
    part: Part | None = None
    attribution: str = ""

    @property
    def frames(self) -> int:
        """How many slices or images can be drawn."""
        return int(self.arrays["frames"].shape[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the arrays."""
        found = hashlib.sha256()
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            found.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            found.update(array.tobytes())
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Anatomies for training, for choosing a checkpoint, and for reported figures. No patient is in two parts."""

    training: tuple[Anatomy, ...]
    validation: tuple[Anatomy, ...]
    test: tuple[Anatomy, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over everything trained on, and which part it was in."""
        parts = [(name, a.patient, a.digest) for name, part in self.parts.items() for a in part]
        return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()

    @property
    def parts(self) -> Mapping[str, tuple[Anatomy, ...]]:
        """The parts by name."""
        return {"training": self.training, "validation": self.validation, "test": self.test}


def split_by_patient(anatomies: Sequence[Anatomy], *, validation_share: float, test_share: float, seed: int) -> Split:
    """Split by patient, real and procedural ones apart, so that each part has its share of both.

    Args:
        anatomies: what there is.
        validation_share: share of the patients of each kind for validation.
        test_share: share for testing.
        seed: which patients go where; the same patients and seed give the same split, in whatever order they come.

    Returns:
        The split. Patients with a `part` go there. Of the others, from three of a kind on, validation and test get at
        least one each unless their share is 0; one or two patients all go to training.
    """
    places: dict[str, list[Anatomy]] = {"training": [], "validation": [], "test": []}
    for kind in ("real", "procedural"):
        of_kind = [a for a in anatomies if a.kind == kind]
        given = {a.patient: a.part for a in of_kind if a.part is not None}
        for anatomy in sorted((a for a in of_kind if a.patient in given), key=lambda a: a.series):
            places[str(given[anatomy.patient])].append(anatomy)
        patients = sorted({a.patient for a in of_kind} - set(given), key=lambda p: _order(p, seed))
        n_test = _count(len(patients), test_share)
        n_validation = _count(len(patients), validation_share)
        for number, patient in enumerate(patients):
            part = "test" if number < n_test else "validation" if number < n_test + n_validation else "training"
            places[part].extend(sorted((a for a in of_kind if a.patient == patient), key=lambda a: a.series))
    return Split(tuple(places["training"]), tuple(places["validation"]), tuple(places["test"]))


def _count(patients: int, share: float) -> int:
    if patients < 3 or share <= 0:
        return 0
    return max(1, round(patients * share))


def _order(patient: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()
