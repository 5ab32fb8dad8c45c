"""Series to volumes."""

import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from dicom_node.contracts import Accepts, RoleInstance, Units
from dicom_node.dicom.reading import open_dataset, read_volume
from dicom_node.dicom.scan import scan
from dicom_node.errors import UnreadableFile, UnusableSeries
from dicom_node.testing.series import SyntheticSeries, mr_series

CT = Accepts("CT", Units.HU, needs=("KVP",), wants=("ConvolutionKernel", "InstanceNumber", "ScanOptions"))
MR = Accepts("MR", Units.MR_SIGNAL)
CINE = Accepts("MR", Units.MR_SIGNAL, axes="tzyx", wants=("TriggerTime",))
BINS = Accepts("MR", Units.MR_SIGNAL, axes="bzyx")


def instances(*folders, **captures):
    found = scan([*folders])
    assert found.rejected == ()
    return [RoleInstance(i, captures) for s in found.series for i in s.instances]


def expected(series):
    """Physical values (frame, y, x) that the series was made from."""
    frames = []
    for frame in range(series.frames):
        slope, intercept = series.rescale(frame)
        frames.append((series.stored_frame(frame) * np.float64(slope) + intercept).astype(np.float32))
    return np.stack(frames)


ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": (0.8, 0.6, 0.0, -0.6, 0.8, 0.0),
}


@pytest.mark.parametrize("step", (3.0, -3.0))
@pytest.mark.parametrize("plane", ORIENTATIONS)
def test_slices_are_ordered_along_the_normal_in_every_plane(plane, step, tmp_path):
    series = SyntheticSeries(orientation=ORIENTATIONS[plane], slice_spacing_mm=step)
    series.write(tmp_path)
    given = instances(tmp_path)
    random.Random(1).shuffle(given)
    loaded = read_volume(given, CT)
    order = range(series.slices) if step > 0 else reversed(range(series.slices))
    np.testing.assert_array_equal(loaded.volume.pixels, expected(series)[list(order)])
    geometry = loaded.volume.geometry
    assert geometry.slice_spacing_mm == pytest.approx(3.0)
    assert geometry.row_direction == pytest.approx(series.orientation[:3])
    assert geometry.slice_origins_mm[0] == pytest.approx(series.position_mm(0 if step > 0 else series.slices - 1))
    assert geometry.pixel_spacing_mm == series.pixel_spacing_mm
    assert geometry.slice_thickness_mm == series.slice_thickness_mm
    numbers = [open_dataset(source).InstanceNumber for source in loaded.sources]
    assert numbers == sorted(numbers, reverse=step < 0)
    assert loaded.volume.frame_tags["InstanceNumber"] == tuple(numbers)


def test_asked_tags_come_along_and_no_others(tmp_path):
    SyntheticSeries().write(tmp_path)
    volume = read_volume(instances(tmp_path), CT).volume
    assert volume.tags == {"KVP": 120.0, "ConvolutionKernel": "B30s"}
    assert set(volume.frame_tags) == {"InstanceNumber"}
    assert volume.padding is None


def test_a_tag_that_only_some_images_have_varies(tmp_path):
    mr_series(slices=3, frame_tags={"EchoTime": (10.0, None, 10.0)}).write(tmp_path)
    volume = read_volume(instances(tmp_path), replace(MR, wants=("EchoTime",))).volume
    assert volume.frame_tags == {"EchoTime": (10.0, None, 10.0)}


def test_rescale_may_differ_from_slice_to_slice(tmp_path):
    series = mr_series(slices=3, slope=(1.0, 2.5, 0.1), intercept=(0.0, -3.0, 7.0))
    series.write(tmp_path)
    np.testing.assert_array_equal(read_volume(instances(tmp_path), MR).volume.pixels, expected(series))


def test_padding_is_a_mask_of_the_volume(tmp_path):
    series = SyntheticSeries(slices=3, signed=True, intercept=0.0, padding_value=-2000)
    series.write(tmp_path)
    padding = read_volume(instances(tmp_path), CT).volume.padding
    np.testing.assert_array_equal(padding, np.broadcast_to(series.outside_circle(), padding.shape))


def test_one_slice_is_a_volume(tmp_path):
    SyntheticSeries(slices=1).write(tmp_path)
    geometry = read_volume(instances(tmp_path), CT).volume.geometry
    assert geometry.shape == (1, 64, 64) and geometry.slice_spacing_mm is None


def test_a_zip_reads_like_its_folder(tmp_path):
    series = SyntheticSeries()
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in series.write(tmp_path / "plain"):
            archive.write(path, path.name)
    zipped = read_volume(instances(tmp_path / "study.zip"), CT)
    np.testing.assert_array_equal(zipped.volume.pixels, expected(series))
    assert zipped.sources[0].member is not None


