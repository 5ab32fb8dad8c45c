"""A CT or MR image without its patient: PS3.15 Annex E, attribute by attribute; a dataset in, a new dataset out.

Basic Application Level Confidentiality Profile with the Retain Longitudinal Temporal Information with Modified Dates
Option, and stricter where `deidentify_keep` says so. Nothing gets into the result but what is let in here by name or
by kind; all text in it is ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_node.dicom import deidentify_keep as keep
from dicom_node.dicom import deidentify_values as values
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.dicom.deidentify_table import BASIC_PROFILE, MODIFIED_DATES
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet

RULES_VERSION: Final = 1
"""Changes with whatever changes the result for an input, so that an earlier export is made anew."""
METHOD: Final = ("DICOM correction node: PS3.15 2024e Basic Profile,", "Modified Dates Option, text by allowlist")
METHOD_CODES: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""Codes of scheme DCM (PS3.16 CID 7050)."""
_FIRST_GROUP: Final = 0x0008
"""Commands, File Meta Information and directories lie below; they have no place in a data set."""
_CHARACTER_SET: Final = "SpecificCharacterSet"
"""All that stays is ASCII, and the set would tell the patient's language."""
_OTHER_TERM: Final = "OTHER"
_CODE_ITEM: Final = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_NO_DATE: Final = "REMOVED"


def deidentify(source: Dataset, patient_key: str, pseudonyms: Pseudonyms) -> Dataset:
    """De-identify one instance, all but its pixel data and File Meta Information, which are left out.

    Args:
        source: as read; it is not altered.
        patient_key: the node's opaque digest of whose it is: decides the pseudonym and by how much dates move.
        pseudonyms: made with the key of the export.

    Returns:
        A new dataset. Which attributes it has depends on the source alone, so that repeating is harmless.
    """
    with quiet():
        cleaned = _Cleaner(patient_key, pseudonyms).data_set(source, top=True)
        was = str(source.get("LongitudinalTemporalInformationModified") or "")
    pseudonym = pseudonyms.patient(patient_key)
    cleaned.PatientName = pseudonym
    cleaned.PatientID = pseudonym
    cleaned.PatientIdentityRemoved = "YES"
    cleaned.DeidentificationMethod = list(METHOD)
    cleaned.DeidentificationMethodCodeSequence = Sequence([_code(value, meaning) for value, meaning in METHOD_CODES])
    cleaned.LongitudinalTemporalInformationModified = _NO_DATE if was == _NO_DATE else "MODIFIED"
    return cleaned


def action(keyword: str, *, top: bool) -> str | None:
    """What is done with an attribute: `X`, `Z`, `D`, `U`, `C` (clean) or `U*`; None where the table does not list it.

    Args:
        keyword: of the attribute.
        top: whether it stands on the outermost level, where the types of the CT and MR Image IODs decide between
            actions of a combination. Inside of sequences that stay the first action is taken.
    """
    if keyword in MODIFIED_DATES:
        return "C"
    listed = BASIC_PROFILE.get(keyword)
    if listed is None or "/" not in listed:
        return listed
    if listed.endswith("U*"):
        return "U*"
    if top and keyword in keep.TYPE_2:
        return "Z"
    return listed[0]


