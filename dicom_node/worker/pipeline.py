"""One job's work on files: read -> correct -> guard -> derive. The same for `serve` and `dicom-node correct`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node import logs
from dicom_node.contracts import Correction, Corrector, CorrectorSpec, ParameterValue, RoleInstance
from dicom_node.dicom.derive import DerivedSet, derive
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.reading import LoadedVolume, read_volume
from dicom_node.errors import CorrectorFailed, NodeError
from dicom_node.worker.guards import check
from dicom_node.worker.memory import is_exhausted
from dicom_node.worker.quotes import Quotes

Step = Callable[[str], None]
"""Told the name of each step as it begins: `read`, `correct`, `derive`."""

log = logs.get("worker.pipeline")


@dataclass(frozen=True)
class Task:
    """What one run needs to know.

    Attributes:
        spec: the corrector's spec.
        method: one of the spec's methods.
        parameters: resolved, every parameter of the spec.
        weights_sha256: digest of the weights, empty for methods without.
        roles: instances by role.
        input_digest: digest of all inputs.
        created_at: when the job was made, UTC seconds; written into the derived instances, so that a repeated run
            writes the same bytes.
        version: 1, or n+1 when late images led to a new version.
        superseded_series: Series Instance UID by role of the version that this one replaces.
    """

    spec: CorrectorSpec
    method: str
    parameters: Mapping[str, ParameterValue]
    weights_sha256: str
    roles: Mapping[str, Sequence[RoleInstance]]
    input_digest: str
    created_at: float
    version: int = 1
    superseded_series: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        changed: whether series were derived.
        reason: why nothing was changed.
        derived: the derived series, None when nothing was changed.
        warnings: the corrector's and the writer's warnings.
        metrics: the corrector's figures for the whole series.
    """

    changed: bool
    reason: str
    derived: DerivedSet | None
    warnings: tuple[str, ...]
    metrics: Mapping[str, float]


def run(task: Task, corrector: Corrector, folder: Path, step: Step | None = None) -> Outcome:
    """Correct one input set and write what is derived from it into `folder`.

    Raises:
        CorrectionRefused: the corrector must not touch this input.
        CorrectorFailed, GuardViolation: the corrector misbehaved; nothing is written.
        NodeError: reading or writing failed.
    """
    step = step or (lambda _: None)
    step("read")
    loaded = {role: read_volume(instances, task.spec.inputs[role]) for role, instances in sorted(task.roles.items())}
    step("correct")
    left_out = tuple(_left_out(role, item) for role, item in sorted(loaded.items()) if item.left_out)
    quotes = Quotes(item.volume for item in loaded.values())
    outcome = _correct(task.spec, corrector, loaded, quotes)
    correction = _unquoted(check(task.spec, {r: v.volume for r, v in loaded.items()}, outcome), quotes)
    if not correction.changed:
        return Outcome(False, correction.reason, None, left_out + correction.warnings, correction.metrics)
    step("derive")
    provenance = Provenance(
        spec=task.spec,
        method=task.method,
        parameters=task.parameters,
        weights_sha256=task.weights_sha256,
        input_digest=task.input_digest,
        created_at=task.created_at,
        version=task.version,
        superseded_series=task.superseded_series or {},
        device=correction.device,
        adapted_weights_sha256=correction.adapted_weights_sha256,
    )
    derived = derive(task.spec, correction, loaded, provenance, folder)
    return Outcome(True, "", derived, left_out + correction.warnings + derived.warnings, correction.metrics)


def _left_out(role: str, item: LoadedVolume) -> str:
    return f"{role}: {len(item.left_out)} localizer or reference images of the series are not part of the volume"


def _unquoted(correction: Correction, quotes: Quotes) -> Correction:
    return replace(
        correction,
        reason=quotes.without(correction.reason),
        warnings=tuple(quotes.without(str(warning)) for warning in correction.warnings),
    )


def _correct(spec: CorrectorSpec, corrector: Corrector, loaded: Mapping[str, LoadedVolume], quotes: Quotes) -> object:
    inputs = {role: item.volume for role, item in loaded.items()}
    for volume in inputs.values():
        volume.pixels.flags.writeable = False  # an input that a corrector alters would hide what it changed
    try:
        return corrector.correct(inputs)
    except NodeError as error:
        error.args = tuple(quotes.without(str(part)) for part in error.args)
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything
        if is_exhausted(error):
            raise MemoryError from None
        # The exception's text may quote header values, so only its type and place are kept.
        raise CorrectorFailed(f"corrector {spec.name} raised {logs.place(error)}") from None
