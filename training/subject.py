"""What training knows of one corrector: how its artefacts are simulated, and on which scale results are judged.

Found through the entry-point group `dicom_node.training`, so that a corrector of somebody else can be trained,
simulated and evaluated by the same commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from dicom_node.contracts import BoolArray, TagValue, Units, Volume
from dicom_node.errors import PluginError, RequestError
from training.lesions import LesionTwin

GROUP = "dicom_node.training"


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """One simulated acquisition and its truth, by role.

    Attributes:
        artefact: what the scanner would have sent, one volume for each role of the corrector.
        truth: the same without artefact, for the roles that are judged; same geometry as the artefact's, axes of what a
            correction gives (a corrector that combines spectral bins takes bzyx and is judged in zyx).
        excluded: bool (z, y, x) for each judged role: voxels that are not judged (metal and a margin, padding).
        slices: indices of the slices that hold an artefact; only these are judged.
        description: what was simulated, in a few words.
        floor: for judged roles, the same acquisition without what causes the artefact: its error is noise. Empty where
            it is not known.
        twin: the same case without its lesions; None where there are none.
        references: images that no method could make (of an oracle that knows the field), by name and judged role; shape
            of the truth. Shown beside the methods where every case has them.
        regions: bool (z, y, x) by name, `near` or `far`, and judged role: where the figures by region are taken.
    """

    artefact: Mapping[str, Volume]
    truth: Mapping[str, Volume]
    excluded: Mapping[str, BoolArray]
    slices: tuple[int, ...]
    description: str
    floor: Mapping[str, Volume] = field(default_factory=dict)
    twin: LesionTwin | None = None
    references: Mapping[str, Mapping[str, Volume]] = field(default_factory=dict)
    regions: Mapping[str, Mapping[str, BoolArray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """On which scale images of one role are judged and shown.

    Attributes:
        units: physical units of the values.
        judged: values are clipped to this range before PSNR and SSIM; its width is their data range.
        shown: display window of pictures.
        difference: display window of difference pictures is minus to plus this.
    """

    units: Units
    judged: tuple[float, float]
    shown: tuple[float, float]
    difference: float


class Subject(Protocol):
    """The training side of one corrector."""

    @property
    def corrector(self) -> str:
        """Name of the corrector."""
        ...

    @property
    def scenarios(self) -> Mapping[str, str]:
        """Ways to simulate: name to one sentence; the first is the default."""
        ...

    @property
    def scales(self) -> Mapping[str, Scale]:
        """Scale by judged role."""
        ...

    @property
    def routing_tags(self) -> Mapping[str, TagValue]:
        """Header values that a simulated series is written with, so that it routes to the corrector."""
        ...

    @property
    def role_tags(self) -> Mapping[str, Mapping[str, TagValue]]:
        """Header values of an artefact's series by role, on top of `routing_tags`; empty where roles need none.

        The truth has none: it is no input.
        """
        ...

    @property
    def baseline(self) -> str | None:
        """Method whose figures by region those of the others are divided by; None for no such table."""
        ...

    @property
    def default_recipe(self) -> Path:
        """Recipe that `dicom-node train` takes when none is named."""
        ...

    def procedural(self, seed: int) -> Mapping[str, Volume]:
        """A clean patient made by the package, by role; each seed is another one."""
        ...

    def clean(self, image: Volume) -> Mapping[str, Volume]:
        """A real image as clean input of `simulate`.

        Raises:
            dicom_node.errors.UnusableSeries: it cannot serve (no hip in it, metal in it, another plane...).
        """
        ...

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        """Simulate an acquisition with artefacts; the same arguments give the same voxels."""
        ...

    def shown(self, artefact: Mapping[str, Volume]) -> Mapping[str, Volume]:
        """What a viewer would show of an input set that nobody corrected.

        Args:
            artefact: the input set.

        Returns:
            One volume for each judged role, with the truth's axes: the input itself, or its spectral bins combined.
        """
        ...

    def judge(self, artefact: Mapping[str, Volume], truth: Mapping[str, Volume]) -> SimulatedCase:
        """Exclusions and slices of a given pair, where nothing but the images is known."""
        ...


def subject_of(corrector: str) -> Subject:
    """The training side of an installed corrector.

    Raises:
        RequestError: there is none; says for which there is.
        PluginError: it cannot be imported.
    """
    offers = {entry.name: entry for entry in entry_points(group=GROUP)}
    if corrector not in offers:
        known = ", ".join(sorted(offers)) or "none"
        raise RequestError(f"{corrector!r} cannot be trained, simulated or evaluated here; there is: {known}")
    try:
        subject: Subject = offers[corrector].load()
    except ImportError as error:
        raise PluginError(f"the training side of {corrector} cannot be imported: {error}") from error
    return subject


def scenario_of(subject: Subject, name: str | None) -> str:
    """The scenario of that name, the default one for None.

    Raises:
        RequestError: there is none of that name.
    """
    scenario = next(iter(subject.scenarios)) if name is None else name
    if scenario not in subject.scenarios:
        known = ", ".join(subject.scenarios)
        raise RequestError(f"{subject.corrector} has no scenario {scenario!r}; there is: {known}")
    return scenario
