"""The cases that methods are compared on: artefacts simulated into real or procedural patients, or given pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.contracts import CommandContext, CorrectorSpec, FoundImage, LeftOut, ReadImage, Volume
from dicom_node.errors import InputError, UnusableSeries
from training.data_sheet import data_folders
from training.subject import SimulatedCase, Subject

MOST_REASONS = 10
_ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """One case, and whose it is.

    Attributes:
        name: for tables; holds no patient data.
        patient: opaque key, equal for cases of one patient.
        seed: of the simulation, None for a given pair.
        case: artefact, truth and what is judged.
    """

    name: str
    patient: str
    seed: int | None
    case: SimulatedCase


@dataclass(frozen=True, eq=False)
class CaseSource:
    """Cases that are made or read one after the other, for one fills hundreds of megabytes.

    Attributes:
        kind: `data`, `procedural` or `pairs`.
        count: number of cases.
        left_out: series that cannot serve, with the reason.
        cases: makes them, in the same way each time.
    """

    kind: str
    count: int
    left_out: tuple[LeftOut, ...]
    cases: Callable[[], Iterator[EvaluationCase]]


@dataclass(frozen=True, eq=False)
class Patients:
    """Series that were found, each with the key of its patient, and what was left out.

    Attributes:
        images: (patient key, image), in the order they were found.
        left_out: with the reasons.
    """

    images: tuple[tuple[str, FoundImage], ...]
    left_out: tuple[LeftOut, ...]


def patients_of(context: CommandContext, inputs: Sequence[Path], *, modality: str | None = None) -> Patients:
    """Whose the images of some folders are.

    Args:
        context: the node's reader.
        inputs: files, folders and ZIPs, or data sheets that say more about them.
        modality: only these; CT and MR when None.

    Returns:
        The images, each once. A patient is called by the label of his first series: what is made from a Patient ID
        could be guessed back.

    Raises:
        RequestError: an input does not exist, or a sheet is wrong.
    """
    names: dict[str, str] = {}
    images: dict[str, tuple[str, FoundImage]] = {}
    left_out: list[LeftOut] = []
    for folder in data_folders(inputs):
        found = context.find([folder.path], modality=modality)
        left_out.extend(found.left_out)
        for image in found.images:
            own = image.label if folder.patient_is == "series" else image.patient or image.label
            images.setdefault(image.label, (names.setdefault(own, image.label), image))
    return Patients(tuple(images.values()), tuple(left_out))


def procedural_cases(subject: Subject, *, count: int, scenario: str, seed: int) -> CaseSource:
    """Each case a patient of its own, made by the package."""

    def make() -> Iterator[EvaluationCase]:
        for number in range(count):
            own = case_seed(seed, number)
            case = subject.simulate(subject.procedural(own), scenario=scenario, seed=own)
            yield EvaluationCase(f"procedural-{own}", f"procedural-{own}", own, case)

    return CaseSource("procedural", count, (), make)


def real_cases(
    context: CommandContext,
    subject: Subject,
    spec: CorrectorSpec,
    patients: Patients,
    *,
    count: int,
    scenario: str,
    seed: int,
) -> CaseSource:
    """Cases from real patients: each has one before any has a second.

    Args:
        context: the node's reader.
        subject: cleans and simulates.
        spec: of the corrector; says which tags it wants.
        patients: which images there are.
        count: number of cases.
        scenario: how to simulate.
        seed: of the choice and of the artefacts.

    Returns:
        The cases; those of one patient follow one another.

    Raises:
        InputError: no image can serve; the message says why.
    """
    usable, left_out = _usable(context, subject, spec, patients, count, seed)
    if not usable:
        raise InputError(f"no series can serve as a clean case{told(left_out)}")

    def make() -> Iterator[EvaluationCase]:
        for place, (patient, image) in enumerate(usable):
            _, clean = clean_image(context, subject, spec, image)
            for number in range(place, count, len(usable)):
                own, case = _simulated(subject, clean, scenario, seed, number, count)
                yield EvaluationCase(f"{image.label}-{number + 1}", patient, own, case)

    return CaseSource("data", count, left_out, make)


def _usable(
    context: CommandContext, subject: Subject, spec: CorrectorSpec, patients: Patients, count: int, seed: int
) -> tuple[list[tuple[str, FoundImage]], tuple[LeftOut, ...]]:
    """An image of each patient that can serve, at most `count`, and why others cannot."""
    rng = np.random.default_rng(seed)
    images: dict[str, list[FoundImage]] = {}
    for patient, image in patients.images:
        images.setdefault(patient, []).append(image)
    names = sorted(images)
    usable: list[tuple[str, FoundImage]] = []
    left_out = list(patients.left_out)
    for patient in (names[i] for i in rng.permutation(len(names))):
        own = images[patient]
        for image in (own[i] for i in rng.permutation(len(own))):
            try:
                clean_image(context, subject, spec, image)
            except InputError as error:
                left_out.append(LeftOut(image.label, str(error)))
            else:
                usable.append((patient, image))
                break
        if len(usable) == count:
            break
    return usable, tuple(left_out)


def _simulated(
    subject: Subject, clean: Mapping[str, Volume], scenario: str, seed: int, number: int, count: int
) -> tuple[int, SimulatedCase]:
    """Case `number` with its seed; where chance put no artefact into the images, the next of its own seeds.

    Raises:
        UnusableSeries: none of them did.
    """
    for attempt in range(_ATTEMPTS):
        own = case_seed(seed, number + attempt * count)
        try:
            return own, subject.simulate(clean, scenario=scenario, seed=own)
        except UnusableSeries:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError  # not reached: the last attempt returns or raises


def case_seed(seed: int, number: int) -> int:
    """Seed of one case: neighbouring seeds of the command share no case."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def told(left_out: Sequence[LeftOut]) -> str:
    """Reasons, one a line, for the end of a message."""
    lines = [f"\n  {one.what}: {one.reason}" for one in left_out[:MOST_REASONS]]
    if len(left_out) > MOST_REASONS:
        lines.append(f"\n  and {len(left_out) - MOST_REASONS} more")
    return "".join(lines)


def modality_of(spec: CorrectorSpec) -> str | None:
    """The one modality that a corrector takes, None where it takes several."""
    taken = {accepts.modality for accepts in spec.inputs.values()}
    return taken.pop() if len(taken) == 1 else None


def clean_image(
    context: CommandContext, subject: Subject, spec: CorrectorSpec, image: FoundImage
) -> tuple[ReadImage, Mapping[str, Volume]]:
    """Read an image, with the tags that the corrector asks for, as clean input of the simulation.

    Raises:
        InputError: it cannot be read, or cannot serve.
    """
    wanted = {tag for accepts in spec.inputs.values() for tag in (*accepts.needs, *accepts.wants)}
    read = context.load(image, tags=sorted(wanted), modality=modality_of(spec))
    return read, subject.clean(read.volume)
