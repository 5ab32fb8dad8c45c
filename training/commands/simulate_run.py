"""`dicom-node simulate`: what it does."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from dicom_node.contracts import CommandContext, CommandOutput, CorrectorSpec, FoundImage, LeftOut, ReadImage, Volume
from dicom_node.errors import InputError, RequestError, UnusableSeries
from training.cases import case_seed, clean_image, modality_of, patients_of, told
from training.pairs import same_grid
from training.subject import SimulatedCase, Subject, scenario_of, subject_of


def run(context: CommandContext, arguments: argparse.Namespace, output: CommandOutput) -> None:
    """Simulate artefacts; writes `artefact/` and `truth/` as DICOM under `--out`.

    Raises:
        RequestError: no such corrector or scenario, an input that does not exist, or a folder in use.
        InputError: no image can serve; the message says why.
        StorageFull, StorageFailed: the disk refuses.
    """
    subject = subject_of(arguments.corrector)
    spec = context.spec(arguments.corrector)
    scenario = scenario_of(subject, arguments.scenario)
    if arguments.seed < 0:
        raise RequestError(f"--seed must not be negative, got {arguments.seed}")
    found = patients_of(context, arguments.inputs, modality=modality_of(spec))
    with output.progress() as advance:
        usable, left_out = _usable(context, subject, spec, [image for _, image in found.images])
        left_out = [*found.left_out, *left_out]
        if not usable:
            raise InputError(f"no series can serve as a clean image{told(left_out)}")
        cases = []
        for number, image in enumerate(usable):
            advance("simulating", number, len(usable))
            folder = arguments.out if len(usable) == 1 else arguments.out / image.label
            _refuse_used(folder)
            seed = case_seed(arguments.seed, number)
            read, clean = clean_image(context, subject, spec, image)
            try:
                case = subject.simulate(clean, scenario=scenario, seed=seed)
            except UnusableSeries as error:
                left_out.append(LeftOut(image.label, str(error)))
                continue
            files = _write(context, subject, read, case, folder, seed)
            cases.append({"name": image.label, "folder": str(folder), "seed": seed, "description": case.description,
                          "slices": list(case.slices), "files": files})  # fmt: skip
        advance("simulating", len(usable), len(usable))
        if not cases:
            raise InputError(f"no artefact could be put into any image{told(left_out)}")
    output.table(
        f"Simulated: {scenario}", ["folder", "what"], [[case["folder"], case["description"]] for case in cases]
    )
    if left_out:
        output.table("Left out", ["what", "reason"], [[one.what, one.reason] for one in left_out])
    output.document(
        {
            "corrector": spec.name,
            "scenario": scenario,
            "seed": arguments.seed,
            "cases": cases,
            "left_out": [{"what": one.what, "reason": one.reason} for one in left_out],
        }
    )


def _usable(
    context: CommandContext, subject: Subject, spec: CorrectorSpec, images: list[FoundImage]
) -> tuple[list[FoundImage], list[LeftOut]]:
    """Images that can serve: how many decides where the cases are written."""
    usable, left_out = [], []
    for image in images:
        try:
            clean_image(context, subject, spec, image)
        except InputError as error:
            left_out.append(LeftOut(image.label, str(error)))
        else:
            usable.append(image)
    return usable, left_out


def _write(
    context: CommandContext, subject: Subject, read: ReadImage, case: SimulatedCase, folder: Path, seed: int
) -> dict[str, int]:
    """Number of files of artefact and truth; both, and all their series, are of one patient and one study.

    Where every volume has the frames and the grid of the image that was read, all keep its headers. Else (its slices
    became spectral bins, or another grid) all become one synthetic patient's: one case is not of two patients.
    """
    alike = all(_alike(volume, read.volume) for volume in (*case.artefact.values(), *case.truth.values()))
    like = read.template if alike else None
    written = {}
    for name, volumes, own in (("artefact", case.artefact, subject.role_tags), ("truth", case.truth, {})):
        written[name] = sum(
            len(
                context.write(
                    volume,
                    _place(folder / name, role, volumes),
                    like=like,
                    tags={**subject.routing_tags, **own.get(role, {})},
                    seed=seed,
                )
            )
            for role, volume in volumes.items()
        )
    return written


def _alike(volume: Volume, read: Volume) -> bool:
    same = (volume.axes, volume.shape, volume.units) == (read.axes, read.shape, read.units)
    return same and same_grid(volume.geometry, read.geometry)


def _place(folder: Path, role: str, volumes: Mapping[str, Volume]) -> Path:
    return folder if len(volumes) == 1 else folder / role


def _refuse_used(folder: Path) -> None:
    """Files of an earlier simulation beside the new ones would make one mixed series."""
    for name in ("artefact", "truth"):
        if (folder / name).exists() and any((folder / name).iterdir()):
            raise RequestError(f"{folder / name} is not empty: choose another --out")
