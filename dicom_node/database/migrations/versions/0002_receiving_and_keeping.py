"""Journals of the receivers, instances that retention takes away, notices that were sent.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "journals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("absorbed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_journals"),
    )
    op.create_table(
        "notices",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.Double(), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_notices"),
    )
    op.create_table(
        "peers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unreachable_since", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_peers"),
    )
    op.add_column("instances", sa.Column("leaving_since", sa.Double(), nullable=True))
    op.create_index("ix_instances_leaving_since", "instances", ["leaving_since"], unique=False)
    op.create_index("ix_instances_received_at", "instances", ["received_at"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("an older program cannot read what a newer one wrote; restore the backup instead")
