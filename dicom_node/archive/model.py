"""What passes between receiver, intake and index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_node.contracts.headers import InstanceHeader


@dataclass(frozen=True)
class Received:
    """A whole, fsynced file in the spool.

    Attributes:
        id: row number, 0 while not yet stored.
        path: the file.
        association_id: who sent it.
        received_at: UTC [s].
    """

    id: int
    path: Path
    association_id: str
    received_at: float


class Filing(StrEnum):
    """What became of a received instance."""

    NEW = "NEW"
    """First of its SOP Instance UID."""
    DUPLICATE = "DUPLICATE"
    """Byte for byte known already."""
    CONFLICT = "CONFLICT"
    """Same SOP Instance UID, other bytes: the first is kept."""


@dataclass(frozen=True)
class Arrival:
    """A received file whose header was read; `header.file` is its place in the archive."""

    received: Received
    header: InstanceHeader


@dataclass(frozen=True)
class Quarantined:
    """A received file that cannot be filed: where it lies, and why. Its number is 0 when it has no row."""

    received: Received
    path: Path
    reason: str


@dataclass(frozen=True)
class Settled:
    """A patient whose images have come to rest since they were last routed."""

    patient_key: str
    generation: int


@dataclass(frozen=True)
class AssociationOpened:
    """An association is about to have its first instance acknowledged."""

    id: str
    calling_ae: str
    called_ae: str
    address: str
    at: float


@dataclass(frozen=True)
class InstanceReceived:
    """A whole, fsynced file in the spool, acknowledged once this entry is durable.

    Attributes:
        association_id: who sent it.
        file: its name in `spool/files`.
        sop_instance_uid: as the C-STORE request says.
        size: of the file [bytes].
        at: UTC [s].
    """

    association_id: str
    file: str
    sop_instance_uid: str
    size: int
    at: float


@dataclass(frozen=True)
class AssociationClosed:
    """An association is over: `released`, `aborted` or `lost`."""

    id: str
    how: str
    at: float


Entry = AssociationOpened | InstanceReceived | AssociationClosed
"""What a receiver writes into its journal."""
