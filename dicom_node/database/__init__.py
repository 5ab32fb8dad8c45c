"""Where ledger and index live: one SQLite file, or PostgreSQL by URL."""

from dicom_node.database.engine import Database
from dicom_node.database.metadata import metadata

__all__ = ["Database", "metadata"]