def test_localizers_are_left_out_and_named(tmp_path):
    series = SyntheticSeries(slices=4)
    series.write(tmp_path / "a")
    scout = replace(
        series, slices=1, rows=32, orientation=ORIENTATIONS["coronal"], image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        seed=9, study_seed=0, tags={"SeriesInstanceUID": series.series_instance_uid},
    )  # fmt: skip
    (path,) = scout.write(tmp_path / "b")
    loaded = read_volume(instances(tmp_path), CT)
    assert loaded.volume.shape == (4, 64, 64)
    assert [ref.path for ref in loaded.left_out] == [path]


def test_a_lone_reference_view_across_the_stack_is_left_out_and_named(tmp_path):
    series = SyntheticSeries(slices=12)
    series.write(tmp_path / "a")
    view = replace(
        series, slices=1, orientation=ORIENTATIONS["coronal"], seed=9, study_seed=0,
        tags={"SeriesInstanceUID": series.series_instance_uid},
    )  # fmt: skip
    (path,) = view.write(tmp_path / "b")
    loaded = read_volume(instances(tmp_path), CT)
    assert loaded.volume.shape == (12, 64, 64)
    assert [ref.path for ref in loaded.left_out] == [path]


@pytest.mark.parametrize("gone", [(), ("TriggerTime",), ("TriggerTime", "TemporalPositionIdentifier")])
def test_a_cine_is_ordered_by_trigger_time_or_what_there_is(gone, tmp_path):
    times = tuple(f"0304{phase:02d}.5" for _ in range(3) for phase in range(4))
    series = mr_series(slices=3, phases=4, tags=dict.fromkeys(gone), frame_tags={"AcquisitionTime": times})
    series.write(tmp_path)
    given = instances(tmp_path)
    random.Random(2).shuffle(given)
    loaded = read_volume(given, CINE)
    wanted = expected(series).reshape(3, 4, 64, 64).swapaxes(0, 1)
    np.testing.assert_array_equal(loaded.volume.pixels, wanted)
    assert len(loaded.sources) == 12
    if not gone:
        assert loaded.volume.frame_tags["TriggerTime"] == tuple(40.0 * t for t in range(4) for _ in range(3))


def test_a_cine_may_come_as_one_series_for_each_slice(tmp_path):
    whole = mr_series(slices=3, phases=2)
    for z in range(3):
        part = replace(whole, slices=1, series_number=z + 1, origin_mm=whole.position_mm(2 * z))
        part.write(tmp_path / str(z))
    assert read_volume(instances(tmp_path), CINE).volume.shape == (2, 3, 64, 64)


def bins(tmp_path, names=("2", "10", "-1"), slices=3):
    given = []
    for number, name in enumerate(names):
        series = mr_series(slices=slices, series_number=number + 1, tags={"EchoTime": float(name)})
        series.write(tmp_path / name)
        given += instances(tmp_path / name, bin=name)
    return given


def test_bins_are_ordered_by_number_not_by_text(tmp_path):
    loaded = read_volume(bins(tmp_path), replace(BINS, wants=("EchoTime",)))
    assert loaded.volume.shape == (3, 3, 64, 64)
    assert loaded.volume.frame_tags["EchoTime"] == tuple(float(b) for b in (-1, 2, 10) for _ in range(3))


def test_a_missing_bin_at_one_slice_is_refused(tmp_path):
    with pytest.raises(UnusableSeries, match="2 to 3 images at a position"):
        read_volume(bins(tmp_path)[:-1], BINS)


def test_bins_that_differ_between_slices_are_refused(tmp_path):
    given = bins(tmp_path)
    given[-1] = replace(given[-1], captures={"bin": "3"})
    with pytest.raises(UnusableSeries, match="not every bin"):
        read_volume(given, BINS)


@pytest.mark.parametrize("captures", [{}, {"bin": "left"}])
def test_bins_without_a_number_are_refused(captures, tmp_path):
    given = [replace(item, captures=captures) for item in bins(tmp_path)]
    with pytest.raises(UnusableSeries, match="captured no numeric 'bin'"):
        read_volume(given, BINS)


def test_one_image_at_each_position_and_no_bin_is_one_bin(tmp_path):
    mr_series(slices=3).write(tmp_path)
    loaded = read_volume(instances(tmp_path), BINS)
    assert loaded.volume.shape == (1, 3, 64, 64) and len(loaded.sources) == 3
    heights = [origin[2] for origin in loaded.volume.geometry.slice_origins_mm]
    assert heights == sorted(heights)


def test_a_file_that_changed_since_its_header_was_read_is_unreadable(tmp_path):
    first, second = SyntheticSeries(slices=2).write(tmp_path)
    given = instances(tmp_path)
    second.write_bytes(first.read_bytes())
    with pytest.raises(UnreadableFile, match="no longer holds instance"):
        read_volume(given, CT)
