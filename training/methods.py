"""The methods of a corrector that are compared, and what one of them makes of a case."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from correctors.common.weights import TENSORS, package_digest
from dicom_node.contracts import CommandContext, CorrectionRefused, Corrector, CorrectorSpec, LeftOut, Volume
from dicom_node.errors import PluginError, RequestError, WeightsError

UNCORRECTED = "uncorrected"
"""Always compared: the artefact itself."""


@dataclass(frozen=True)
class Method:
    """A method to compare.

    Attributes:
        name: as in the corrector's spec, or `uncorrected`.
        weights: folder of another weights package than the installed one, None for that.
        weights_sha256: digest of the weights that it runs with, empty for none.
    """

    name: str
    weights: Path | None = None
    weights_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method made of one case.

    Attributes:
        volumes: by judged role; what is shown of the artefact where nothing was corrected.
        seconds: wall-clock time of the correction.
        device: `cpu` or `cuda`.
        note: why nothing was corrected, else empty.
    """

    volumes: Mapping[str, Volume]
    seconds: float = 0.0
    device: str = ""
    note: str = ""


def chosen(spec: CorrectorSpec, names: Sequence[str], weights: Mapping[str, Path]) -> tuple[Method, ...]:
    """Methods to compare, the reference first; `uncorrected` comes last unless it is named.

    Args:
        spec: of the corrector.
        names: as named by the user; empty for all, the default method first.
        weights: folder of another weights package, by method.

    Raises:
        RequestError: a name that is no method, or named twice; weights for a method that is not compared.
        WeightsError: a weights package cannot be read.
    """
    wanted = list(names) or [spec.default_method, *(name for name in spec.methods if name != spec.default_method)]
    for name in wanted:
        if name != UNCORRECTED and name not in spec.methods:
            known = ", ".join([*spec.methods, UNCORRECTED])
            raise RequestError(f"{spec.name} has no method {name!r}; there is: {known}")
        if wanted.count(name) > 1:
            raise RequestError(f"the method {name!r} is named twice")
    if surplus := sorted(set(weights) - set(wanted)):
        raise RequestError(f"--weights names {surplus[0]!r}, which is not among the methods compared")
    if UNCORRECTED not in wanted:
        wanted.append(UNCORRECTED)
    return tuple(Method(name, weights.get(name), _digest(spec, name, weights.get(name))) for name in wanted)


def run(
    corrector: Corrector | None, method: Method, artefact: Mapping[str, Volume], shown: Mapping[str, Volume]
) -> Outcome:
    """Correct one case.

    Args:
        corrector: built for the method; None for `uncorrected`.
        method: its name is told in errors.
        artefact: the input set.
        shown: what a viewer would show of it, by judged role, with the truth's axes (`Subject.shown`).

    Returns:
        The outcome; a refusal and "nothing to do" leave what is shown of the artefact, with the reason.

    Raises:
        PluginError: the correction does not fit its input.
    """
    if corrector is None:
        return Outcome(shown)
    started = time.perf_counter()
    try:
        correction = corrector.correct(artefact)
    except CorrectionRefused as refusal:
        return Outcome(shown, time.perf_counter() - started, note=f"refused: {refusal}")
    seconds = time.perf_counter() - started
    if not correction.changed:
        return Outcome(shown, seconds, correction.device, f"unchanged: {correction.reason}")
    for role, before in shown.items():
        made = correction.volumes.get(role)
        if made is None:
            continue  # a role that the correction does not give stays as it is
        if made.shape != before.shape:
            raise PluginError(f"method {method.name} made {role} of shape {made.shape}, not {before.shape}")
        if not np.isfinite(made.pixels).all():
            raise PluginError(f"method {method.name} made values of {role} that are not finite")
    return Outcome({role: correction.volumes.get(role, shown[role]) for role in shown}, seconds, correction.device)


@dataclass(frozen=True, eq=False)
class Bench:
    """Methods that are ready to run.

    Attributes:
        methods: in order, the reference first.
        correctors: by method; None for `uncorrected`.
        left_out: methods that nobody asked for by name, and whose weights are not there.
    """

    methods: tuple[Method, ...]
    correctors: Mapping[str, Corrector | None]
    left_out: tuple[LeftOut, ...]


def build_all(
    context: CommandContext, spec: CorrectorSpec, methods: Sequence[Method], device: str, *, named: bool
) -> Bench:
    """Build the corrector of each method before the first case is made: what cannot be built is told at once.

    Args:
        context: builds.
        spec: of the corrector.
        methods: to build.
        device: `auto`, `cpu` or `cuda[:n]`.
        named: whether the user named them: then a missing weights package is an error, else the method is left out.

    Raises:
        RequestError, PluginError, WeightsError: one cannot be built.
    """
    correctors: dict[str, Corrector | None] = {}
    left_out = []
    for method in methods:
        if method.name == UNCORRECTED:
            correctors[method.name] = None
            continue
        try:
            correctors[method.name] = context.build(spec.name, method.name, device=device, weights=method.weights)
        except WeightsError as error:
            if named or method.weights is not None:
                raise
            left_out.append(LeftOut(f"method {method.name}", str(error)))
    return Bench(tuple(m for m in methods if m.name in correctors), correctors, tuple(left_out))


def _digest(spec: CorrectorSpec, name: str, folder: Path | None) -> str:
    if folder is None:
        return spec.weights[name].sha256 if name in spec.weights else ""
    try:
        return package_digest(folder)
    except OSError as error:
        raise WeightsError(f"{folder / TENSORS}: {error.strerror}") from error
