"""What retention, repair and status ask of a million rows: studies, series of jobs, counts kept by triggers.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTED = {"instances": "instances", "series": "series", "patients": "patients", "quarantine": "quarantined"}
"""Counted tables, and the names of their counts."""
_STATED = {"jobs": "job", "deliveries": "delivery"}
"""Tables whose rows are counted by state, and how the names of their counts begin."""
_STATES = {
    "jobs": ("QUEUED", "LEASED", "DERIVED", "DELIVERED", "UNCHANGED", "REFUSED", "DEAD", "CANCELLED"),
    "deliveries": ("PENDING", "LEASED", "DONE", "DEAD", "CANCELLED"),
}


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("patient_key", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("last_arrival", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["patient_key"], ["patients.patient_key"], name="fk_studies_patient_key"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("patient_key", "study_instance_uid", name="uq_studies_patient_key_study_instance_uid"),
    )
    op.create_index("ix_studies_last_arrival_id", "studies", ["last_arrival", "id"], unique=False)
    op.create_table(
        "job_series",
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_series_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("series_instance_uid", "job_id", name="pk_job_series"),
    )
    op.create_index("ix_job_series_job_id", "job_series", ["job_id"], unique=False)
    op.create_table(
        "milestones",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_milestones"),
    )
    op.create_table(
        "totals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("writer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "writer", name="pk_totals"),
    )
    op.create_index("ix_series_patient_key_study_instance_uid", "series", ["patient_key", "study_instance_uid"])
    _number_quarantine_once()
    op.create_index("ix_quarantine_quarantined_at", "quarantine", ["quarantined_at"])
    # An index of every row for the few that are leaving would cost each filing a page.
    op.drop_index("ix_instances_leaving_since", "instances")
    leaving = sa.text("leaving_since IS NOT NULL")
    op.create_index(
        "ix_instances_leaving_since", "instances", ["leaving_since"], sqlite_where=leaving, postgresql_where=leaving
    )
    op.drop_index("ix_instances_received_at", "instances")
    connection = op.get_bind()
    _fill_studies(connection)
    _fill_job_series(connection)
    _fill_totals(connection)
    statements = _for_sqlite() if connection.dialect.name == "sqlite" else _for_postgresql()
    for statement in statements:
        connection.exec_driver_sql(statement)


def _number_quarantine_once() -> None:
    """SQLite gives the number of a deleted last row to the next one, and notices are told by number."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.rename_table("quarantine", "quarantine_before")
    op.create_table(
        "quarantine",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("association_id", sa.String(length=32), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("quarantined_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sqlite_autoincrement=True,
    )
    op.get_bind().exec_driver_sql("INSERT INTO quarantine SELECT * FROM quarantine_before")
    op.drop_table("quarantine_before")


def _fill_studies(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "INSERT INTO studies (patient_key, study_instance_uid, last_arrival) "
        "SELECT patient_key, study_instance_uid, max(received_at) FROM instances "
        "GROUP BY patient_key, study_instance_uid"
    )


def _fill_job_series(connection: sa.Connection) -> None:
    after = ""
    page = sa.text("SELECT job_id, inputs FROM job_documents WHERE job_id > :after ORDER BY job_id LIMIT 200")
    link = sa.text("INSERT INTO job_series (series_instance_uid, job_id) VALUES (:series, :job)")
    while rows := connection.execute(page, {"after": after}).all():
        links = [
            {"series": uid, "job": row.job_id} for row in rows for uid in sorted({i[2] for i in json.loads(row.inputs)})
        ]
        if links:
            connection.execute(link, links)
        after = rows[-1].job_id


def _fill_totals(connection: sa.Connection) -> None:
    counts = {name: f"SELECT count(*) FROM {table}" for table, name in _COUNTED.items()}  # noqa: S608
    for table, prefix in _STATED.items():
        for state in _STATES[table]:
            counts[f"{prefix}:{state}"] = f"SELECT count(*) FROM {table} WHERE state = '{state}'"  # noqa: S608
    for name, count in counts.items():
        connection.exec_driver_sql(f"INSERT INTO totals (name, writer, amount) VALUES ('{name}', 0, ({count}))")  # noqa: S608


def _for_sqlite() -> list[str]:
    """Plain updates of rows that are there: in a trigger the conflict clause of the outer statement would rule."""
    made = []
    for table, name in _COUNTED.items():
        made += [
            _sqlite(table, "insert", "INSERT", [(name, "+ 1")]),
            _sqlite(table, "delete", "DELETE", [(name, "- 1")]),
        ]
    for table, prefix in _STATED.items():
        new, old = (f"' || {row}.state || '" for row in ("NEW", "OLD"))
        made += [
            _sqlite(table, "insert", "INSERT", [(f"{prefix}:{new}", "+ 1")]),
            _sqlite(table, "delete", "DELETE", [(f"{prefix}:{old}", "- 1")]),
            _sqlite(table, "state", "UPDATE OF state", [(f"{prefix}:{new}", "+ 1"), (f"{prefix}:{old}", "- 1")]),
        ]
    return made


def _sqlite(table: str, what: str, event: str, changes: list[tuple[str, str]]) -> str:
    update = "UPDATE totals SET amount = amount {by} WHERE name = '{name}' AND writer = 0;"
    body = " ".join(update.format(by=by, name=name) for name, by in changes)
    return f"CREATE TRIGGER totals_{table}_{what} AFTER {event} ON {table} BEGIN {body} END"


def _for_postgresql() -> list[str]:
    """One addition for each statement: a transaction that files many images must not write a counter for each."""
    made = [
        """
        CREATE FUNCTION totals_add(counted text, by bigint) RETURNS void LANGUAGE sql AS $$
            INSERT INTO totals AS t (name, writer, amount) VALUES (counted, pg_backend_pid(), by)
            ON CONFLICT (name, writer) DO UPDATE SET amount = t.amount + excluded.amount
        $$""",
        """
        CREATE FUNCTION totals_rows() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE found bigint := (SELECT count(*) FROM changed);
        BEGIN
            IF found > 0 THEN
                PERFORM totals_add(TG_ARGV[0], CASE TG_OP WHEN 'INSERT' THEN found ELSE -found END);
            END IF;
            RETURN NULL;
        END $$""",
        """
        CREATE FUNCTION totals_states() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE one record;
        BEGIN
            FOR one IN SELECT state, count(*) AS found FROM changed GROUP BY state ORDER BY state LOOP
                PERFORM totals_add(
                    TG_ARGV[0] || ':' || one.state, CASE TG_OP WHEN 'INSERT' THEN one.found ELSE -one.found END
                );
            END LOOP;
            RETURN NULL;
        END $$""",
        """
        CREATE FUNCTION totals_state() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM totals_add(TG_ARGV[0] || ':' || OLD.state, -1);
            PERFORM totals_add(TG_ARGV[0] || ':' || NEW.state, 1);
            RETURN NULL;
        END $$""",
    ]
    for table, name in _COUNTED.items():
        made += _on_statements(table, "totals_rows", name)
    for table, prefix in _STATED.items():
        made += [
            *_on_statements(table, "totals_states", prefix),
            f"CREATE TRIGGER totals_{table}_state AFTER UPDATE OF state ON {table} FOR EACH ROW "
            f"WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION totals_state('{prefix}')",
        ]
    return made


def _on_statements(table: str, function: str, argument: str) -> list[str]:
    return [
        f"CREATE TRIGGER totals_{table}_{event.lower()} AFTER {event} ON {table} REFERENCING {rows} TABLE AS changed "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}('{argument}')"
        for event, rows in (("INSERT", "NEW"), ("DELETE", "OLD"))
    ]


def downgrade() -> None:
    raise NotImplementedError("an older program cannot read what a newer one wrote; restore the backup instead")
