"""What of a CT or MR image may stay though Table E.1-1 of PS3.15 does not list it: stricter than the profile.

The profile keeps every standard attribute that it does not list. Here text, sequences and bulk data stay only where
they are named below, because correctors, reading and training need them and nobody types a name into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom.uid import CTImageStorage, MRImageStorage

STORAGE_CLASSES: Final = MappingProxyType({str(CTImageStorage): "CT", str(MRImageStorage): "MR"})
"""Modality of each SOP class that is exported: those that the node reads."""

GROUPS: Final = frozenset({0x0008, 0x0018, 0x0020, 0x0028, 0x0040})
"""Groups of which attributes that are not listed may stay: image, acquisition and geometry, not the patient."""

TEXTS: Final = frozenset(
    {
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "ConvolutionKernel",
        "FilterType",
        "SequenceName",
        "PulseSequenceName",
        "ReceiveCoilName",
        "TransmitCoilName",
        "ImagedNucleus",
        "RescaleType",
    }
)
"""Attributes of the VRs LO and SH that stay, where their value has no sign that only names and addresses need."""

CODED: Final = frozenset(
    {
        "AnatomicRegionSequence",
        "AnatomicRegionModifierSequence",
        "PrimaryAnatomicStructureSequence",
        "PrimaryAnatomicStructureModifierSequence",
        "PurposeOfReferenceCodeSequence",
        "DerivationCodeSequence",
        "CTDIPhantomTypeCodeSequence",
        "ContrastBolusAgentSequence",
        "ContrastBolusAdministrationRouteSequence",
    }
)
"""Sequences of codes that stay, as far as their codes are of `CODE_SCHEMES`."""

REFERENCES: Final = frozenset({"ReferencedImageSequence", "SourceImageSequence"})
"""Sequences of references that stay with other UIDs (action `U*` of the table)."""

REFERENCE: Final = frozenset(
    {
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "ReferencedFrameNumber",
        "SpatialLocationsPreserved",
        "PatientOrientation",
        "PurposeOfReferenceCodeSequence",
    }
)
"""What an item of these may hold (PS3.3 10.3, C.7.6.1)."""

CODE_SCHEMES: Final = frozenset({"DCM", "SCT", "SRT", "SNM3", "99SDM", "FMA", "UCUM", "LN", "RADLEX"})
"""Coding schemes whose meanings are the scheme's, not a site's own words (PS3.16 8)."""

TYPE_2: Final = frozenset(
    {
        "StudyDate",
        "StudyTime",
        "ContentDate",
        "ContentTime",
        "AccessionNumber",
        "StudyID",
        "ReferringPhysicianName",
        "PatientBirthDate",
        "PatientSex",
        "Manufacturer",
        "Laterality",
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "PatientOrientation",
        "PatientPosition",
        "PositionReferenceIndicator",
        "ContrastBolusAgent",
        "KVP",
        "SliceThickness",
        "ScanOptions",
        "MRAcquisitionType",
        "RepetitionTime",
        "EchoTime",
        "EchoTrainLength",
        "InversionTime",
        "TriggerTime",
    }
)
"""Attributes of type 2 or 2C of the CT and MR Image IODs (PS3.3 A.3, A.4): emptied where others would be removed."""

DUMMIES: Final[Mapping[str, object]] = MappingProxyType(
    {
        "AE": "REMOVED",
        "AS": "000Y",
        "CS": "REMOVED",
        "DS": "0",
        "IS": "0",
        "LO": "REMOVED",
        "LT": "REMOVED",
        "OB": b"\0\0",
        "PN": "REMOVED",
        "SH": "REMOVED",
        "ST": "REMOVED",
        "UC": "REMOVED",
        "UN": b"\0\0",
        "UR": "about:removed",
        "UT": "REMOVED",
    }
)
"""What stands for the value of an attribute with action `D`, by VR."""
