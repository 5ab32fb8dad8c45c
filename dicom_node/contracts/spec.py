"""What a corrector says about itself before any of its code is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.contracts.volume import AXES, Units

API_VERSION = 1
_IDENTITY = ("patientname", "patientid", "birth", "accession", "physician", "operatorsname", "institution", "address",
             "telephone", "otherpatient", "studyid", "admissionid")  # fmt: skip
"""Tags whose keyword holds one of these tell who or where somebody is; no correction depends on that."""
ParameterValue = str | int | float | bool


@dataclass(frozen=True)
class Accepts:
    """One named input (role) of a corrector.

    Attributes:
        modality: DICOM Modality, e.g. `CT`.
        units: units in which the corrector wants the voxels.
        axes: axis order that it wants, one of `AXES`.
        needs: DICOM keywords that must be present; the series is refused when one is missing. None that tells who or
            where the patient is.
        wants: DICOM keywords carried when present, with the same limit.
    """

    modality: str
    units: Units
    axes: str = "zyx"
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the axis order, and that no tag tells who the patient is.

        Raises:
            ValueError: unknown axes, or a tag that a corrector never gets.
        """
        if self.axes not in AXES:
            raise ValueError(f"axes must be one of {AXES}, got {self.axes!r}")
        for keyword in (*self.needs, *self.wants):
            if any(word in keyword.lower() for word in _IDENTITY):
                raise ValueError(f"a corrector does not get {keyword}: it tells who or where the patient is")


@dataclass(frozen=True)
class Parameter:
    """One route parameter of a corrector.

    Attributes:
        default: value when the route says nothing; its type is the parameter's type.
        description: what it does, with its unit.
        choices: allowed values, empty when free.
        minimum: smallest allowed number, None when free.
        maximum: largest allowed number, None when free.
    """

    default: ParameterValue
    description: str
    choices: tuple[ParameterValue, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class WeightsRef:
    """A weights package: a directory beside the plugin, or any folder.

    Attributes:
        package: import package that holds the directory, e.g. `correctors.hipct`; empty for a folder elsewhere.
        directory: path inside the package, e.g. `weights/paper`; absolute where `package` is empty.
        sha256: digest of `model.safetensors`, lower-case hex.
    """

    package: str
    directory: str
    sha256: str


@dataclass(frozen=True)
class Limits:
    """What the host's guard allows a correction to do; checked before anything is derived.

    Attributes:
        lowest: smallest allowed value in a corrected volume, in the role's units.
        highest: largest allowed value.
        largest_change: largest allowed absolute change of one voxel, in the role's units; None for no limit.
        largest_mean_change: largest allowed |mean change| over the changed voxels of a slice, in the role's units.
        largest_changed_fraction: largest allowed share of voxels changed, 0 to 1.
    """

    lowest: float
    highest: float
    largest_change: float | None = None
    largest_mean_change: float | None = None
    largest_changed_fraction: float = 1.0


@dataclass(frozen=True)
class CorrectorSpec:
    """A corrector as the host sees it. Import-light: numpy and the standard library only.

    Attributes:
        name: name used in routes, e.g. `hipct`.
        version: version of the corrector; part of the derived UIDs.
        api: `API_VERSION` that it was written against.
        title: short human name for Series Description and Derivation Description.
        inputs: accepted input by role.
        methods: method name to a sentence that says what it does to the pixels.
        default_method: method when the route names none.
        factory: `module:callable`, imported in the worker; see `CorrectorFactory`.
        limits: guard limits by role.
        parameters: route parameters by name.
        weights: weights package by method name; methods not listed need none.
        synthetic: methods whose output counts as Synthetic Data (0008,001C).
        image_type_value_2: `PRIMARY` or `SECONDARY`, None to keep the source's (PS3.3 C.7.6.1.1.2).
        references: DOIs or URLs of the method's source.
        device_tolerance: how far two device kinds (CPU, CUDA) may differ, for `dicom-node replay`, by output: an input
            role [its units], `map:NAME` [the map's units], `mask:NAME` [share of the mask's voxels, 0 to 1]. An output
            that is not listed must be identical. On one kind of device everything must be.
    """

    name: str
    version: str
    api: int
    title: str
    inputs: Mapping[str, Accepts]
    methods: Mapping[str, str]
    default_method: str
    factory: str
    limits: Mapping[str, Limits]
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    weights: Mapping[str, WeightsRef] = field(default_factory=lambda: MappingProxyType({}))
    synthetic: tuple[str, ...] = ()
    image_type_value_2: str | None = None
    references: tuple[str, ...] = ()
    device_tolerance: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises:
            ValueError: default method, weights, limits, tolerances or factory do not fit.
        """
        if self.default_method not in self.methods:
            raise ValueError(f"{self.name}: default method {self.default_method!r} is not among {sorted(self.methods)}")
        if unknown := set(self.weights) - set(self.methods):
            raise ValueError(f"{self.name}: weights for unknown methods {sorted(unknown)}")
        if set(self.limits) != set(self.inputs):
            raise ValueError(f"{self.name}: limits must be given for exactly the roles {sorted(self.inputs)}")
        if self.factory.count(":") != 1:
            raise ValueError(f"{self.name}: factory must read 'module:callable', got {self.factory!r}")
        for output, tolerance in self.device_tolerance.items():
            if output not in self.inputs and not output.startswith(("map:", "mask:")):
                raise ValueError(f"{self.name}: device tolerance for {output!r}: no role, map:NAME or mask:NAME")
            if not 0.0 <= tolerance < math.inf:
                raise ValueError(f"{self.name}: device tolerance of {output} must be finite and not negative")
