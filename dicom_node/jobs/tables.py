"""Tables of the job ledger."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from dicom_node.database import metadata

_Serial = BigInteger().with_variant(Integer, "sqlite")
_UID = Text()
_DIGEST = Text()

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("supersedes", String(32)),
    Column("route", Text, nullable=False),
    Column("corrector", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("set_key", _DIGEST, nullable=False),
    Column("input_digest", _DIGEST, nullable=False),
    Column("recipe", _DIGEST, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("setbacks", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("owner", Text),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Double),
    Column("derived_token", BigInteger),
    Column("error", Text),
    Column("error_code", String(64)),
    Column("reason", Text),
    UniqueConstraint("set_key", "version"),
    UniqueConstraint("set_key", "input_digest", "recipe"),
    Index(None, "state", "not_before", "seq"),
    Index(None, "state", "seq"),
)
"""One row a job, kept narrow because each heartbeat rewrites it.

attempts, setbacks and lost count failures that are charged, that lie around the job, and workers that died over it.
derived_token is the fencing token under which the present outputs were made.
"""

job_documents = Table(
    "job_documents",
    metadata,
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("parameters", Text, nullable=False),
    Column("send_to", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("outputs", Text, nullable=False),
    Column("warnings", Text, nullable=False),
    Column("metrics", Text, nullable=False),
)
"""The wide parts of a job, as JSON."""

job_series = Table(
    "job_series",
    metadata,
    Column("series_instance_uid", _UID, primary_key=True),
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "job_id"),
)
"""Which jobs work on a series: as long as one of them is not done with it, its study stays."""

job_events = Table(
    "job_events",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("peer", Text),
    Column("origin", String(16)),
    Column("target", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Index(None, "job_id", "id"),
)
"""The audit trail."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("job_id", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("derived_token", BigInteger, nullable=False),
    Column("peer", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("setbacks", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("owner", Text),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", Double),
    Column("error", Text),
    Column("error_code", String(64)),
    Column("verified", Text),
    UniqueConstraint("job_id", "derived_token", "peer"),
    Index(None, "state", "not_before", "id"),
)
"""One row for each derivation and peer; rows of an earlier derivation stay as history."""

delivery_instances = Table(
    "delivery_instances",
    metadata,
    Column("delivery_id", _Serial, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("sop_instance_uid", _UID, primary_key=True),
    Column("status", Integer, nullable=False),
    Column("sent_at", Double, nullable=False),
)
"""The peer's last answer for each instance."""

peers = Table(
    "peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("unreachable_since", Double),
)
"""Since when a peer has taken nothing of what waits for it; NULL, or no row, while it does."""
