"""What the methods made of one case, measured against its truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dicom_node.contracts import BoolArray, FloatArray, Volume
from dicom_node.errors import InputError, PluginError
from training import against_floor, metrics
from training.cases import EvaluationCase
from training.contact_sheet import SheetRow
from training.methods import UNCORRECTED, Outcome
from training.metrics import Figures
from training.region_figures import region_figures
from training.subject import Scale


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One case, by every method.

    Attributes:
        name: of the case.
        patient: opaque key.
        seed: of the simulation, None for a given pair.
        description: what was simulated.
        slices: indices that were judged.
        figures: by role, method or reference, and name of the figure, those that could be measured; most are means over
            slices.
        floor: by role: `rmse` and `streak` of the noise floor; empty where there is none.
        judged_share: by role, the share of the voxels of these slices that was judged.
        seconds_per_slice: by method: time of the correction over the number of judged slices.
        devices: by method: `cpu`, `cuda` or empty.
        notes: by method: why it left the case uncorrected.
        pictures: by role: the judged slice with the largest uncorrected error.
        references: names of those that the case has for every judged role.
    """

    name: str
    patient: str
    seed: int | None
    description: str
    slices: tuple[int, ...]
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    floor: Mapping[str, Mapping[str, float]]
    judged_share: Mapping[str, float]
    seconds_per_slice: Mapping[str, float]
    devices: Mapping[str, str]
    notes: Mapping[str, str]
    pictures: Mapping[str, SheetRow]
    references: tuple[str, ...]


def judged(
    case: EvaluationCase,
    outcomes: Mapping[str, Outcome],
    twins: Mapping[str, Outcome],
    scales: Mapping[str, Scale],
) -> CaseResult:
    """Measure what the methods made of a case, and its references.

    Args:
        case: with its truth.
        outcomes: by method, `uncorrected` among them.
        twins: the same of the case without lesions; empty where there is none.
        scales: by judged role.

    Raises:
        InputError: a case cannot be judged.
        PluginError: a reference does not fit.
    """
    figures: dict[str, dict[str, dict[str, float]]] = {}
    floors: dict[str, dict[str, float]] = {}
    shares: dict[str, float] = {}
    pictures: dict[str, SheetRow] = {}
    for role, scale in scales.items():
        truth, measured = case.case.truth[role], ~case.case.excluded[role]
        frames = _frames(truth, case.case.slices)
        here = [(frame, z) for frame, z in frames if measured[z].any()]
        if not here:
            raise InputError(f"case {case.name}: no voxel of {role} is left to judge")
        images = {name: _planes(outcome.volumes[role]) for name, outcome in outcomes.items()}
        images |= _references(case, role, outcomes)
        by_slice = {
            name: [_figures(case, pixels[f], _planes(truth)[f], scale, measured[z]) for f, z in here]
            for name, pixels in images.items()
        }
        floors[role], beyond = against_floor.floored(case.case, role, scale, here, images)
        if case.case.twin is not None:
            without = {name: _planes(outcome.volumes[role]) for name, outcome in twins.items()}
            kept = against_floor.lesions(case.case, case.case.twin, role, here, images, without)
            beyond = {name: {**beyond[name], **kept.get(name, {})} for name in beyond}
        regions = {name: _regions(case, role, scale, here, pixels) for name, pixels in images.items()}
        beyond = {name: {**beyond[name], **regions[name]} for name in beyond}
        figures[role] = {name: {**asdict(metrics.mean_of(own)), **beyond[name]} for name, own in by_slice.items()}
        shares[role] = float(np.mean([measured[z].mean() for _, z in here]))
        worst, z = here[int(np.argmax([one.rmse for one in by_slice[UNCORRECTED]]))]
        pictures[role] = SheetRow(
            label=f"{case.name}, slice {z + 1} of {measured.shape[0]}: {case.case.description}",
            artefact=images[UNCORRECTED][worst].copy(),
            images={name: pixels[worst].copy() for name, pixels in images.items() if name != UNCORRECTED},
            truth=_planes(truth)[worst].copy(),
            excluded=~measured[z],
        )
    return CaseResult(
        name=case.name,
        patient=case.patient,
        seed=case.seed,
        description=case.case.description,
        slices=case.case.slices,
        figures=figures,
        floor=floors,
        judged_share=shares,
        seconds_per_slice={name: one.seconds / len(case.case.slices) for name, one in outcomes.items()},
        devices={name: one.device for name, one in outcomes.items()},
        notes={name: one.note for name, one in outcomes.items() if one.note},
        pictures=pictures,
        references=tuple(name for name, own in case.case.references.items() if own.keys() >= scales.keys()),
    )


def _references(case: EvaluationCase, role: str, methods: Iterable[str]) -> dict[str, FloatArray]:
    """Planes of the references of a role."""
    found = {name: own[role] for name, own in case.case.references.items() if role in own}
    for name, volume in found.items():
        if name in methods:
            raise PluginError(f"case {case.name}: a reference is called {name!r}, as a method is")
        if volume.shape != (expected := case.case.truth[role].shape):
            raise PluginError(f"case {case.name}: {name} of {role} has shape {volume.shape}, its truth {expected}")
    return {name: _planes(volume) for name, volume in found.items()}


def _figures(case: EvaluationCase, image: FloatArray, truth: FloatArray, scale: Scale, measured: BoolArray) -> Figures:
    try:
        return metrics.figures(image, truth, window=scale.judged, measured=measured)
    except ValueError as error:
        raise InputError(f"case {case.name}: {error}") from error


def _regions(
    case: EvaluationCase, role: str, scale: Scale, here: Sequence[tuple[int, int]], pixels: FloatArray
) -> dict[str, float]:
    planes, places = [frame for frame, _ in here], [z for _, z in here]
    own = {name: by_role[role][places] for name, by_role in case.case.regions.items() if role in by_role}
    try:
        return region_figures(
            pixels[planes],
            _planes(case.case.truth[role])[planes],
            window=scale.judged,
            measured=~case.case.excluded[role][places],
            regions=own,
        )
    except ValueError as error:
        raise InputError(f"case {case.name}: {error}") from error


def _frames(volume: Volume, slices: Sequence[int]) -> list[tuple[int, int]]:
    """Frame of each judged slice, at every time point or bin: (index into `_planes`, z)."""
    depth = volume.shape[-3]
    leading = int(np.prod(volume.shape[:-3], dtype=int))
    return [(before * depth + z, z) for before in range(leading) for z in slices]


def _planes(volume: Volume) -> FloatArray:
    return volume.pixels.reshape(-1, *volume.shape[-2:])
