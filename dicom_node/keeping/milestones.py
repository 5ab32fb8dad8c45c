"""When retention and repair last ran, and what they did: for `dicom-node status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from dicom_node.archive import tables as t
from dicom_node.database.statements import insert
from dicom_node.database.values import dump, load

RETENTION: Final = "retention"
REPAIR: Final = "repair"


@dataclass(frozen=True)
class Milestone:
    """The last time that something was done.

    Attributes:
        at: UTC [s].
        document: what came of it: counts by name.
    """

    at: float
    document: Mapping[str, object]


def note(tx: Connection, name: str, now: float, document: Mapping[str, object]) -> None:
    """Write down that it was done; the time before is forgotten."""
    row = insert(tx, t.milestones).values(name=name, at=now, document=dump(dict(document)))
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["name"], set_={"at": row.excluded.at, "document": row.excluded.document}
        )
    )


def read(tx: Connection, name: str) -> Milestone | None:
    """The last time, None when it was never done."""
    found = tx.execute(select(t.milestones).where(t.milestones.c.name == name)).one_or_none()
    return None if found is None else Milestone(found.at, load(found.document))
