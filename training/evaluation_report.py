"""An evaluation as a JSON document and as Markdown, with all that is needed to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from dicom_node.contracts import CorrectorSpec
from training.case_result import CaseResult
from training.evaluation import Evaluation
from training.excess import FAR_MM, NEAR_MM, TAIL
from training.figure_kinds import FIGURES, FigureKind, Group
from training.metrics import MOST_DB
from training.statistics import DRAWS, LEVEL, Difference, RankTests, Summary
from training.subject import Scale

RATIO_HEADINGS = ("method", "NRMSE near, ratio ↓", "cases lower near ↑", "NRMSE far, ratio ↓", "SSIM gap closed near ↑")
_COUNTED = "A figure counts the cases in which every method has it."
LIBRARIES = ("torch", "numpy", "scipy", "scikit-image")
SIGNIFICANT = 0.05
KINDS = {
    "data": "real images, artefacts simulated",
    "procedural": "procedural phantoms, artefacts simulated",
    "pairs": "given pairs",
}


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked for.

    Attributes:
        command: the command line that makes the evaluation again.
        kind: `data`, `procedural` or `pairs`.
        scenario: name, empty for pairs.
        scenario_text: what it simulates.
        seed: of everything random.
        device: as asked for.
    """

    command: str
    kind: str
    scenario: str
    scenario_text: str
    seed: int
    device: str


def document(
    evaluation: Evaluation,
    request: Request,
    spec: CorrectorSpec,
    scales: Mapping[str, Scale],
    pictures: Sequence[str],
) -> dict[str, object]:
    """The JSON document of an evaluation.

    Args:
        evaluation: what was measured.
        request: what was asked for.
        spec: of the corrector.
        scales: by judged role.
        pictures: names of the contact sheets, beside the document.
    """
    return {
        "corrector": spec.name,
        "corrector_version": spec.version,
        "reproduce": {
            **asdict(request),
            "package_version": version("dicom-correction-node"),
            "libraries": {name: version(name) for name in LIBRARIES},
        },
        "measured": {role: _measured(scale) for role, scale in scales.items()},
        "statistics": {"bootstrap_draws": DRAWS, "confidence": LEVEL, "unit": "patient"},
        "reference": evaluation.methods[0].name,
        "methods": [
            {
                "name": method.name,
                "weights": None if method.weights is None else str(method.weights),
                "weights_sha256": method.weights_sha256 or None,
                "seconds_per_slice": _seconds(evaluation.cases, method.name),
                "device": next((c.devices[method.name] for c in evaluation.cases if c.devices[method.name]), None),
                "uncorrected_cases": sum(method.name in case.notes for case in evaluation.cases),
            }
            for method in evaluation.methods
        ],
        "references": list(evaluation.references),
        "summary": {
            role: {name: {figure: asdict(one) for figure, one in own.items()} for name, own in methods.items()}
            for role, methods in evaluation.summaries.items()
        },
        "differences": {
            role: {name: {figure: asdict(one) for figure, one in own.items()} for name, own in methods.items()}
            for role, methods in evaluation.differences.items()
        },
        "rank_tests": {
            role: {figure: None if tests is None else _ranks(tests) for figure, tests in own.items()}
            for role, own in evaluation.rank_tests.items()
        },
        "baseline": evaluation.baseline,
        "ratios": {
            role: {name: asdict(one) for name, one in own.items()} for role, own in evaluation.ratios.items() if own
        },
        "cases": [_case(case) for case in evaluation.cases],
        "left_out": [asdict(one) for one in evaluation.left_out],
        "pictures": list(pictures),
    }


def markdown(
    evaluation: Evaluation,
    request: Request,
    spec: CorrectorSpec,
    scales: Mapping[str, Scale],
    pictures: Sequence[str],
) -> str:
    """The same for people; see `document`."""
    patients = len({case.patient for case in evaluation.cases})
    parts = [
        f"# Evaluation of {spec.name} {spec.version}",
        f"{len(evaluation.cases)} cases of {patients} patients ({KINDS[request.kind]})"
        + (f"; scenario `{request.scenario}`: {request.scenario_text}." if request.scenario else "."),
        f"Make it again: `{request.command}` (dicom-correction-node {version('dicom-correction-node')}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + ").",
        _table(["method", "s per slice", "device", "cases left uncorrected", "weights SHA-256"], _methods(evaluation)),
    ]
    if evaluation.references:
        parts.append(f"No methods, but what none could make, for comparison: {', '.join(evaluation.references)}.")
    for role, scale in scales.items():
        parts += [f"## Role `{role}`", _how(scale)]
        groups = figure_groups(evaluation, role)
        for figures in groups:
            if how := _how_group(evaluation, role, scale, figures[0].group):
                parts.append(how)
            parts.append(_table(headings("method", scale, figures), summary_rows(evaluation, role, figures)))
        if rows := ratio_rows(evaluation, role):
            parts += [_how_ratios(evaluation.baseline), _table(RATIO_HEADINGS, rows)]
        reference = evaluation.methods[0].name
        parts.append(
            f"Difference to `{reference}` with its {LEVEL:.0%} confidence interval "
            f"(percentile bootstrap over patients, {DRAWS} draws, seed {request.seed}):"
        )
        parts += [
            _table(headings("method", scale, figures), _difference_rows(evaluation, role, figures))
            for figures in groups
        ]
        parts.append(_rank_text(evaluation.rank_tests[role]))
        parts += [
            _table(headings("case", scale, figures, "patient", "method"), _case_rows(evaluation, role, figures))
            for figures in groups
        ]
    notes = [[c.name, name, note] for c in evaluation.cases for name, note in c.notes.items()]
    if notes:
        parts += ["## Left uncorrected", _table(["case", "method", "reason"], notes)]
    if evaluation.left_out:
        parts += ["## Left out", _table(["what", "reason"], [[one.what, one.reason] for one in evaluation.left_out])]
    if pictures:
        parts += ["## Pictures", "\n".join(f"![{name}]({name})" for name in pictures)]
    return "\n\n".join(parts) + "\n"


