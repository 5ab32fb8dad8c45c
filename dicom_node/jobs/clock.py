"""When the clock was set back: leases and waits end after as long as was meant, not when the clock has caught up."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Table, or_, update

MARGIN_S: Final = 10.0
"""The clocks of nodes that share a ledger may differ by this much [s]."""


def calm_clock(tx: Connection, table: Table, now: float, *, waiting: str, leased: str, longest_wait_s: float) -> None:
    """Bring rows back whose times lie further ahead than a clock that only goes forward could have put them.

    What waits becomes due at once. A lease lasts for its own length from now; its holder's next heartbeat renews it.

    Args:
        tx: write transaction.
        table: `jobs` or `deliveries`.
        now: UTC [s].
        waiting: the state that waits for `not_before`.
        leased: the state that lasts until `expires_at`.
        longest_wait_s: no wait is meant to be longer [s].
    """
    row = table.c
    written_ahead = row.updated_at > now + MARGIN_S
    too_long = row.not_before > now + longest_wait_s + MARGIN_S
    tx.execute(
        update(table)
        .where(row.state == waiting, row.not_before > now, or_(written_ahead, too_long))
        .values(not_before=now, updated_at=now)
    )
    tx.execute(
        update(table)
        .where(row.state == leased, written_ahead)
        .values(expires_at=now + row.expires_at - row.updated_at, updated_at=now)
    )
