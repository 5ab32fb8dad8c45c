"""Methods beside each other on the same cases: figures, differences with confidence, rank tests, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import Advance, BoolArray, FloatArray, LeftOut, Volume
from dicom_node.errors import InputError
from training import metrics, statistics
from training.cases import CaseSource, EvaluationCase
from training.contact_sheet import SheetRow
from training.methods import UNCORRECTED, Bench, Method, Outcome, run
from training.metrics import HIGHER_IS_BETTER, Figures
from training.statistics import Difference, RankTests, Summary
from training.subject import Scale, Subject


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One case, by every method.

    Attributes:
        name: of the case.
        patient: opaque key.
        seed: of the simulation, None for a given pair.
        description: what was simulated.
        slices: indices that were judged.
        figures: by role and method: the mean over the judged slices.
        judged_share: by role, the share of the voxels of these slices that was judged.
        seconds_per_slice: by method: time of the correction over the number of judged slices.
        devices: by method: `cpu`, `cuda` or empty.
        notes: by method: why it left the case uncorrected.
        pictures: by role: the judged slice with the largest uncorrected error.
    """

    name: str
    patient: str
    seed: int | None
    description: str
    slices: tuple[int, ...]
    figures: Mapping[str, Mapping[str, Figures]]
    judged_share: Mapping[str, float]
    seconds_per_slice: Mapping[str, float]
    devices: Mapping[str, str]
    notes: Mapping[str, str]
    pictures: Mapping[str, SheetRow]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured.

    Attributes:
        methods: in order; the first is the reference.
        cases: in order.
        left_out: series that could not serve, and methods without weights.
        summaries: by role, method and figure.
        differences: by role, method (all but the reference) and figure: method minus reference.
        rank_tests: by role and figure; None where they have no meaning.
    """

    methods: tuple[Method, ...]
    cases: tuple[CaseResult, ...]
    left_out: tuple[LeftOut, ...]
    summaries: Mapping[str, Mapping[str, Mapping[str, Summary]]]
    differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    rank_tests: Mapping[str, Mapping[str, RankTests | None]]


def evaluate(
    subject: Subject,
    source: CaseSource,
    bench: Bench,
    *,
    seed: int,
    advance: Advance,
) -> Evaluation:
    """Run every method on every case.

    Args:
        subject: scales and judged roles.
        source: of the cases.
        bench: methods, the reference first, `uncorrected` among them.
        seed: of the bootstrap.
        advance: told of the progress.

    Raises:
        InputError: a case cannot be judged.
        PluginError: a method made something that does not fit.
    """
    results: list[CaseResult] = []
    advance("evaluating", 0, source.count)
    for case in source.cases():
        outcomes = {}
        for method in bench.methods:
            corrector = bench.correctors[method.name]
            outcomes[method.name] = run(corrector, method, case.case.artefact, tuple(subject.scales))
        results.append(_judge(case, outcomes, subject.scales))
        advance("evaluating", len(results), source.count)
    if not results:
        raise InputError("there is no case to evaluate")
    roles = tuple(subject.scales)
    names = tuple(method.name for method in bench.methods)
    return Evaluation(
        methods=bench.methods,
        cases=tuple(results),
        left_out=(*source.left_out, *bench.left_out),
        summaries={role: {name: _summaries(results, role, name) for name in names} for role in roles},
        differences={
            role: {name: _differences(results, role, name, names[0], seed) for name in names[1:]} for role in roles
        },
        rank_tests={role: _rank_tests(results, role, names) for role in roles},
    )


def _judge(case: EvaluationCase, outcomes: Mapping[str, Outcome], scales: Mapping[str, Scale]) -> CaseResult:
    figures: dict[str, dict[str, Figures]] = {}
    shares: dict[str, float] = {}
    pictures: dict[str, SheetRow] = {}
    for role, scale in scales.items():
        truth, measured = case.case.truth[role], ~case.case.excluded[role]
        frames = _frames(truth, case.case.slices)
        judged = [(frame, z) for frame, z in frames if measured[z].any()]
        if not judged:
            raise InputError(f"case {case.name}: no voxel of {role} is left to judge")
        images = {name: _planes(outcome.volumes[role]) for name, outcome in outcomes.items()}
        by_slice = {
            name: [_figures(case, pixels[f], _planes(truth)[f], scale, measured[z]) for f, z in judged]
            for name, pixels in images.items()
        }
        figures[role] = {name: metrics.mean_of(several) for name, several in by_slice.items()}
        shares[role] = float(np.mean([measured[z].mean() for _, z in judged]))
        worst, z = judged[int(np.argmax([one.rmse for one in by_slice[UNCORRECTED]]))]
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
        judged_share=shares,
        seconds_per_slice={name: one.seconds / len(case.case.slices) for name, one in outcomes.items()},
        devices={name: one.device for name, one in outcomes.items()},
        notes={name: one.note for name, one in outcomes.items() if one.note},
        pictures=pictures,
    )


def _figures(case: EvaluationCase, image: FloatArray, truth: FloatArray, scale: Scale, measured: BoolArray) -> Figures:
    try:
        return metrics.figures(image, truth, window=scale.judged, measured=measured)
    except ValueError as error:
        raise InputError(f"case {case.name}: {error}") from error


def _frames(volume: Volume, slices: Sequence[int]) -> list[tuple[int, int]]:
    """Frame of each judged slice, at every time point or bin: (index into `_planes`, z)."""
    depth = volume.shape[-3]
    leading = int(np.prod(volume.shape[:-3], dtype=int))
    return [(before * depth + z, z) for before in range(leading) for z in slices]


def _planes(volume: Volume) -> FloatArray:
    return volume.pixels.reshape(-1, *volume.shape[-2:])


def _values(results: Sequence[CaseResult], role: str, method: str, figure: str) -> list[float]:
    return [float(getattr(result.figures[role][method], figure)) for result in results]


def _patients(results: Sequence[CaseResult]) -> list[str]:
    return [result.patient for result in results]


def _summaries(results: Sequence[CaseResult], role: str, method: str) -> dict[str, Summary]:
    patients = _patients(results)
    return {name: statistics.summary(_values(results, role, method, name), patients) for name in HIGHER_IS_BETTER}


def _differences(
    results: Sequence[CaseResult], role: str, method: str, reference: str, seed: int
) -> dict[str, Difference]:
    patients = _patients(results)
    return {
        name: statistics.difference(
            _values(results, role, method, name), _values(results, role, reference, name), patients, seed=seed
        )
        for name in HIGHER_IS_BETTER
    }


def _rank_tests(results: Sequence[CaseResult], role: str, methods: Sequence[str]) -> dict[str, RankTests | None]:
    patients = _patients(results)
    return {
        name: statistics.rank_tests(
            {method: _values(results, role, method, name) for method in methods}, patients, higher_is_better=higher
        )
        for name, higher in HIGHER_IS_BETTER.items()
    }
