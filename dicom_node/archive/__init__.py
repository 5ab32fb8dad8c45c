"""Originals at rest and their index."""

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Filing, Received, Settled
from dicom_node.archive.store import ArchiveStore

__all__ = ["ArchiveIndex", "ArchiveStore", "Filing", "Received", "Settled"]
