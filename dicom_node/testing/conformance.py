"""What every corrector must keep, as a pytest class that its tests subclass.

    class TestHipCt(CorrectorConformance):
        spec = SPEC
        spec_module = "correctors.hipct.plugin"

        def make_inputs(self): ...

The class needs pytest only to be collected; it imports nothing of it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from dicom_node.contracts import (
    API_VERSION,
    BoolArray,
    Correction,
    CorrectionRefused,
    Corrector,
    CorrectorSpec,
    ParameterValue,
    Units,
    Volume,
)
from dicom_node.errors import NodeError

Inputs = Mapping[str, Volume]
_NOT_AT_DISCOVERY = ("torch", "pydicom", "pynetdicom", "highdicom", "sqlalchemy")


@dataclass(frozen=True, eq=False)
class Run:
    """The same inputs corrected twice.

    Attributes:
        inputs: what was given, read-only, with padding.
        read_only: the outcome on read-only inputs.
        writeable: the outcome of a second, freshly built corrector on writeable copies.
        copies: those copies after the run.
    """

    inputs: Inputs
    read_only: Correction
    writeable: Correction
    copies: Inputs


class CorrectorConformance:
    """Checks of one corrector; subclass it, and pytest runs every check on every method.

    Attributes:
        spec: the corrector's spec.
        spec_module: module that holds the spec.
        methods: methods to check; None for all that need no weights.
        device: torch device string.
        parameters: values that differ from the spec's defaults, e.g. to be fast.
        tolerance: largest difference of two runs on the same device, in the role's units; 0 asks for the same bits.
    """

    spec: ClassVar[CorrectorSpec]
    spec_module: ClassVar[str]
    methods: ClassVar[tuple[str, ...] | None] = None
    device: ClassVar[str] = "cpu"
    parameters: ClassVar[Mapping[str, ParameterValue]] = MappingProxyType({})
    tolerance: ClassVar[float] = 0.0
    _runs: ClassVar[dict[str, Run]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give each subclass its own memory of runs, so that a method runs twice and not once for each check."""
        super().__init_subclass__(**kwargs)
        cls._runs = {}

    def make_inputs(self) -> Inputs:
        """Small inputs with an artefact that every method changes."""
        raise NotImplementedError

    def clean_slices(self) -> Mapping[str, tuple[int, ...]]:
        """By role, the z indices of `make_inputs` without artefact: these must come back bit for bit."""
        return {}

    def make_clean_inputs(self) -> Inputs | None:
        """Inputs in which there is nothing to correct; None for a corrector that always finds something."""
        return None

    def make_refused_inputs(self) -> Mapping[str, Inputs]:
        """Inputs that must not be touched, by a short name of the reason."""
        return {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run checks that take a `method` once for each method."""
        if "method" in metafunc.fixturenames:
            metafunc.parametrize("method", self._methods())

    def test_spec_needs_nothing_heavy(self) -> None:
        """Discovery reads the spec in a process that must stay light."""
        code = f"import sys, {self.spec_module}; print([m for m in {_NOT_AT_DISCOVERY!r} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "[]", f"{self.spec_module} imports {done.stdout.strip()}"
        assert self.spec.api == API_VERSION
        assert self._methods(), "no method runs without weights: a corrector needs a `classical` one"

    def test_builds_and_changes(self, method: str) -> None:
        """The method can be built, and its outcome is a Correction that changed something."""
        outcome = self._run(method).read_only
        assert isinstance(outcome, Correction)
        assert outcome.changed, f"nothing was changed: {outcome.reason}"
        assert any(
            not np.array_equal(volume.pixels, self._run(method).inputs[role].pixels)  # combined bins always differ
            for role, volume in outcome.volumes.items()
        ), "changed is True, but every voxel is as before"

    def test_grid_is_kept(self, method: str) -> None:
        """Shape, dtype, axes, geometry and units are those of the input; spectral bins may come back combined."""
        run = self._run(method)
        for role, volume in run.read_only.volumes.items():
            given = run.inputs[role]
            assert volume.shape == (given.shape[1:] if volume.combines(given) else given.shape)
            assert volume.pixels.dtype == np.float32
            assert volume.axes == given.axes or volume.combines(given)
            assert volume.units == given.units
            assert volume.geometry == given.geometry

    def test_inputs_are_not_altered(self, method: str) -> None:
        """Not a bit of the given volumes changes, and the outcome does not share their memory."""
        run = self._run(method)
        for role, given in run.inputs.items():
            assert np.array_equal(run.copies[role].pixels, given.pixels), f"the input {role} was altered"
            assert _same_padding(run.copies[role].padding, given.padding), f"the padding of {role} was altered"
            if role in run.writeable.volumes:
                assert not np.shares_memory(run.writeable.volumes[role].pixels, run.copies[role].pixels)

    def test_same_result_twice(self, method: str) -> None:
        """Another corrector, built the same way, gives the same voxels."""
        run = self._run(method)
        assert set(run.read_only.volumes) == set(run.writeable.volumes)
        for role, volume in run.read_only.volumes.items():
            other = run.writeable.volumes[role].pixels
            assert float(np.max(np.abs(volume.pixels - other), initial=0.0)) <= self.tolerance

    def test_clean_slices_are_identical(self, method: str) -> None:
        """Slices without artefact come back bit for bit."""
        run = self._run(method)
        for role, slices in self.clean_slices().items():
            for z in slices:
                same = np.array_equal(
                    run.read_only.volumes[role].pixels[..., z, :, :], run.inputs[role].pixels[..., z, :, :]
                )
                assert same, f"slice {z} of {role} has no artefact, but was changed"

    def test_padding_is_kept(self, method: str) -> None:
        """Voxels that were never measured keep their value."""
        run = self._run(method)
        for role, volume in run.read_only.volumes.items():
            given, padding = run.inputs[role], run.inputs[role].padding
            assert padding is not None
            if volume.combines(given):
                everywhere = padding.all(axis=0)
                bins, one = given.pixels[:, everywhere], volume.pixels[everywhere]
                assert ((one >= bins.min(axis=0)) & (one <= bins.max(axis=0))).all(), "padding of all bins has changed"
            else:
                assert np.array_equal(volume.pixels[padding], given.pixels[padding])

    def test_values_are_plausible(self, method: str) -> None:
        """Finite everywhere, and within the limits that the host's guard enforces."""
        run = self._run(method)
        for role, volume in run.read_only.volumes.items():
            assert np.isfinite(volume.pixels).all()
            self._within_limits(role, volume, run.inputs[role])

    def test_figures_fit_the_grid(self, method: str) -> None:
        """Maps and masks lie on a role's grid; quality has one figure for each slice; all figures are finite."""
        run = self._run(method)
        slices = {volume.geometry.shape[0] for volume in run.inputs.values()}
        for name, image in run.read_only.maps.items():
            assert image.values.shape == run.inputs[image.role].geometry.shape, name
            assert image.values.dtype == np.float32 and np.isfinite(image.values).all(), name
        for name, mask in run.read_only.masks.items():
            assert mask.voxels.shape == run.inputs[mask.role].geometry.shape, name
            assert mask.voxels.dtype == np.bool_, name
        for name, figures in run.read_only.quality.items():
            assert len(figures) in slices and np.isfinite(figures).all(), name
        assert np.isfinite(list(run.read_only.metrics.values())).all()

    def test_nothing_to_correct_is_said(self, method: str) -> None:
        """Without an artefact there is no image, but a reason."""
        clean = self.make_clean_inputs()
        if clean is not None:
            outcome = self._build(method).correct(_prepared(clean))
            assert not outcome.changed
            assert outcome.reason.strip()

    def test_missing_role_is_refused(self, method: str) -> None:
        """An input set without one of the roles: a NodeError that names the role, never a KeyError."""
        corrector = self._build(method)
        for role in self.spec.inputs:
            rest = {r: v for r, v in _prepared(self.make_inputs()).items() if r != role}
            assert role in _refusal(corrector, rest), f"the refusal must name the missing role {role}"

    def test_wrong_units_are_refused(self, method: str) -> None:
        """Voxels in other units than asked for: a NodeError that names the units it wants."""
        corrector = self._build(method)
        for role, accepts in self.spec.inputs.items():
            other = next(u for u in Units if u is not accepts.units)
            inputs = dict(_prepared(self.make_inputs()))
            inputs[role] = replace(inputs[role], units=other)
            assert accepts.units.value in _refusal(corrector, inputs), f"the refusal must say {accepts.units.value}"

    def test_untouchable_input_is_refused(self, method: str) -> None:
        """What must not be touched raises CorrectionRefused with a reason."""
        corrector = self._build(method)
        for name, inputs in self.make_refused_inputs().items():
            assert _refusal(corrector, _prepared(inputs), CorrectionRefused).strip(), name

    def _methods(self) -> tuple[str, ...]:
        if self.methods is not None:
            return self.methods
        return tuple(m for m in self.spec.methods if m not in self.spec.weights)

    def _build(self, method: str) -> Corrector:
        module, _, attribute = self.spec.factory.partition(":")
        parameters = {name: p.default for name, p in self.spec.parameters.items()} | dict(self.parameters)
        factory = getattr(importlib.import_module(module), attribute)
        corrector: Corrector = factory(method=method, weights=None, device=self.device, parameters=parameters)
        return corrector

    def _run(self, method: str) -> Run:
        if method not in self._runs:
            inputs = _prepared(self.make_inputs())
            copies = {
                role: replace(
                    volume,
                    pixels=volume.pixels.copy(),
                    padding=None if volume.padding is None else volume.padding.copy(),
                )
                for role, volume in inputs.items()
            }
            read_only = self._build(method).correct(inputs)
            self._runs[method] = Run(inputs, read_only, self._build(method).correct(copies), copies)
        return self._runs[method]

    def _within_limits(self, role: str, volume: Volume, given: Volume) -> None:
        limits = self.spec.limits[role]
        if volume.combines(given):
            measured = slice(None) if given.padding is None else ~given.padding.all(axis=0)
            assert float(volume.pixels[measured].min(initial=limits.highest)) >= limits.lowest
            assert float(volume.pixels[measured].max(initial=limits.lowest)) <= limits.highest
            return
        change = volume.pixels - given.pixels
        changed = change != 0
        values = volume.pixels[changed]
        assert float(values.min(initial=limits.highest)) >= limits.lowest
        assert float(values.max(initial=limits.lowest)) <= limits.highest
        if limits.largest_change is not None:
            assert float(np.abs(change).max(initial=0.0)) <= limits.largest_change
        assert float(changed.mean()) <= limits.largest_changed_fraction
        if limits.largest_mean_change is not None:
            for z in range(volume.geometry.shape[0]):
                part = change[..., z, :, :][changed[..., z, :, :]]
                assert part.size == 0 or abs(float(part.mean())) <= limits.largest_mean_change


def _prepared(inputs: Inputs) -> Inputs:
    """Inputs as the host gives them: read-only, and with some padding, so that keeping it can be checked."""
    prepared = {}
    for role, volume in inputs.items():
        pixels = volume.pixels.copy()
        padding = np.zeros(volume.shape, dtype=np.bool_) if volume.padding is None else volume.padding.copy()
        if not padding.any():
            padding[..., :, 0] = True
        pixels.flags.writeable = False
        padding.flags.writeable = False
        prepared[role] = replace(volume, pixels=pixels, padding=padding)
    return prepared


def _same_padding(a: BoolArray | None, b: BoolArray | None) -> bool:
    return (a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b))


def _refusal(corrector: Corrector, inputs: Inputs, kind: type[NodeError] = NodeError) -> str:
    """The message of the error that the corrector must raise."""
    try:
        corrector.correct(inputs)
    except kind as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"must raise {kind.__name__}, raised {type(error).__name__}: {error}") from error
    raise AssertionError(f"must raise {kind.__name__}, but corrected the input")
