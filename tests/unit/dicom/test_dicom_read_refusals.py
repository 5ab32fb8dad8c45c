"""Each refusal names the series and the reason."""

from dataclasses import replace

import pytest

from dicom_node.contracts import Accepts, RoleInstance, Units
from dicom_node.dicom.reading import read_volume
from dicom_node.dicom.scan import scan
from dicom_node.dicom.tags import PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.errors import UnusableSeries
from dicom_node.testing.series import SyntheticSeries, mr_series

CT = Accepts("CT", Units.HU, needs=("KVP",))
MR = Accepts("MR", Units.MR_SIGNAL)
CINE = Accepts("MR", Units.MR_SIGNAL, axes="tzyx")
PLAIN = SyntheticSeries()
FRAMES = range(PLAIN.frames)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def instances(folder):
    return [RoleInstance(i, {}) for s in scan([folder]).series for i in s.instances]


def positions(*z):
    return {"ImagePositionPatient": tuple([0.0, 0.0, value] for value in z)}


REFUSED = {
    "duplicate position": (
        replace(PLAIN, frame_tags=positions(0, 3, 3, 6, 9)),
        CT,
        "several images at the same position",
    ),
    "missing slice": (
        replace(PLAIN, frame_tags=positions(0, 3, 6, 12, 15)),
        CT,
        r"missing or unevenly.*6\.00 to 12\.00",
    ),
    "every other gap": (replace(PLAIN, frame_tags=positions(0, 3, 9, 12, 18)), CT, r"usual step 3\.000 mm"),
    "sideways": (
        replace(PLAIN, frame_tags={"ImagePositionPatient": tuple([float(f == 2), 0.0, 3.0 * f] for f in FRAMES)}),
        CT,
        r"shifted sideways by up to 1\.00 mm",
    ),
    "several orientations": (
        replace(
            PLAIN,
            frame_tags={
                "ImageOrientationPatient": tuple(list(PLAIN.orientation if f < 3 else CORONAL) for f in FRAMES)
            },
        ),
        CT,
        "several orientations",
    ),
    "several spacings": (
        replace(PLAIN, frame_tags={"PixelSpacing": tuple([0.75, 0.75 + f] for f in FRAMES)}),
        CT,
        "several pixel spacings",
    ),
    "zero spacing": (replace(PLAIN, tags={"PixelSpacing": [0, 0.75]}), CT, "PixelSpacing is not positive"),
    "no position": (replace(PLAIN, tags={"ImagePositionPatient": None}), CT, "ImagePositionPatient is missing"),
    "no orientation": (
        replace(PLAIN, tags={"ImageOrientationPatient": None}),
        CT,
        "ImageOrientationPatient is missing",
    ),
    "skewed orientation": (
        replace(PLAIN, tags={"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}),
        CT,
        "not two unit vectors",
    ),
    "no spacing": (replace(PLAIN, tags={"PixelSpacing": None}), CT, "PixelSpacing is missing"),
    "needed tag": (
        replace(PLAIN, frame_tags={"KVP": (120, None, 120, None, 120)}),
        CT,
        "KVP is missing in 2 of 5 images",
    ),
    "localizer": (replace(PLAIN, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), CT, "it is a localizer"),
    "wrong modality": (mr_series(), CT, "Modality is MR, the role takes CT"),
    "wrong units": (mr_series(), replace(MR, units=Units.HERTZ), "MR images do not come in Hz"),
    "electron density": (replace(PLAIN, tags={"RescaleType": "ED"}), CT, "RescaleType is ED, not HU"),
    "secondary capture": (
        replace(PLAIN, tags={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        CT,
        "Secondary Capture.* is not CT Image Storage",
    ),
    "enhanced": (
        replace(PLAIN, tags={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}),
        CT,
        "Enhanced CT.* multi-frame: not supported yet",
    ),
    "frames of reference": (
        replace(PLAIN, frame_tags={"FrameOfReferenceUID": ("1.2", "1.2", "1.3", "1.3", "1.3")}),
        CT,
        "several frames of reference",
    ),
    "unequal phases": (
        mr_series(slices=1, phases=5, frame_tags=positions(0, 0, 3, 3, 3)),
        CINE,
        "2 to 3 images at a position",
    ),
    "phases without time": (
        mr_series(slices=2, phases=2, tags={"TriggerTime": 0.0, "TemporalPositionIdentifier": None}),
        CINE,
        "none of TriggerTime, .* tells",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_series_and_reason(name, tmp_path):
    series, accepts, reason = REFUSED[name]
    series.write(tmp_path)
    with pytest.raises(UnusableSeries, match=reason) as caught:
        read_volume(instances(tmp_path), accepts)
    assert f"series {series.series_instance_uid}" in str(caught.value)
    assert "CANARY" not in str(caught.value).upper()


def test_images_of_different_sizes_are_refused(tmp_path):
    SyntheticSeries(slices=2).write(tmp_path / "a")
    replace(PLAIN, slices=2, rows=32, origin_mm=(-24.0, -24.0, 0.0), seed=5, study_seed=0,
            tags={"SeriesInstanceUID": PLAIN.series_instance_uid}).write(tmp_path / "b")  # fmt: skip
    with pytest.raises(UnusableSeries, match="different sizes"):
        read_volume(instances(tmp_path), CT)


def test_two_series_do_not_become_one_stack(tmp_path):
    SyntheticSeries(series_number=1).write(tmp_path / "1")
    SyntheticSeries(series_number=2).write(tmp_path / "2")
    with pytest.raises(UnusableSeries, match="takes one series"):
        read_volume(instances(tmp_path), CT)


def test_own_output_is_never_input(tmp_path):
    dataset = SyntheticSeries(slices=1).dataset(0)
    dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True).add_new(0x01, "LO", "hipct")
    dataset.save_as(tmp_path / "own.dcm", enforce_file_format=True)
    with pytest.raises(UnusableSeries, match="derived by a correction node"):
        read_volume(instances(tmp_path), CT)


def test_no_images_are_refused():
    with pytest.raises(UnusableSeries, match="no images"):
        read_volume([], CT)
