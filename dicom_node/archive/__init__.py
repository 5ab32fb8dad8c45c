"""Originals at rest and their index."""

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Arrival, Filing, Quarantined, Received, Settled
from dicom_node.archive.store import ArchiveStore

__all__ = ["ArchiveIndex", "ArchiveStore", "Arrival", "Filing", "Quarantined", "Received", "Settled"]
