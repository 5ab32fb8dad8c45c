"""Methods beside each other on the same cases: figures, differences with confidence, rank tests, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dicom_node.contracts import Advance, BoolArray, FloatArray, LeftOut, Volume
from dicom_node.errors import InputError
from training import against_floor, metrics, statistics
from training.cases import CaseSource, EvaluationCase
from training.contact_sheet import SheetRow
from training.figure_kinds import FIGURES, FigureKind
from training.methods import UNCORRECTED, Bench, Method, Outcome, run
from training.metrics import Figures
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
        figures: by role, method and name of the figure, those that could be measured; most are means over slices.
        floor: by role: `rmse` and `streak` of the noise floor; empty where there is none.
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
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    floor: Mapping[str, Mapping[str, float]]
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

    A figure is there if some case has it for every method, and stands for those cases.
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
        outcomes, twins = {}, {}
        for method in bench.methods:
            corrector = bench.correctors[method.name]
            outcomes[method.name] = run(corrector, method, case.case.artefact, tuple(subject.scales))
            if case.case.twin is not None:
                twins[method.name] = run(corrector, method, case.case.twin.artefact, tuple(subject.scales))
        results.append(_judge(case, outcomes, twins, subject.scales))
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


def _judge(
    case: EvaluationCase,
    outcomes: Mapping[str, Outcome],
    twins: Mapping[str, Outcome],
    scales: Mapping[str, Scale],
) -> CaseResult:
    figures: dict[str, dict[str, dict[str, float]]] = {}
    floors: dict[str, dict[str, float]] = {}
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
        floors[role], beyond = against_floor.floored(case.case, role, scale, judged, images)
        if case.case.twin is not None:
            without = {name: _planes(outcome.volumes[role]) for name, outcome in twins.items()}
            kept = against_floor.lesions(case.case, case.case.twin, role, judged, images, without)
            beyond = {name: {**beyond[name], **kept[name]} for name in beyond}
        figures[role] = {name: {**asdict(metrics.mean_of(own)), **beyond[name]} for name, own in by_slice.items()}
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
        floor=floors,
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


def _cases_with(results: Sequence[CaseResult], role: str, figure: FigureKind) -> list[CaseResult]:
    """Cases in which every method has the figure: others would compare methods on unlike cases."""
    return [one for one in results if all(figure.name in own for own in one.figures[role].values())]


def _measured(results: Sequence[CaseResult], role: str) -> dict[FigureKind, list[CaseResult]]:
    cases = {figure: _cases_with(results, role, figure) for figure in FIGURES}
    return {figure: own for figure, own in cases.items() if own}


def _values(results: Sequence[CaseResult], role: str, method: str, figure: FigureKind) -> list[float]:
    return [result.figures[role][method][figure.name] for result in results]


def _patients(results: Sequence[CaseResult]) -> list[str]:
    return [result.patient for result in results]


def _summaries(results: Sequence[CaseResult], role: str, method: str) -> dict[str, Summary]:
    return {
        figure.name: statistics.summary(_values(cases, role, method, figure), _patients(cases))
        for figure, cases in _measured(results, role).items()
    }


def _differences(
    results: Sequence[CaseResult], role: str, method: str, reference: str, seed: int
) -> dict[str, Difference]:
    return {
        figure.name: statistics.difference(
            _values(cases, role, method, figure), _values(cases, role, reference, figure), _patients(cases), seed=seed
        )
        for figure, cases in _measured(results, role).items()
    }


def _rank_tests(results: Sequence[CaseResult], role: str, methods: Sequence[str]) -> dict[str, RankTests | None]:
    return {
        figure.name: statistics.rank_tests(
            {method: figure.ranked(_values(cases, role, method, figure)) for method in methods},
            _patients(cases),
            higher_is_better=figure.higher_is_better,
        )
        for figure, cases in _measured(results, role).items()
    }