class _Cleaner:
    """Cleans the data sets of one patient."""

    def __init__(self, patient_key: str, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._days = pseudonyms.days(patient_key)

    def data_set(self, source: Dataset, *, top: bool, only: Collection[str] | None = None) -> Dataset:
        """What may stay of a data set, or of an item that may have some attributes only."""
        cleaned = Dataset()
        for tag in sorted(source.keys()):
            known = DicomDictionary.get(tag)  # knows neither private attributes nor curves and overlays
            if known is None or tag.group < _FIRST_GROUP:
                continue
            vr, vm, _, retired, keyword = known
            if only is not None and keyword not in only:
                continue
            made = self._element(source, tag, keyword, (vr, vm), top=top, retired=bool(retired))
            if made is None and top and keyword in keep.TYPE_2:
                made = DataElement(tag, vr, None)
            if made is not None:
                cleaned[tag] = made
        return cleaned

    def _element(
        self, source: Dataset, tag: BaseTag, keyword: str, kind: tuple[str, str], *, top: bool, retired: bool
    ) -> DataElement | None:
        """The element that takes the place of one, None where there is none."""
        vr, vm = kind
        todo = action(keyword, top=top)
        if todo == "X" or keyword == _CHARACTER_SET:
            return None
        if todo == "Z":
            return DataElement(tag, vr, Sequence() if vr == "SQ" else None)
        if todo == "D" and vr != "UI":
            # A dummy item would have to be of another person or document; no CT or MR image needs such a sequence.
            return DataElement(tag, vr, keep.DUMMIES[vr]) if vr != "SQ" else None
        if todo is None and (retired or tag.group not in keep.GROUPS):
            return None
        try:
            element = source[tag]
        except PARSE_ERRORS:
            return None
        if element.VR not in vr.split(" or "):
            return None  # a text that claims to be a number, or the other way round
        value = self._sequence(keyword, todo, element) if vr == "SQ" else self._value(keyword, element, vm)
        return None if value is None else DataElement(tag, element.VR, value)

    def _value(self, keyword: str, element: DataElement, vm: str) -> object:
        """The value that may stand for an element's, None where there is none."""
        given, vr = _listed(element.value), element.VR
        most = values.most_values(vm)
        if most is not None and len(given) > most:
            return None
        if not given:
            return ""
        if keyword == "TimezoneOffsetFromUTC":
            return str(given[0]).strip() if values.is_time_zone(given[0]) else None
        if keyword == "ImageType":
            return [str(one) if values.fits("CS", one) else _OTHER_TERM for one in given]
        change: Callable[[object], str | None] | None = None
        if vr == "DA":
            change = self._moved_date
        elif vr == "DT":
            change = self._moved_date_time
        elif vr == "UI":
            change = self._uid
        elif vr in ("LO", "SH"):
            if keyword not in keep.TEXTS or not all(values.is_plain_text(vr, one) for one in given):
                return None
            return [str(one) for one in given]
        if change is not None:
            return values.each(given, change)
        return element.value if all(values.fits(vr, one) for one in given) else None

    def _moved_date(self, value: object) -> str | None:
        return values.moved_date(value, self._days)

    def _moved_date_time(self, value: object) -> str | None:
        return values.moved_date_time(value, self._days)

    def _uid(self, value: object) -> str:
        return self._pseudonyms.uid(str(value))

    def _sequence(self, keyword: str, todo: str | None, element: DataElement) -> Sequence | None:
        """The items of a sequence that may stay, None where there are none."""
        if keyword in keep.CODED:
            items = [code for item in element.value if (code := _code_of(item)) is not None]
        elif todo == "U*":
            items = [self.data_set(item, top=False, only=keep.REFERENCE) for item in element.value]
        else:
            return None
        return Sequence(items) if items else None


def _code_of(item: Dataset) -> Dataset | None:
    """A code of a coding scheme whose meanings are the scheme's own; nothing else of its item."""
    try:
        value, scheme, version, meaning = (str(item.get(keyword) or "") for keyword in _CODE_ITEM)
    except PARSE_ERRORS:
        return None
    if scheme not in keep.CODE_SCHEMES or not values.is_code(value):
        return None
    if not meaning or not values.is_plain_text("LO", meaning) or not values.is_plain_text("SH", version):
        return None
    return _code(value, meaning, scheme, version)


def _code(value: str, meaning: str, scheme: str = "DCM", version: str = "") -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    if version:
        code.CodingSchemeVersion = version
    code.CodeMeaning = meaning
    return code


def _listed(value: object) -> list[object]:
    """The values of an element; none where it is empty."""
    if value is None or value in ("", b""):
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]
