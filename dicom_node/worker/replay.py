"""Derive a series once more, into a folder that is thrown away, and compare every pixel with the earlier one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.contracts import Corrector, CorrectorSpec, FileRef
from dicom_node.dicom.agreement import Difference, compare
from dicom_node.dicom.derive import DerivedSeries, DerivedSet
from dicom_node.dicom.derived import REPORT, Derived, Recipe, read_derived
from dicom_node.dicom.headers import read_header
from dicom_node.durable import storage_error
from dicom_node.errors import InputError, PluginError, RequestError, WeightsError
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import with_weights
from dicom_node.worker.pipeline import Step, Task, run


@dataclass(frozen=True)
class SeriesAgreement:
    """One derived series against its recomputation.

    Attributes:
        series_instance_uid: the series.
        role: input role of corrected images, `map:NAME`, `mask:NAME` or `report`.
        device: kind of device of the recomputation.
        tolerance: allowed |difference|: 0 on the same kind of device, else the corrector's own; None for what is not
            compared across kinds (reports, whose figures follow from the images).
        instances: instances compared.
        differing: SOP Instance UIDs of those that differ by more than the tolerance.
        pixels: pixels (or figures) that are not equal.
        largest: largest |difference| [units of the role, of the map, or figures]; infinite where shapes differ.
        missing: SOP Instance UIDs of recomputed instances that were not given.
        unexpected: SOP Instance UIDs of given instances that are not recomputed.
        recorded_weights, weights: SHA-256 of the weights that were fitted to the patient, as recorded and as
            recomputed; empty where none were. Pixels decide whether a series agrees; these say why it does not.
    """

    series_instance_uid: str
    role: str
    device: str
    tolerance: float | None
    instances: int
    differing: tuple[str, ...]
    pixels: int
    largest: float
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    recorded_weights: str = ""
    weights: str = ""

    @property
    def agrees(self) -> bool:
        """Whether all of the series is there, nothing else, and every pixel within the tolerance."""
        return not (self.differing or self.missing or self.unexpected)


def installed_for(recipe: Recipe, spec: CorrectorSpec, weights: Path | None = None) -> CorrectorSpec:
    """The installed corrector as it must be to repeat a recipe.

    Args:
        recipe: how a derived set was made.
        spec: the corrector of that name that is installed.
        weights: folder of a weights package, for recipes that were made with other weights than the installed ones.

    Raises:
        PluginError: another version, no such method, or other parameters.
        WeightsError: other weights, or the folder is no weights package.
    """
    made_by = f"{recipe.corrector} {recipe.corrector_version}"
    if spec.version != recipe.corrector_version:
        raise PluginError(f"made by {made_by}, but version {spec.version} is installed: install the one that made it")
    if recipe.method not in spec.methods:
        raise PluginError(f"made by {made_by} {recipe.method}, but what is installed has no such method")
    try:
        same = resolve(spec, recipe.method, recipe.parameters)[1] == recipe.parameters
    except RequestError as error:
        raise PluginError(f"made with parameters that the installed corrector does not take: {error}") from error
    if not same:
        raise PluginError(f"the installed {made_by} has other parameters than those recorded")
    if recipe.weights_sha256 and weights is not None and _sha256(spec, recipe.method) != recipe.weights_sha256:
        spec = with_weights(spec, recipe.method, weights)
    if (here := _sha256(spec, recipe.method)) != recipe.weights_sha256:
        raise WeightsError(
            f"made with {_said(recipe.weights_sha256)}, but here {made_by} {recipe.method} has {_said(here)}: name the "
            "folder of the weights package that made it with --weights"
        )
    return spec


def replay_set(
    derived: Sequence[Derived], task: Task, corrector: Corrector, step: Step | None = None
) -> list[SeriesAgreement]:
    """Recompute instances of one derived set and compare.

    Args:
        derived: instances of one recipe, of any of its series; series that are not among them are not looked at.
        task: the job that made them.
        corrector: built for it.
        step: told `read`, `correct`, `derive`, `compare`.

    Returns:
        One for each series among `derived`, in the order in which a job derives them.

    Raises:
        InputError: nothing is derived any more.
        NodeError: as `pipeline.run`.
    """
    step = step or (lambda _: None)
    try:
        with tempfile.TemporaryDirectory(prefix="dicom-node-replay-") as folder:
            outcome = run(task, corrector, Path(folder), step)
            if outcome.derived is None:
                raise InputError(f"recomputed, nothing is changed and no series derived: {outcome.reason}")
            step("compare")
            return _compare_all(derived, outcome.derived, task.spec)
    except OSError as error:
        raise storage_error(error, Path(tempfile.gettempdir())) from error


def _compare_all(derived: Sequence[Derived], made: DerivedSet, spec: CorrectorSpec) -> list[SeriesAgreement]:
    given: dict[str, list[Derived]] = {}
    for one in derived:
        given.setdefault(one.header.series_instance_uid, []).append(one)
    first = read_derived(read_header(FileRef(made.series[0].files[0].path), digest=False))
    same_kind = first.recipe.device == derived[0].recipe.device
    again = {series.series_instance_uid: series for series in made.series}
    compared = []
    for uid in [*(uid for uid in again if uid in given), *sorted(given.keys() - again.keys())]:
        tolerance = 0.0 if same_kind else _across(spec.device_tolerance, given[uid][0].role)
        compared.append(_compare(given[uid], again.get(uid), first, tolerance))
    return compared


def _across(stated: Mapping[str, float], role: str) -> float | None:
    return None if role == REPORT else stated.get(role, 0.0)


def _compare(
    given: Sequence[Derived], made: DerivedSeries | None, first: Derived, tolerance: float | None
) -> SeriesAgreement:
    files = {file.sop_instance_uid: file.path for file in made.files} if made is not None else {}
    known = {one.header.sop_instance_uid: one for one in given}
    both = [uid for uid in files if uid in known]
    differing, pixels, largest = [], 0, 0.0
    for uid in both if tolerance is not None else ():
        found: Difference = compare(known[uid].header.file, FileRef(files[uid]), tolerance or 0.0)
        pixels += found.differing
        largest = max(largest, found.largest)
        if found.beyond:
            differing.append(uid)
    return SeriesAgreement(
        series_instance_uid=given[0].header.series_instance_uid,
        role=given[0].role,
        device=first.recipe.device,
        tolerance=tolerance,
        instances=len(both) if tolerance is not None else 0,
        differing=tuple(differing),
        pixels=pixels,
        largest=largest,
        missing=tuple(uid for uid in files if uid not in known),
        unexpected=tuple(sorted(uid for uid in known if uid not in files)),
        recorded_weights=given[0].adapted_weights_sha256,
        weights=first.adapted_weights_sha256,
    )


def _sha256(spec: CorrectorSpec, method: str) -> str:
    reference = spec.weights.get(method)
    return reference.sha256 if reference is not None else ""


def _said(sha256: str) -> str:
    return f"weights of SHA-256 {sha256}" if sha256 else "no weights"
