"""From folders of images to prepared patients, and from weights to examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import CommandContext, LeftOut
from dicom_node.errors import InputError
from training.anatomy import Anatomy
from training.data_sheet import DataFolder
from training.recipe import DataSection
from training.task import Draw, Task

Advance = Callable[[str, int, int], None]
_EXAMPLES, _TRIALS = 0, 1
"""First word of the seed: examples of training and fixed cases never share randomness."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Real patients that serve, and what was left out with the reason."""

    anatomies: tuple[Anatomy, ...]
    left_out: tuple[LeftOut, ...]


def gather(context: CommandContext, folders: Sequence[DataFolder], task: Task, advance: Advance) -> Gathered:
    """Read and prepare every usable series.

    Args:
        context: the node's reader.
        folders: where images lie.
        task: what is done with them.
        advance: told what is going on.

    Returns:
        Prepared series, each once.

    Raises:
        InputError: folders were given, but hold no usable series; the message says why for each.
    """
    anatomies: dict[str, Anatomy] = {}
    names: dict[str, str] = {}
    left_out: list[LeftOut] = []
    for folder in folders:
        found = context.find([folder.path], modality=task.modality)
        left_out.extend(found.left_out)
        for number, image in enumerate(found.images):
            advance(f"preparing {folder.path.name}", number, len(found.images))
            try:
                read = context.load(image, tags=task.tags, modality=task.modality)
                arrays = task.prepare(read.volume)
            except InputError as error:
                left_out.append(LeftOut(f"series {image.label}", str(error)))
                continue
            # A patient is called by the first of their series: what is made from a Patient ID could be guessed back.
            own = image.label if folder.patient_is == "series" else image.patient
            patient = names.setdefault(own, image.label)
            anatomy = Anatomy(patient, image.label, "real", arrays, folder.weight, folder.part, folder.attribution)
            anatomies.setdefault(anatomy.digest, anatomy)
    if folders and not anatomies:
        reasons = "".join(f"\n  {one.what}: {one.reason}" for one in left_out[:20])
        places = ", ".join(str(folder.path) for folder in folders)
        raise InputError(f"no series in {places} can be used for training{reasons or ': there is none'}")
    return Gathered(tuple(anatomies.values()), tuple(left_out))


def procedural_patients(task: Task, count: int, seed: int, advance: Advance) -> tuple[Anatomy, ...]:
    """Patients made by the package; `seed` tells which."""
    made = []
    for number in range(count):
        advance("making procedural patients", number, count)
        name = f"procedural-{seed}-{number}"
        made.append(Anatomy(name, name, "procedural", task.procedural(seed * 10_000 + number)))
    return tuple(made)


class Examples:
    """Which patient each example comes from: example number n is the same on every machine and in every process."""

    def __init__(self, anatomies: Sequence[Anatomy], data: DataSection, seed: int) -> None:
        """Weigh patients.

        Args:
            anatomies: to draw from; at least one.
            data: weights of real and procedural patients.
            seed: of everything drawn.
        """
        self._anatomies = tuple(anatomies)
        self._seed = seed
        by_kind = {"real": data.real_weight, "procedural": data.procedural_weight}
        weights = np.zeros(len(self._anatomies))
        for kind, share in by_kind.items():
            # A patient with forty slices tells more than one with two, but not twenty times as much.
            own = np.array([a.weight * np.sqrt(a.frames) if a.kind == kind else 0.0 for a in self._anatomies])
            if own.sum() > 0:
                weights += share * own / own.sum()
        if weights.sum() <= 0:
            raise InputError("the recipe's weights leave no patient to draw from: name images with --data")
        self._edges = np.cumsum(weights / weights.sum())

    def draws(self, first: int, count: int) -> list[Draw]:
        """Examples number `first` to `first + count`."""
        return [self._draw(number) for number in range(first, first + count)]

    def _draw(self, number: int) -> Draw:
        rng = np.random.default_rng([_EXAMPLES, self._seed, number])
        at = int(np.searchsorted(self._edges, rng.random(), side="right"))
        return Draw(self._anatomies[min(at, len(self._anatomies) - 1)], rng, number)


def fixed_cases(anatomies: Sequence[Anatomy], count: int, seed: int) -> list[Draw]:
    """Cases that are the same at each call: patients in turn, real ones first. A trial uses their randomness up."""
    ordered = sorted(anatomies, key=lambda a: (a.kind != "real", a.series))
    real = [a for a in ordered if a.kind == "real"] or ordered
    return [Draw(real[n % len(real)], np.random.default_rng([_TRIALS, seed, n]), n) for n in range(count)]
