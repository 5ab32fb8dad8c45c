"""Everything that knows how DICOM is encoded: reading, deriving, provenance."""
