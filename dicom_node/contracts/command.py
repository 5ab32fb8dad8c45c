"""What the host hands to commands and demo studies that science contributes through entry points."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from dicom_node.contracts.corrector import Corrector
from dicom_node.contracts.spec import CorrectorSpec, ParameterValue
from dicom_node.contracts.volume import TagValue, Volume

NO_PARAMETERS: Mapping[str, ParameterValue] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class ReadImage:
    """A volume read from files, and a handle to write another one like it.

    Attributes:
        volume: the voxels, with every tag in `tags` that was asked for.
        template: opaque token; give it to `CommandContext.write` to keep this series' headers.
        label: a name for tables that holds no patient data (a digest of the Series Instance UID).
        patient: opaque digest, equal for images of one patient as far as the headers tell.
    """

    volume: Volume
    template: object
    label: str
    patient: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Something below a data folder that is not used.

    Attributes:
        what: file or Series Instance UID.
        reason: why, without patient data.
    """

    what: str
    reason: str


@dataclass(frozen=True, eq=False)
class FoundImage:
    """A series that can probably be loaded; its pixels are not read yet.

    Attributes:
        label: a name for tables that holds no patient data.
        patient: opaque digest, equal for images of one patient as far as the headers tell.
        modality: DICOM Modality; empty for NIfTI, which does not tell.
        frames: number of 2-D frames as far as the headers tell.
        names: file names (members of a ZIP as `archive.zip!member`), relative to the input that they were found
            under; for mapping files to patients where headers do not tell. Not for logs.
        handle: opaque token for `CommandContext.load`.
    """

    label: str
    patient: str
    modality: str
    frames: int
    names: tuple[str, ...]
    handle: object


@dataclass(frozen=True)
class FoundImages:
    """What lies below some inputs: series, and what was left out with the reason."""

    images: tuple[FoundImage, ...]
    left_out: tuple[LeftOut, ...]


class CommandContext(Protocol):
    """The node's own reader, writer and plugin loader, for code that must not import the host.

    Reached through the entry-point groups `dicom_node.commands` and `dicom_node.demo_studies`.
    """

    def find(self, inputs: Sequence[Path], *, modality: str | None = None) -> FoundImages:
        """Look for series of DICOM files, folders and ZIPs, and for NIfTI files (`.nii`, `.nii.gz`).

        Args:
            inputs: files, folders, ZIPs.
            modality: only series of this one (a NIfTI file counts as it); CT and MR when None.

        Raises:
            dicom_node.errors.RequestError: an input does not exist.
        """
        ...

    def load(self, found: FoundImage, *, tags: Sequence[str] = (), modality: str | None = None) -> ReadImage:
        """Read one series that `find` found.

        Args:
            found: what to read.
            tags: keywords carried in the volume where present.
            modality: what a NIfTI file holds, `CT` (values are HU) or `MR`; MR when None.

        Raises:
            dicom_node.errors.InputError: it cannot become a volume; the message says why.
        """
        ...

    def read(self, inputs: Sequence[Path], *, modality: str | None = None, tags: Sequence[str] = ()) -> list[ReadImage]:
        """Read every usable series of files, folders and ZIPs (DICOM or NIfTI) as volumes.

        Raises:
            dicom_node.errors.InputError: nothing usable; the message says why for each series.
        """
        ...

    def read_roles(self, inputs: Sequence[Path], corrector: str) -> list[Mapping[str, ReadImage]]:
        """Read input sets of a corrector: the roles are found from the headers, as `dicom-node correct` does.

        Raises:
            dicom_node.errors.InputError: nothing that the corrector takes; the message says why.
            dicom_node.errors.RequestError: the corrector is not installed.
        """
        ...

    def write(
        self,
        volume: Volume,
        folder: Path,
        *,
        like: object | None = None,
        tags: Mapping[str, TagValue] | None = None,
        seed: int = 0,
    ) -> list[Path]:
        """Write a volume as a new original DICOM series (one file for each slice).

        Args:
            volume: what to write; its geometry must be that of `like` when that is given.
            folder: made when missing.
            like: a `ReadImage.template`, whose headers are kept apart from UIDs and pixels; None makes a
                synthetic patient.
            tags: header values to set, by keyword.
            seed: seeds the new UIDs: the same call gives the same UIDs.
        """
        ...

    def spec(self, corrector: str) -> CorrectorSpec:
        """Spec of an installed corrector.

        Raises:
            dicom_node.errors.RequestError: it is not installed; the message says which are.
        """
        ...

    def build(
        self,
        corrector: str,
        method: str,
        *,
        device: str = "auto",
        parameters: Mapping[str, ParameterValue] = NO_PARAMETERS,
        weights: Path | None = None,
    ) -> Corrector:
        """Build a corrector as the node's worker does: weights are verified first.

        Args:
            corrector: name of an installed corrector.
            method: one of its methods.
            device: `auto`, `cpu` or `cuda[:n]`.
            parameters: parameters that differ from their defaults.
            weights: folder of another weights package than the installed one.

        Raises:
            dicom_node.errors.RequestError: no such corrector, method or parameter.
            dicom_node.errors.PluginError: it cannot be built.
            dicom_node.errors.WeightsError: the package is missing, altered or of another architecture.
        """
        ...


Advance = Callable[[str, int, int], None]
"""Told (what, done, total); a total of 0 means unknown."""


class CommandOutput(Protocol):
    """Where a command's result goes: text for people, or one JSON document for machines. Progress goes to stderr."""

    @property
    def as_json(self) -> bool:
        """Whether `--json` was given."""
        ...

    def document(self, value: object) -> None:
        """Print a JSON document, when asked for JSON."""
        ...

    def line(self, text: str) -> None:
        """Print a line for people."""
        ...

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for people."""
        ...

    def progress(self) -> AbstractContextManager[Advance]:
        """Bars on a terminal, nothing elsewhere."""
        ...


@dataclass(frozen=True)
class CommandSpec:
    """A command that a package adds to `dicom-node`, behind an entry point of the group `dicom_node.commands`.

    The module that holds it is imported whenever the commands are listed, so it must be light: no torch.

    Attributes:
        name: as typed after `dicom-node`; must equal the entry point's name.
        summary: one sentence for `dicom-node --help`.
        configure: adds the command's arguments to a parser; `--json` is there already (`arguments.as_json`).
        run: `module:callable` of a `CommandRunner`, imported when the command runs.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: str


class CommandRunner(Protocol):
    """The callable named by `CommandSpec.run`."""

    def __call__(self, context: CommandContext, arguments: argparse.Namespace, output: CommandOutput) -> None:
        """Run the command.

        Raises:
            dicom_node.errors.RequestError: the request was wrong: exit status 2.
            dicom_node.errors.NodeError: the work failed: exit status 1.
        """
        ...


@dataclass(frozen=True)
class DemoStudy:
    """A study for `dicom-node demo`.

    Attributes:
        title: what it is and where it came from, for the user.
        artefact: folder with the DICOM series that is pushed.
        truth: folder with the same series without artefact, None where unknown.
        metal_hu: voxels at or above this in the truth-with-metal are left out of the error [HU].
    """

    title: str
    artefact: Path
    truth: Path | None
    metal_hu: float


class DemoStudyMaker(Protocol):
    """The callable behind an entry point of the group `dicom_node.demo_studies`."""

    def __call__(self, context: CommandContext, folder: Path, *, data: Path | None, seed: int) -> DemoStudy:
        """Make the study in `folder`, from real images under `data` where given, else a synthetic one."""
        ...
