"""What the corrector must not touch, and why. Reasons name tags and numbers, never tag values with text."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from correctors.hipct.body import TISSUE_HU
from dicom_node.contracts import BoolArray, CorrectionRefused, FloatArray, TagValue, Units, Volume

STEEPEST_TILT_DEG = 0.5
LARGEST_ASPECT = 1.01
THICKEST_MM = 10.0
LARGEST_CUT_FRACTION = 0.08

REFORMATTED = frozenset(
    {"LOCALIZER", "REFORMATTED", "MPR", "MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "CSA MPR",
     "CSA RESAMPLED", "RESAMPLED", "SCREEN SAVE", "SUBTRACTION"}
)  # fmt: skip
# Philips O-MAR, Siemens iMAR, Canon SEMAR, GE Smart MAR; not `no MAR`.
VENDOR_MAR = re.compile(
    r"(?<![a-z])(?<!no )(?<!no-)(?<!no_)(?<!non )(?<!non-)(?<!without )(?<!w/o )"
    r"(?:[oi][ _-]?mar|semar|(?:smart|gsi)[ _-]?mar|mar|metal[ _-]?art[ie]fact)(?![a-z])",
    re.IGNORECASE,
)
DATE_IN_MARCH = re.compile(
    r"\d{1,2}[ ./_-]*mar[ ./_-]*(?:\d{2}){1,2}|(?<![a-z])mar[ ./_-]\d{1,2},? +\d{4}", re.IGNORECASE
)
MAR_TAGS = (
    "SeriesDescription", "ProtocolName", "ImageComments", "DerivationDescription", "ConvolutionKernel", "ImageType",
)  # fmt: skip


def series_of(inputs: Mapping[str, Volume]) -> Volume:
    """The CT of an input set.

    Raises:
        CorrectionRefused: no `ct`, other axes, or not in HU.
    """
    volume = inputs.get("ct")
    if volume is None:
        raise CorrectionRefused("the input set has no volume in the role ct")
    if volume.units is not Units.HU or volume.axes != "zyx":
        raise CorrectionRefused(f"the role ct must be in HU with axes zyx, got {volume.units.value} and {volume.axes}")
    return volume


def check_headers(volume: Volume) -> None:
    """Refuse what the headers forbid.

    Args:
        volume: CT with the tags of the spec.

    Raises:
        CorrectionRefused: derived, reformatted or localizer images; tilted gantry; vendor metal artefact reduction.
    """
    _check_image_type(volume)
    for tilt in _values(volume, "GantryDetectorTilt"):
        if isinstance(tilt, int | float) and abs(tilt) > STEEPEST_TILT_DEG:
            raise CorrectionRefused(
                f"the gantry is tilted by {abs(tilt):.1f} degrees (GantryDetectorTilt): "
                "rays do not lie in the image plane"
            )
    for keyword in MAR_TAGS:
        texts = [DATE_IN_MARCH.sub("", part) for value in _values(volume, keyword) for part in _parts(value)]
        if any(VENDOR_MAR.search(text) for text in texts):
            raise CorrectionRefused(f"{keyword} says that metal artefacts were already reduced by the scanner")


def check_geometry(volume: Volume) -> None:
    """Refuse slices whose rays do not lie in the image plane, or whose pixels are not square.

    Raises:
        CorrectionRefused: not axial, pixels not square, or slices too thick.
    """
    geometry = volume.geometry
    along = abs(geometry.normal[2])
    steepest = float(np.cos(np.deg2rad(1.0)))
    if along < steepest:
        angle = float(np.rad2deg(np.arccos(min(1.0, along))))
        raise CorrectionRefused(f"slices are not axial: the normal is {angle:.1f} degrees off the patient's long axis")
    origins = np.asarray(geometry.slice_origins_mm, dtype=np.float64)
    if len(origins) > 1:
        steps = np.diff(origins, axis=0)
        aside = np.linalg.norm(steps - np.outer(steps @ np.asarray(geometry.normal), geometry.normal), axis=1)
        if float(aside.max()) > max(0.01 * float(np.linalg.norm(steps, axis=1).min()), 0.02):
            raise CorrectionRefused("slices are shifted against each other in plane, as in a tilted or sheared stack")
    row_mm, column_mm = geometry.pixel_spacing_mm
    if max(row_mm, column_mm) / min(row_mm, column_mm) > LARGEST_ASPECT:
        raise CorrectionRefused(f"pixels are not square: {row_mm:g} x {column_mm:g} mm")
    thickness = geometry.slice_thickness_mm
    if thickness is not None and thickness > THICKEST_MM:
        raise CorrectionRefused(f"slices are {thickness:g} mm thick, more than {THICKEST_MM:g} mm")


def check_pixels(volume: Volume) -> None:
    """Refuse values that no CT image holds.

    Raises:
        CorrectionRefused: not finite, or nothing denser than air anywhere.
    """
    dense = False
    for number, one in enumerate(volume.pixels):
        if not np.isfinite(one).all():
            raise CorrectionRefused(f"slice {number + 1} holds values that are not finite")
        dense = dense or bool((one > TISSUE_HU).any())
    if not dense:
        raise CorrectionRefused("no voxel is denser than air: there is no patient in these images")


def cut_fraction(slice_hu: FloatArray, body: BoolArray, padding: BoolArray | None) -> float:
    """Share of the body's outline that lies on the edge of the measured field.

    Args:
        slice_hu: (y, x) CT numbers [HU]; gives the shape of the field.
        body: bool (y, x) patient.
        padding: bool (y, x) voxels without a measured value, or None.

    Returns:
        0 (whole body inside) to 1.
    """
    measured = np.ones(slice_hu.shape, dtype=bool) if padding is None else ~padding
    inner = np.zeros_like(measured)
    inner[1:-1, 1:-1] = (
        measured[1:-1, 1:-1] & measured[:-2, 1:-1] & measured[2:, 1:-1] & measured[1:-1, :-2] & measured[1:-1, 2:]
    )
    outline = body.copy()
    outline[1:-1, 1:-1] &= ~(body[:-2, 1:-1] & body[2:, 1:-1] & body[1:-1, :-2] & body[1:-1, 2:])
    total = int(outline.sum())
    return float((outline & ~inner).sum() / total) if total else 0.0


def _check_image_type(volume: Volume) -> None:
    values = _values(volume, "ImageType")
    if not values:
        raise CorrectionRefused("ImageType is missing: it cannot be told whether these are original axial images")
    for value in values:
        parts = [part.strip().upper() for part in _parts(value)]
        # Lossy compression alone turns an original into DERIVED (PS3.3 C.7.6.1.1.5).
        if parts and parts[0] == "DERIVED" and not _lossy(volume):
            raise CorrectionRefused("ImageType value 1 is DERIVED: only original images are corrected")
        if len(parts) > 1 and parts[1] == "SECONDARY":
            raise CorrectionRefused("ImageType value 2 is SECONDARY: only primary images are corrected")
        if found := next((part for part in parts if part in REFORMATTED), None):
            raise CorrectionRefused(f"ImageType holds {found}: only original axial slices are corrected")
        if len(parts) > 2 and parts[2] != "AXIAL":
            raise CorrectionRefused("ImageType value 3 is not AXIAL")


def _lossy(volume: Volume) -> bool:
    return any(str(value).strip() == "01" for value in _values(volume, "LossyImageCompression"))


def _values(volume: Volume, keyword: str) -> list[TagValue]:
    """All values of a tag in the series: the constant one, or those of the slices; empty text is no value."""
    found: list[TagValue] = []
    if keyword in volume.tags:
        found.append(volume.tags[keyword])
    found.extend(value for value in set(volume.frame_tags.get(keyword, ())) if value is not None)
    return [value for value in found if value not in ("", ())]


def _parts(value: TagValue) -> list[str]:
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return str(value).split("\\")
