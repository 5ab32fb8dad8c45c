"""The node's reader and writer, for commands and demo studies that science contributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_node.contracts.command import FoundImage, FoundImages, ReadImage
from dicom_node.contracts.volume import TagValue, Volume
from dicom_node.dicom.found_images import find_images, listed, load_image
from dicom_node.dicom.new_series import write_series
from dicom_node.errors import InputError


class DicomCommandContext:
    """The part of `dicom_node.contracts.CommandContext` that reads and writes images. Holds nothing."""

    def find(self, inputs: Sequence[Path], *, modality: str | None = None) -> FoundImages:
        """Look for CT and MR series of DICOM files, folders and ZIPs, and for NIfTI files; no pixel is decoded.

        Raises:
            RequestError: an input does not exist, or a modality that is neither CT nor MR.
            StorageFailed: the disk failed.
        """
        return find_images(inputs, modality)

    def load(self, found: FoundImage, *, tags: Sequence[str] = (), modality: str | None = None) -> ReadImage:
        """Read one series that `find` found.

        Raises:
            InputError: it cannot become a volume; the message says why.
            RequestError: tags that tell who the patient is, or a modality that is neither CT nor MR.
            StorageFailed: the disk failed.
        """
        return load_image(found, tags, modality)

    def read(self, inputs: Sequence[Path], *, modality: str | None = None, tags: Sequence[str] = ()) -> list[ReadImage]:
        """Read every usable series as a volume, in the order of `find`.

        Derived series of this node are read too: looking at them is no correction.

        Args:
            inputs: files, folders, ZIPs.
            modality: only series of this one; CT and MR when None. Of a NIfTI file its values are taken as of this
                one, as MR when None.
            tags: keywords carried in the volumes where present.

        Raises:
            InputError: nothing usable; the message says why for each series.
        """
        found = find_images(inputs, modality)
        reasons = [f"{left.what}: {left.reason}" for left in found.left_out]
        images: list[ReadImage] = []
        for item in found.images:
            try:
                images.append(load_image(item, tags, modality))
            except InputError as error:
                reasons.append(str(error))
        if not images:
            raise InputError("nothing usable was found: " + (listed(reasons) or "no DICOM or NIfTI files"))
        return images

    def write(
        self,
        volume: Volume,
        folder: Path,
        *,
        like: object | None = None,
        tags: Mapping[str, TagValue] | None = None,
        seed: int = 0,
    ) -> list[Path]:
        """Write a volume as a new original series; see `new_series.write_series`.

        Raises:
            RequestError: unknown tags, units that are neither CT's nor MR's, or a volume that does not fit `like`.
            StorageFull, StorageFailed: the disk refuses.
        """
        return write_series(volume, folder, like=like, tags=tags, seed=seed)
