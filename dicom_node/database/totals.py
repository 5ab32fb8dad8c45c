"""How many rows there are, kept by triggers: /metrics is asked each few seconds, and must not count a million rows.

Triggers, and not the statements themselves, because every way in and out counts: cascades, migrations, repairs.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, Text, delete, func, select

from dicom_node.database.metadata import metadata
from dicom_node.database.statements import insert

_FEW_WRITERS = 16
_TABLES = {"job": "jobs", "delivery": "deliveries", "quarantined": "quarantine"}
"""Tables whose counts have another name than they."""

totals = Table(
    "totals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
)
"""The count of a name is the sum over its writers.

On PostgreSQL each connection adds to a row of its own (its process number), so that two transactions never wait for
each other over a counter. SQLite has one writer at a time, and one row.
"""


def read_totals(tx: Connection) -> Mapping[str, int]:
    """Every count by name, e.g. `instances`, `job:DELIVERED`; a name that was never counted is absent."""
    rows = tx.execute(select(totals.c.name, func.sum(totals.c.amount)).group_by(totals.c.name))
    return {name: int(amount) for name, amount in rows}


def fold_totals(tx: Connection) -> int:
    """Add the rows of many connections up into one for each name; returns how many went.

    Rows that a running transaction holds stay for the next time, so this waits for nobody.
    """
    row = totals.c
    names = select(func.count(func.distinct(row.writer)))
    if tx.execute(names).scalar_one() <= _FEW_WRITERS:
        return 0
    theirs = select(row.name, row.writer).where(row.writer != 0).with_for_update(skip_locked=True)
    held = tx.execute(theirs).all()
    for name, writer in held:
        gone = delete(totals).where(row.name == name, row.writer == writer).returning(row.amount)
        added = insert(tx, totals).values(name=name, writer=0, amount=tx.execute(gone).scalar_one())
        tx.execute(
            added.on_conflict_do_update(
                index_elements=["name", "writer"], set_={"amount": row.amount + added.excluded.amount}
            )
        )
    return len(held)


def recount(tx: Connection) -> None:
    """Count everything afresh; while nothing else writes.

    Args:
        tx: write transaction.
    """
    found: dict[str, int] = {}
    for name in list(read_totals(tx)):
        table, _, state = name.partition(":")
        rows = metadata.tables[_TABLES.get(table, table)]
        count = select(func.count()).select_from(rows)
        found[name] = tx.execute(count.where(rows.c.state == state) if state else count).scalar_one()
    tx.execute(delete(totals))
    if found:
        tx.execute(totals.insert(), [{"name": name, "writer": 0, "amount": amount} for name, amount in found.items()])
