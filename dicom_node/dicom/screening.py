"""What the reader refuses before it decodes anything, in words that name the series and the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydicom.uid import UID, CTImageStorage, MRImageStorage

from dicom_node import logs
from dicom_node.contracts import Accepts, RoleInstance, Units
from dicom_node.dicom.tags import LOCALIZER
from dicom_node.dicom.transfer_syntaxes import DECODABLE
from dicom_node.errors import UnusableSeries

log = logs.get("dicom.reading")

_STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}
_UNITS = {"CT": Units.HU, "MR": Units.MR_SIGNAL}
_MULTIFRAME = ("1.2.840.10008.5.1.4.1.1.2.", "1.2.840.10008.5.1.4.1.1.4.")
"""Enhanced and Legacy Converted Enhanced CT, MR (and MR Spectroscopy) lie below the classic SOP classes."""


def screen(instances: Sequence[RoleInstance], accepts: Accepts) -> tuple[RoleInstance, ...]:
    """Keep the instances that can become one volume.

    Images that say `LOCALIZER` in Image Type are left out where the series has others too.

    Raises:
        UnusableSeries: none, of another kind than the role takes, or lacking a tag that it needs.
    """
    if not instances:
        raise UnusableSeries("no images were given for the role")
    series = instances[0].header.series_instance_uid
    kept = tuple(item for item in instances if not _is_localizer(item))
    if not kept:
        raise UnusableSeries(f"series {series}: it is a localizer")
    if len(kept) < len(instances):
        log.info("localizers_left_out", series=series, count=len(instances) - len(kept))
    for item in kept:
        _refuse_kind(item, accepts)
        header = item.header
        refuse_image(header.get, header.series_instance_uid, header.transfer_syntax_uid)
    _refuse_mixture(kept, accepts)
    for keyword in accepts.needs:
        missing = sum(item.header.get(keyword) is None for item in kept)
        if missing:
            raise UnusableSeries(f"series {series}: {keyword} is missing in {missing} of {len(kept)} images")
    return kept


def refuse_image(get: Callable[[str], object], series: str, transfer_syntax_uid: str) -> None:
    """Refuse pixels that are no classic single-frame CT or MR image.

    Args:
        get: value of a tag by keyword, None when absent.
        series: Series Instance UID for the message.
        transfer_syntax_uid: of the file.

    Raises:
        UnusableSeries: the first reason found.
    """
    reason = unusable_pixels(get, transfer_syntax_uid)
    if reason is not None:
        raise UnusableSeries(f"series {series}: {reason}")


def unusable_pixels(get: Callable[[str], object], transfer_syntax_uid: str) -> str | None:
    """The reason alone, without the series; None for a classic single-frame CT or MR image."""
    if transfer_syntax_uid not in DECODABLE:
        return f"transfer syntax {UID(transfer_syntax_uid).name} cannot be decoded"
    if _integer(get("NumberOfFrames"), 1) > 1:
        return "it is multi-frame: not supported yet"
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        if _integer(get(keyword), 0) < 1:
            return f"no pixel data ({keyword} is missing)"
    photometric = str(get("PhotometricInterpretation") or "MONOCHROME2")
    if _integer(get("SamplesPerPixel"), 1) != 1 or not photometric.startswith("MONOCHROME"):
        return f"colour pixels ({photometric})"
    allocated = _integer(get("BitsAllocated"), 0)
    stored = _integer(get("BitsStored"), 0)
    if allocated == 1:
        return "1-bit pixels"
    if allocated not in (8, 16, 32):
        return f"BitsAllocated {allocated} is not supported"
    if not stored:
        return "floating-point or damaged pixels (BitsStored is missing)"
    high = _integer(get("HighBit"), stored - 1)
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        return f"BitsStored {stored} and HighBit {high} do not fit into BitsAllocated {allocated}"
    if _integer(get("PixelRepresentation"), -1) not in (0, 1):
        return "PixelRepresentation is missing"
    if get("ModalityLUTSequence") is not None or get("ModalityLUTSequence.LUTDescriptor") is not None:
        return "a modality lookup table instead of RescaleSlope: not supported"
    return None


def _refuse_kind(item: RoleInstance, accepts: Accepts) -> None:
    header = item.header
    series = header.series_instance_uid
    if header.own_output:
        raise UnusableSeries(f"series {series}: derived by a correction node, never taken as input")
    modality = str(header.get("Modality") or "")
    if modality != accepts.modality:
        raise UnusableSeries(f"series {series}: Modality is {modality or 'missing'}, the role takes {accepts.modality}")
    if _UNITS.get(modality) != accepts.units:
        raise UnusableSeries(f"series {series}: {modality} images do not come in {accepts.units.value}")
    if header.sop_class_uid.startswith(_MULTIFRAME):
        raise UnusableSeries(f"series {series}: {UID(header.sop_class_uid).name} is multi-frame: not supported yet")
    if header.sop_class_uid != _STORAGE[modality]:
        raise UnusableSeries(f"series {series}: {UID(header.sop_class_uid).name} is not {_STORAGE[modality].name}")
    rescale = str(header.get("RescaleType") or "HU")
    if modality == "CT" and rescale != "HU":
        raise UnusableSeries(f"series {series}: RescaleType is {rescale}, not HU")


def _refuse_mixture(instances: Sequence[RoleInstance], accepts: Accepts) -> None:
    series = tuple(dict.fromkeys(item.header.series_instance_uid for item in instances))
    if len(series) > 1 and accepts.axes == "zyx":
        raise UnusableSeries(f"series {series[0]} and {len(series) - 1} more in one role: it takes one series")
    for keyword, what in (("FrameOfReferenceUID", "frames of reference"), ("PatientPosition", "patient positions")):
        if len({item.header.get(keyword) for item in instances}) > 1:
            raise UnusableSeries(f"series {series[0]}: several {what}")
    if len({item.header.patient_key for item in instances}) > 1:
        raise UnusableSeries(f"series {series[0]}: images of several patients")


def _is_localizer(item: RoleInstance) -> bool:
    value = item.header.get("ImageType")
    return LOCALIZER in (value if isinstance(value, tuple | list) else (value,))


def _integer(value: object, default: int) -> int:
    if value is None or value == "":
        return default
    if isinstance(value, int | float | str):
        try:
            return int(value)
        except ValueError:
            return default
    return default
