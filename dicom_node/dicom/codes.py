"""Coded concepts that we write: DICOM and SNOMED CT where one is true, else our own scheme."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code as ConceptCode

from dicom_node.contracts.volume import Units
from dicom_node.dicom.text import ascii_text

PRIVATE_SCHEME = "99DCN"
"""Coding Scheme Designator of our own codes; private ones begin with 99 (PS3.3 8.2)."""
PRIVATE_SCHEME_NAME = "DICOM correction node"


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        """The concept as an item of a code sequence."""
        item = Dataset()
        item.CodeValue = self.value
        item.CodingSchemeDesignator = self.scheme
        item.CodeMeaning = self.meaning
        return item

    def concept(self) -> ConceptCode:
        """The concept as highdicom takes it."""
        return ConceptCode(self.value, self.scheme, self.meaning)

    def sequence(self) -> Sequence:
        """A code sequence with this one item."""
        return Sequence([self.item()])


SOURCE_FOR_PROCESSING = Code("121322", "DCM", "Source Image for Image Processing Operation")
"""Purpose of reference, CID 7202."""
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
"""Purpose of reference of Contributing Equipment, CID 7005."""
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
"""The same for the scanner, in objects that are not the scanner's."""
ARTEFACT_CORRECTION = Code("ARTIFACT_CORR", PRIVATE_SCHEME, "Artifact correction by image processing")
"""Derivation code: CID 7203 of the standard has none for artefact correction."""
MAP_DERIVATION = Code("CORR_MAP", PRIVATE_SCHEME, "Quantity computed by artifact correction")

PHYSICAL_OBJECT = Code("260787004", "SCT", "Physical object")
IMPLANT = Code("40388003", "SCT", "Implant")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
"""Segmented property categories and type, CID 7150 and 7151."""

_UNITS = {
    Units.HU: Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    Units.MR_SIGNAL: Code("[arb'U]", "UCUM", "arbitrary unit"),
    Units.HERTZ: Code("Hz", "UCUM", "Hertz"),
    Units.PIXEL: Code("{pixels}", "UCUM", "pixels"),
    Units.FRACTION: Code("1", "UCUM", "no units"),
    Units.NONE: Code("1", "UCUM", "no units"),
}
_SUFFIX_UNITS = {
    "hu": _UNITS[Units.HU],
    "hz": _UNITS[Units.HERTZ],
    "pixel": _UNITS[Units.PIXEL],
    "pixels": _UNITS[Units.PIXEL],
    "mm": Code("mm", "UCUM", "millimeter"),
    "mm2": Code("mm2", "UCUM", "square millimeter"),
    "mm3": Code("mm3", "UCUM", "cubic millimeter"),
    "s": Code("s", "UCUM", "second"),
    "ms": Code("ms", "UCUM", "millisecond"),
    "percent": Code("%", "UCUM", "percent"),
    "db": Code("dB", "UCUM", "decibel"),
}


def unit_code(units: Units) -> Code:
    """UCUM code of a Volume's or map's units."""
    return _UNITS[units]


def figure_unit(name: str) -> Code:
    """UCUM code of a quality figure, by the unit that ends its name, e.g. `largest_change_hu`; no units else."""
    return _SUFFIX_UNITS.get(name.rsplit("_", 1)[-1].lower(), _UNITS[Units.NONE])


def own_code(name: str, meaning: str | None = None) -> Code:
    """A code of our scheme for a name that a corrector chose.

    Code Value holds 16 characters: names that are longer, or not plain ASCII, keep their first 9 characters, and 6 of
    a digest that tells them apart.
    """
    value = ascii_text(name)
    if len(value) > 16 or value != name or name != name.strip():
        value = f"{value[:9]}~{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return Code(value, PRIVATE_SCHEME, ascii_text(meaning or name, 64) or value)


def label(name: str) -> str:
    """Content Label or LUT Label for a name: upper case, digits, space and underscore, at most 16 (VR CS)."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " _") else "_" for c in name.upper())[:16]


def segment_codes(name: str, meaning: str) -> tuple[Code, Code]:
    """Segmented property category and type of a mask, from its meaning in words."""
    words = meaning.lower()
    if any(word in words for word in ("implant", "metal", "prosthes")):
        return PHYSICAL_OBJECT, IMPLANT
    return SPATIAL_CONCEPT, own_code(name, meaning)


def declare_scheme(dataset: Dataset) -> None:
    """Name our coding scheme in Coding Scheme Identification Sequence (PS3.3 C.12.1.1.6.1), keeping what is there."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = PRIVATE_SCHEME_NAME
    present = list(dataset.get("CodingSchemeIdentificationSequence") or ())
    dataset.CodingSchemeIdentificationSequence = Sequence([*present, item])
