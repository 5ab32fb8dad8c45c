"""Tables of the archive's index."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from dicom_node.database import metadata

_Serial = BigInteger().with_variant(Integer, "sqlite")
_UID = Text()
_DIGEST = Text()
_leaving_since = Column("leaving_since", Double)
_IS_LEAVING = _leaving_since.is_not(None)

associations = Table(
    "associations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("calling_ae", Text, nullable=False),
    Column("called_ae", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("how", String(16)),
    Index(None, "closed_at", "receiver"),
)
"""Who connected; closed_at is NULL while the association is open."""

received = Table(
    "received",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False),
    Column("association_id", String(32), nullable=False),
    Column("received_at", Double, nullable=False),
    Index(None, "received_at"),
    sqlite_autoincrement=True,
)
"""Files that were acknowledged and are not yet filed: a row leaves when its file is in archive or quarantine."""

patients = Table(
    "patients",
    metadata,
    Column("patient_key", _DIGEST, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("routed_generation", BigInteger, nullable=False),
    Column("last_arrival", Double, nullable=False),
    Column("waiting_since", Double),
    Index(None, "waiting_since"),
)
"""generation counts new instances. waiting_since is last_arrival while generation > routed_generation, else NULL."""

series = Table(
    "series",
    metadata,
    Column("series_instance_uid", _UID, primary_key=True),
    Column("patient_key", _DIGEST, ForeignKey("patients.patient_key"), primary_key=True),
    Column("study_instance_uid", _UID, primary_key=True),
    Column("instances", Integer, nullable=False),
    Index(None, "patient_key", "study_instance_uid"),
)
"""One row a series, with the number of its instances."""

studies = Table(
    "studies",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("patient_key", _DIGEST, ForeignKey("patients.patient_key"), nullable=False),
    Column("study_instance_uid", _UID, nullable=False),
    Column("last_arrival", Double, nullable=False),
    UniqueConstraint("patient_key", "study_instance_uid"),
    Index(None, "last_arrival", "id"),
)
"""What retention keeps or takes away as a whole. last_arrival counts images that were known already, too."""

instances = Table(
    "instances",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", _UID, nullable=False, unique=True),
    Column("sop_class_uid", _UID, nullable=False),
    Column("series_instance_uid", _UID, nullable=False),
    Column("study_instance_uid", _UID, nullable=False),
    Column("transfer_syntax_uid", _UID, nullable=False),
    Column("patient_key", _DIGEST, ForeignKey("patients.patient_key"), nullable=False),
    Column("tags", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("member", Text),
    Column("sha256", String(64), nullable=False),
    Column("own_output", Boolean, nullable=False),
    Column("association_id", String(32), nullable=False),
    Column("received_at", Double, nullable=False),
    _leaving_since,
    Index(None, "patient_key", "id"),
    Index("ix_instances_leaving_since", _leaving_since, sqlite_where=_IS_LEAVING, postgresql_where=_IS_LEAVING),
)
"""Originals in the archive. leaving_since is set once retention has decided: the file goes next, then the row."""

journals = Table(
    "journals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("absorbed", BigInteger, nullable=False),
)
"""How far [bytes] each receiver's journal has become rows."""

notices = Table(
    "notices",
    metadata,
    Column("key", Text, primary_key=True),
    Column("raised_at", Double, nullable=False),
    Column("sent_at", Double),
    Column("document", Text, nullable=False),
)
"""What the operator's webhook is told, once for each key; sent_at is NULL until it was taken."""

association_patients = Table(
    "association_patients",
    metadata,
    Column("patient_key", _DIGEST, primary_key=True),
    Column("association_id", String(32), primary_key=True),
)
"""Which association sent something of which patient."""

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("association_id", String(32), nullable=False),
    Column("received_at", Double, nullable=False),
    Column("quarantined_at", Double, nullable=False),
    Index(None, "quarantined_at"),
    sqlite_autoincrement=True,
)
"""Files that were received whole and cannot be read."""

explanations = Table(
    "explanations",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("patient_key", _DIGEST, nullable=False),
    Column("series_instance_uid", _UID, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("explained_at", Double, nullable=False),
    Column("document", Text, nullable=False),
    Index(None, "patient_key"),
    Index(None, "series_instance_uid"),
)
"""Why routing took a series or left it: the latest answer for each."""

milestones = Table(
    "milestones",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("document", Text, nullable=False),
)
"""When retention and repair last ran, and what they did."""
