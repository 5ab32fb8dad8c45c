"""What the host hands to commands and demo studies that science contributes through entry points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_node.contracts.volume import TagValue, Volume


@dataclass(frozen=True, eq=False)
class ReadImage:
    """A volume read from files, and a handle to write another one like it.

    Attributes:
        volume: the voxels, with every tag in `tags` that was asked for.
        template: opaque token; give it to `CommandContext.write` to keep this series' headers.
        label: a name for tables that holds no patient data (a digest of the Series Instance UID).
    """

    volume: Volume
    template: object
    label: str


class CommandContext(Protocol):
    """The node's own reader and writer, for code that must not import the host.

    Reached through the entry-point groups `dicom_node.commands` (later issues) and `dicom_node.demo_studies`.
    """

    def read(self, inputs: Sequence[Path], *, modality: str | None = None, tags: Sequence[str] = ()) -> list[ReadImage]:
        """Read every usable series of files, folders and ZIPs (DICOM) as volumes.

        Raises:
            dicom_node.errors.InputError: nothing usable; the message says why for each series.
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
