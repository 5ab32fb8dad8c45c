"""Headers as routing sees them: plain values, no DICOM library types."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from dicom_node.contracts.spec import ParameterValue
from dicom_node.contracts.volume import TagValue


@dataclass(frozen=True, order=True)
class FileRef:
    """Where the bytes of one instance lie: a file, or a member of a ZIP.

    Attributes:
        path: the file, or the ZIP.
        member: name inside the ZIP, None for a plain file.
    """

    path: Path
    member: str | None = None

    def open(self) -> BinaryIO:
        """Open for reading; the caller closes it."""
        if self.member is None:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))

    def __str__(self) -> str:
        """`path` or `path!member`."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"


@dataclass(frozen=True)
class InstanceHeader:
    """The header of one SOP instance.

    Attributes:
        sop_instance_uid, sop_class_uid, series_instance_uid, study_instance_uid, transfer_syntax_uid: as in the file.
        patient_key: opaque digest that is equal for instances of one patient; never shown with patient data.
        tags: values by keyword; nested code values as `AnatomicRegionSequence.CodeMeaning`; private ones as
            `0043,GEMS_PARM_01,34` (group, creator, element byte; hex in lower case). Bulk and pixel data are left out.
        file: where the bytes lie.
        sha256: digest of the whole file, lower-case hex.
        own_output: True for an instance that this node (any installation) derived; such is never an input.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    patient_key: str
    tags: Mapping[str, TagValue]
    file: FileRef
    sha256: str
    own_output: bool = False

    def get(self, keyword: str) -> TagValue | None:
        """Value of a tag, None when absent or empty."""
        return self.tags.get(keyword)


@dataclass(frozen=True)
class SeriesView:
    """All known instances of one series, in no particular order."""

    study_instance_uid: str
    series_instance_uid: str
    patient_key: str
    instances: tuple[InstanceHeader, ...]

    @cached_property
    def modality(self) -> str:
        """DICOM Modality, empty when absent."""
        return str(self.instances[0].get("Modality") or "")

    def values(self, keyword: str) -> tuple[TagValue, ...]:
        """Distinct values of a tag over the instances, in order of first appearance; absent ones are left out."""
        return tuple(dict.fromkeys(v for i in self.instances if (v := i.get(keyword)) is not None))


@dataclass(frozen=True)
class RoleInstance:
    """One instance in a role, with what the rule captured for it (e.g. `polarity`, `bin`)."""

    header: InstanceHeader
    captures: Mapping[str, str]


@dataclass(frozen=True)
class InputSet:
    """What one job works on: the instances of each role, and how to correct them.

    Attributes:
        route: name of the rule that took it.
        corrector: corrector name.
        method: method name, None for the corrector's default.
        parameters: route parameters, not yet validated against the spec.
        send_to: peer names.
        roles: instances by role.
    """

    route: str
    corrector: str
    method: str | None
    parameters: Mapping[str, ParameterValue]
    send_to: tuple[str, ...]
    roles: Mapping[str, tuple[RoleInstance, ...]]