def _measured(scale: Scale) -> dict[str, object]:
    low, high = scale.judged
    return {
        "units": scale.units.value,
        "window": [low, high],
        "data_range": high - low,
        "rmse": "not clipped; excluded voxels left out of the mean",
        "psnr_db": f"clipped to the window; excluded voxels left out of the mean; at most {MOST_DB:g} dB",
        "ssim": "clipped to the window; excluded voxels replaced by the truth and left out of the mean",
        "vif": "clipped to the window, mapped to 0..255; excluded voxels replaced by the truth",
        "vif_z": "z-scored images, as the multi-task MR paper; excluded voxels replaced by the truth",
        "excess": "clipped to the window; sqrt(max(0, MSE - MSE of the noise floor)), each the mean over the slices",
        "streak": f"clipped to the window; mean of the largest {TAIL:.0%} of the error minus mean of the smallest, "
        "in the patient",
        "noise_ratio": "noise of the floor's rays beside metal that is left (regression in a high band), over the "
        f"input's; soft tissue from {FAR_MM:g} mm off metal",
        "bone_edges": f"slope along the truth's at edges of bone up to {NEAR_MM:g} mm from metal, over the floor's",
        "lesion_contrast": "contrast left over true contrast minus 1, mean over the lesions of a case",
        "lesion_worst": "its largest magnitude in a case",
        "nrmse": "RMSE over the root mean square of the truth, in the region's judged voxels of all judged slices; "
        "not clipped",
        "region_ssim": "mean of the SSIM map over the same voxels",
        "case": "mean over its judged slices",
        "mean": "over patients, each the mean of his cases",
        "sd": "over cases",
    }


def _how(scale: Scale) -> str:
    low, high = scale.judged
    units = scale.units.value
    return (
        "Judged are the slices with an artefact, outside the excluded voxels (orange in the pictures). "
        f"PSNR and SSIM: clipped to {low:g}..{high:g} {units}, data range {high - low:g}. "
        f"RMSE: not clipped, in {units}. VIF: that window on 0..255. "
        "VIF(z): z-scored images, as in the multi-task MR paper; for comparison with it only. "
        "Excluded voxels are left out of the means of RMSE, PSNR and SSIM, and show the truth in both images for "
        "SSIM and VIF. A case is the mean of its slices, a patient the mean of his cases; below are the mean over "
        "patients and the standard deviation over cases."
    )


def _how_group(evaluation: Evaluation, role: str, scale: Scale, group: Group) -> str:
    match group:
        case Group.FLOOR:
            return _how_floored(evaluation, role, scale)
        case Group.LESIONS:
            return (
                "Lesion contrast: contrast left over true contrast, minus 1, in the difference that the lesions make; "
                f"worst: its largest magnitude in a case. {_COUNTED}"
            )
        case Group.REGIONS:
            return (
                "By region, near the implant and far from it. NRMSE: RMSE over the root mean square of the truth, in "
                "the judged voxels of the region in all judged slices together. SSIM: mean of its map over the same "
                f"voxels. {_COUNTED}"
            )
        case Group.EVERY:
            return ""


def _how_ratios(baseline: str | None) -> str:
    return (
        f"Against `{baseline}`, case by case: geometric means of the ratios of NRMSE, the share of cases in which "
        "NRMSE near is lower, and the share of the gap to SSIM 1 near that is closed (of means over cases):"
    )


def _how_floored(evaluation: Evaluation, role: str, scale: Scale) -> str:
    low, high = scale.judged
    floors = [case.floor[role]["rmse"] for case in evaluation.cases if case.floor[role]]
    level = f" (RMSE {min(floors):.2f} to {max(floors):.2f} {scale.units.value})" if floors else ""
    return (
        f"Against the noise floor, the same acquisition without metal{level}; values clipped to {low:g}..{high:g}. "
        "Excess error: root of the mean square error minus the floor's, 0 where it is below. "
        f"Streak amplitude: mean of the largest {TAIL:.0%} of the error minus mean of the smallest, in the patient. "
        "Noise ratio: noise of rays beside metal that is left, over the input's, in soft tissue from "
        f"{FAR_MM:g} mm off metal: smoothing lowers it, removing streaks does not. "
        f"Bone edges: slope at edges of bone up to {NEAR_MM:g} mm from metal, over the floor's. "
        f"{_COUNTED}"
    )


