"""Series Number, Series Description and Image Type of what we derive."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import character_set, raw_value, set_raw
from dicom_node.dicom.text import LO_BYTES, ST_BYTES, ascii_text, prefixed

LARGEST_NUMBER = 2**31 - 1
"""Largest value of VR IS (PS3.5 6.2)."""
NUMBER_BASE_WITHOUT_SOURCE = 90000
_UID_END = 6


def series_number(source_number: int | None, ordinal: int) -> int:
    """Series Number: the source's times 100, plus one for the first output and so on.

    Args:
        source_number: Series Number of the source, None when it has none.
        ordinal: place among the job's outputs, from 1.
    """
    if source_number is None or source_number < 1 or source_number * 100 + ordinal > LARGEST_NUMBER:
        return NUMBER_BASE_WITHOUT_SOURCE + ordinal
    return source_number * 100 + ordinal


def description_prefix(provenance: Provenance, role: str, what: str = "") -> str:
    """What goes before the source's Series Description.

    Args:
        provenance: facts of the job.
        role: output name; decides whether it replaces an earlier series.
        what: kind of object, for what is no corrected image, e.g. `mask metal`.
    """
    version = _version_mark(provenance, role)
    name = f"{provenance.spec.name} {provenance.method}" + (f" {what}" if what else "")
    return f"{version}{ascii_text(name, 40)}: "


def name_series(dataset: Dataset, source: Dataset, prefix: str) -> None:
    """Set Series Description: the prefix, then the source's text in its own bytes, at most 64 bytes in all."""
    raw = raw_value(source, "SeriesDescription")
    head = prefix if raw.strip(b" \0") else prefix.rstrip(": ")
    set_raw(dataset, "SeriesDescription", prefixed(head, raw, character_set(source), LO_BYTES))


def describe_derivation(dataset: Dataset, source: Dataset, provenance: Provenance, role: str, text: str) -> None:
    """Set Derivation Description: ours, then what the source says of its own derivation, at most 1024 bytes."""
    earlier = provenance.superseded_series.get(role)
    ours = ascii_text(text + (f" Replaces series {earlier}." if earlier else ""), multiline=True)
    raw = raw_value(source, "DerivationDescription").strip(b" \0")
    head = ours[: ST_BYTES - 4] + (" Source: " if raw else "")
    set_raw(dataset, "DerivationDescription", prefixed(head, raw, character_set(source), ST_BYTES))


def image_type(source: Dataset, value_2: str | None) -> list[str]:
    """Image Type (PS3.3 C.7.6.1.1.2, C.8.2.1.1.1, C.8.3.1.1.1): value 1 DERIVED, the rest as the source's.

    Value 2 says whether an image is a direct result of the examination; a corrected image still shows what the
    scanner measured, so the source's value stays unless the corrector's spec says otherwise.

    Args:
        source: source instance.
        value_2: the spec's wish, None to keep the source's.
    """
    given = [v.strip() for v in raw_value(source, "ImageType").decode("ascii", "replace").split("\\")]
    kept = given[1:] or ["PRIMARY"]
    kept[0] = value_2 or kept[0] or "PRIMARY"
    if len(kept) < 2:
        kept.append("AXIAL" if source.get("Modality") == "CT" else "OTHER")
    return ["DERIVED", *kept]


def _version_mark(provenance: Provenance, role: str) -> str:
    if earlier := provenance.superseded_series.get(role):
        # The whole UID would fill the 64 bytes; its end tells it from the others of the study.
        return f"[v{provenance.version}, replaces ..{earlier[-_UID_END:]}] "
    return f"[v{provenance.version}] " if provenance.version > 1 else ""
