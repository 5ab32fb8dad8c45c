"""What passes between receiver, intake and index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


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
class Settled:
    """A patient whose images have come to rest since they were last routed."""

    patient_key: str
    generation: int
