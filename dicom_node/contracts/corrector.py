"""What a corrector does, and what it gives back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from dicom_node.contracts.spec import ParameterValue
from dicom_node.contracts.volume import BoolArray, FloatArray, Units, Volume


@dataclass(frozen=True, eq=False)
class ParameterMap:
    """A named image of a physical quantity on a role's grid; becomes a DICOM Parametric Map.

    Attributes:
        role: input role whose grid it lies on.
        values: float32 (z, y, x) in `units`.
        units: physical units.
        meaning: what the values are, in a few words, e.g. `Change of CT number by the correction`.
    """

    role: str
    values: FloatArray
    units: Units
    meaning: str


@dataclass(frozen=True, eq=False)
class Mask:
    """A named region on a role's grid; becomes a DICOM Segmentation.

    Attributes:
        role: input role whose grid it lies on.
        voxels: bool (z, y, x).
        meaning: what the region is, e.g. `Metal implant`.
    """

    role: str
    voxels: BoolArray
    meaning: str


@dataclass(frozen=True, eq=False)
class Correction:
    """The outcome of one run of a corrector.

    Attributes:
        changed: whether any voxel was changed. False is a result; `reason` then says why.
        reason: one sentence, required when nothing was changed. No patient data.
        volumes: corrected volume by role, same shape, axes and geometry as the input. Untouched frames are identical.
            Of spectral bins (`bzyx`) it may be the one image that they were combined into (`zyx`); where every bin
            holds padding it must have the value of one of them.
        maps: parametric maps by name.
        masks: regions by name.
        quality: figures for each z slice by name; units in the name, e.g. `largest_change_hu`.
        metrics: figures for the whole series by name.
        warnings: sentences for the radiologist or physicist, also stored with the series.
        device: kind of device that computed it, `cpu` or `cuda`; part of the provenance.
        adapted_weights_sha256: SHA-256, 64 lower-case hex digits, of the weights that were fitted to this input and
            used in place of the package's; empty where the package's were used. Part of the provenance; `replay`
            compares it.
    """

    changed: bool
    reason: str = ""
    volumes: Mapping[str, Volume] = field(default_factory=lambda: MappingProxyType({}))
    maps: Mapping[str, ParameterMap] = field(default_factory=lambda: MappingProxyType({}))
    masks: Mapping[str, Mask] = field(default_factory=lambda: MappingProxyType({}))
    quality: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()
    device: str = "cpu"
    adapted_weights_sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse an outcome that says two things at once.

        Raises:
            ValueError: changed without volumes, unchanged without a reason or with volumes, or weights whose digest
                is none.
        """
        if self.changed and not self.volumes:
            raise ValueError("a correction that changed something must give its volumes")
        if not self.changed and (not self.reason or self.volumes):
            raise ValueError("a correction without change must give a reason and no volumes")
        if self.adapted_weights_sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.adapted_weights_sha256):
            raise ValueError("adapted_weights_sha256 must be 64 lower-case hex digits, or empty")


class Corrector(Protocol):
    """A loaded corrector: keeps its network warm between calls."""

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        """Correct one input set.

        Args:
            inputs: one volume for each role of the spec, in the units and axes asked for. Must not be altered.

        Returns:
            The outcome.

        Raises:
            dicom_node.contracts.CorrectionRefused: the input must not be touched; the message says why.
        """
        ...


class CorrectorFactory(Protocol):
    """The callable named by `CorrectorSpec.factory`."""

    def __call__(
        self, *, method: str, weights: Path | None, device: str, parameters: Mapping[str, ParameterValue]
    ) -> Corrector:
        """Build a corrector.

        Args:
            method: one of the spec's methods.
            weights: directory of the verified weights package, None for methods without weights.
            device: `auto` (CUDA where there is one, else CPU), `cpu` or `cuda[:n]`.
            parameters: every parameter of the spec, validated, defaults filled in.
        """
        ...