def _methods(evaluation: Evaluation) -> list[list[str]]:
    rows = []
    for method in evaluation.methods:
        seconds = _seconds(evaluation.cases, method.name)
        device = next((c.devices[method.name] for c in evaluation.cases if c.devices[method.name]), "-")
        left = sum(method.name in case.notes for case in evaluation.cases)
        rows.append([method.name, f"{seconds:.3g}", device, str(left), method.weights_sha256 or "-"])
    return rows


def figure_groups(evaluation: Evaluation, role: str) -> list[list[FigureKind]]:
    """Figures that were measured, one table for each group; none is empty."""
    measured = [figure for figure in FIGURES if figure.name in evaluation.rank_tests[role]]
    groups = [[figure for figure in measured if figure.group is group] for group in Group]
    return [group for group in groups if group]


def headings(first: str, scale: Scale, figures: Sequence[FigureKind], *others: str) -> list[str]:
    """Column names, with units and an arrow to the better side."""
    return [first, *others, *(figure.heading.format(units=scale.units.value) for figure in figures)]


def summary_rows(evaluation: Evaluation, role: str, figures: Sequence[FigureKind]) -> list[list[str]]:
    """Method or reference, and each figure as mean and spread."""
    own = evaluation.summaries[role]
    return [[row, *(_summary(figure, own[row].get(figure.name)) for figure in figures)] for row in evaluation.rows]


def ratio_rows(evaluation: Evaluation, role: str) -> list[list[str]]:
    """Rows under `RATIO_HEADINGS`: method or reference against the baseline; none where there is nothing to divide."""
    return [
        [name, _number(one.near_nrmse), _share(one.near_lower), _number(one.far_nrmse), _share(one.near_gap_closed)]
        for name, one in evaluation.ratios.get(role, {}).items()
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _difference_rows(evaluation: Evaluation, role: str, figures: Sequence[FigureKind]) -> list[list[str]]:
    own = evaluation.differences[role]
    return [[name, *(_difference(figure, own[name].get(figure.name)) for figure in figures)] for name in own]


def _case_rows(evaluation: Evaluation, role: str, figures: Sequence[FigureKind]) -> list[list[str]]:
    keys = {patient: str(n) for n, patient in enumerate(dict.fromkeys(c.patient for c in evaluation.cases), start=1)}
    return [
        [case.name, keys[case.patient], row]
        + [_value(figure, case.figures[role][row].get(figure.name)) for figure in figures]
        for case in evaluation.cases
        for row in evaluation.rows
    ]


def _value(figure: FigureKind, value: float | None) -> str:
    return "-" if value is None else f"{value:.{figure.digits}f}"


def _rank_text(tests: Mapping[str, RankTests | None]) -> str:
    lines = ["Friedman's test over methods and Nemenyi's between each two, patients as blocks:"]
    for figure, one in tests.items():
        if one is None:
            lines.append(f"- {figure}: no test (it needs three methods, two patients, and a difference)")
            continue
        ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(one.methods, one.ranks, strict=True))
        apart = [f"{a}/{b} (p = {p:.2g})" for (a, b), p in one.pairwise.items() if p < SIGNIFICANT]
        lines.append(
            f"- {figure}: chi-square {one.statistic:.2f}, p = {one.p_value:.2g}, {one.blocks} patients; "
            f"mean ranks {ranks}; apart at {SIGNIFICANT:g}: {', '.join(apart) or 'none'}"
        )
    return "\n".join(lines)


def _summary(figure: FigureKind, one: Summary | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.{figure.digits}f}" + ("" if one.sd is None else f" ± {one.sd:.{figure.digits}f}")


def _difference(figure: FigureKind, one: Difference | None) -> str:
    if one is None:
        return "-"
    digits = figure.digits
    if one.low is None or one.high is None:
        return f"{one.mean:+.{digits}f} (one patient)"
    return f"{one.mean:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"


def _seconds(cases: Sequence[CaseResult], method: str) -> float:
    return sum(case.seconds_per_slice[method] for case in cases) / len(cases)


def _case(case: CaseResult) -> dict[str, object]:
    return {
        "name": case.name,
        "patient": case.patient,
        "seed": case.seed,
        "description": case.description,
        "slices": list(case.slices),
        "judged_share": dict(case.judged_share),
        "figures": {r: {name: dict(one) for name, one in own.items()} for r, own in case.figures.items()},
        "floor": {role: dict(own) for role, own in case.floor.items()},
        "seconds_per_slice": dict(case.seconds_per_slice),
        "notes": dict(case.notes),
    }


def _ranks(tests: RankTests) -> dict[str, object]:
    return {
        "friedman_chi_square": tests.statistic,
        "friedman_p": tests.p_value,
        "patients": tests.blocks,
        "mean_ranks": dict(zip(tests.methods, tests.ranks, strict=True)),
        "nemenyi_p": [{"methods": list(pair), "p": p} for pair, p in tests.pairwise.items()],
    }


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_cell, one)) + " |" for one in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
