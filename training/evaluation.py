"""Methods beside each other on the same cases: means, differences with confidence, rank tests, ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dicom_node.contracts import Advance, LeftOut, Volume
from dicom_node.errors import InputError
from training import statistics
from training.against_baseline import Ratios, ratios
from training.case_result import CaseResult, judged
from training.cases import CaseSource, EvaluationCase
from training.figure_kinds import FIGURES, FigureKind, Group
from training.methods import Bench, Method, Outcome, run
from training.statistics import Difference, RankTests, Summary
from training.subject import Subject


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured.

    Attributes:
        methods: in order; the first is what the others are compared with.
        references: names of images that no method could make and that every case has; further rows after the methods.
        cases: in order.
        left_out: series that could not serve, and methods without weights.
        summaries: by role, row (method or reference) and figure.
        differences: by role, row (all but the first) and figure: row minus first method.
        rank_tests: of the methods, by role and figure; None where they have no meaning.
        baseline: method that `ratios` compare with; None where it is not among the methods.
        ratios: by role and row (all but the baseline); empty where no case has figures by region.

    A figure is there if some case has it for every method, and stands for those cases; of a reference, if it has it in
    all of these.
    """

    methods: tuple[Method, ...]
    references: tuple[str, ...]
    cases: tuple[CaseResult, ...]
    left_out: tuple[LeftOut, ...]
    summaries: Mapping[str, Mapping[str, Mapping[str, Summary]]]
    differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    rank_tests: Mapping[str, Mapping[str, RankTests | None]]
    baseline: str | None
    ratios: Mapping[str, Mapping[str, Ratios]]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the methods, and after them of the references."""
        return (*(method.name for method in self.methods), *self.references)


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
        PluginError: a method, or the training side, made something that does not fit.
    """
    names = tuple(method.name for method in bench.methods)
    results: list[CaseResult] = []
    advance("evaluating", 0, source.count)
    for case in source.cases():
        outcomes = _outcomes(subject, bench, case, case.case.artefact)
        twins = {} if case.case.twin is None else _outcomes(subject, bench, case, case.case.twin.artefact)
        results.append(judged(case, outcomes, twins, subject.scales))
        advance("evaluating", len(results), source.count)
    if not results:
        raise InputError("there is no case to evaluate")
    references = tuple(name for name in results[0].references if all(name in one.references for one in results))
    rows, roles = (*names, *references), tuple(subject.scales)
    results = [_with_rows(one, rows) for one in results]
    found = {role: _measured(results, role, names) for role in roles}
    baseline = subject.baseline if subject.baseline in names else None
    return Evaluation(
        methods=bench.methods,
        references=references,
        cases=tuple(results),
        left_out=(*source.left_out, *bench.left_out),
        summaries={role: {name: _summaries(found[role], role, name) for name in rows} for role in roles},
        differences={
            role: {name: _differences(found[role], role, name, names[0], seed) for name in rows[1:]} for role in roles
        },
        rank_tests={role: _rank_tests(found[role], role, names) for role in roles},
        baseline=baseline,
        ratios={} if baseline is None else {role: _ratios(found[role], role, rows, baseline) for role in roles},
    )


def _outcomes(
    subject: Subject, bench: Bench, case: EvaluationCase, artefact: Mapping[str, Volume]
) -> dict[str, Outcome]:
    """What every method makes of an input set."""
    given = subject.shown(artefact)
    shown = {role: given[role] for role in subject.scales}
    for role, volume in shown.items():
        if volume.shape != (expected := case.case.truth[role].shape):
            raise InputError(f"case {case.name}: {role} shows {volume.shape}, its truth has shape {expected}")
    return {method.name: run(bench.correctors[method.name], method, artefact, shown) for method in bench.methods}


def _with_rows(result: CaseResult, rows: Sequence[str]) -> CaseResult:
    """The same without references that other cases lack."""
    return replace(
        result,
        figures={role: {name: own[name] for name in rows} for role, own in result.figures.items()},
        pictures={
            role: replace(one, images={name: image for name, image in one.images.items() if name in rows})
            for role, one in result.pictures.items()
        },
    )


Measured = Mapping[FigureKind, Sequence[CaseResult]]
"""Figures that were measured, and the cases in which every method has them: others would compare unlike cases."""


def _measured(results: Sequence[CaseResult], role: str, methods: Sequence[str]) -> Measured:
    found = {
        figure: [one for one in results if all(figure.name in one.figures[role][name] for name in methods)]
        for figure in FIGURES
    }
    return {figure: own for figure, own in found.items() if own}


def _values(found: Measured, role: str, row: str) -> dict[FigureKind, list[float]]:
    """Figures that a row has in all of these cases: a reference may lack some."""
    own = {
        figure: [case.figures[role][row][figure.name] for case in cases if figure.name in case.figures[role][row]]
        for figure, cases in found.items()
    }
    return {figure: values for figure, values in own.items() if len(values) == len(found[figure])}


def _patients(results: Sequence[CaseResult]) -> list[str]:
    return [result.patient for result in results]


def _summaries(found: Measured, role: str, row: str) -> dict[str, Summary]:
    return {
        figure.name: statistics.summary(values, _patients(found[figure]))
        for figure, values in _values(found, role, row).items()
    }


def _differences(found: Measured, role: str, row: str, first: str, seed: int) -> dict[str, Difference]:
    theirs = _values(found, role, first)
    return {
        figure.name: statistics.difference(values, theirs[figure], _patients(found[figure]), seed=seed)
        for figure, values in _values(found, role, row).items()
    }


def _rank_tests(found: Measured, role: str, methods: Sequence[str]) -> dict[str, RankTests | None]:
    values = {method: _values(found, role, method) for method in methods}
    return {
        figure.name: statistics.rank_tests(
            {method: figure.ranked(own[figure]) for method, own in values.items()},
            _patients(cases),
            higher_is_better=figure.higher_is_better,
        )
        for figure, cases in found.items()
    }


def _ratios(found: Measured, role: str, rows: Sequence[str], baseline: str) -> dict[str, Ratios]:
    regional = {figure: cases for figure, cases in found.items() if figure.group is Group.REGIONS}
    if not regional:
        return {}
    values = {row: {figure.name: own for figure, own in _values(regional, role, row).items()} for row in rows}
    return {row: ratios(values[row], values[baseline]) for row in rows if row != baseline}
