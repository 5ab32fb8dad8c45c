"""The guard lets plausible corrections through and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectorSpec,
    Geometry,
    Limits,
    Mask,
    ParameterMap,
    Units,
    Volume,
)
from dicom_node.errors import CorrectorFailed, GuardViolation
from dicom_node.worker.guards import check

SPEC = CorrectorSpec(
    name="toy",
    version="1",
    api=1,
    title="Toy",
    inputs={"ct": Accepts(modality="CT", units=Units.HU)},
    methods={"m": "does"},
    default_method="m",
    factory="a:b",
    limits={
        "ct": Limits(
            lowest=-1024, highest=3071, largest_change=500, largest_mean_change=100, largest_changed_fraction=0.5
        )
    },
)


def volume(padding: np.ndarray | None = None) -> Volume:
    geometry = Geometry(
        row_direction=(1, 0, 0),
        column_direction=(0, 1, 0),
        pixel_spacing_mm=(1, 1),
        slice_origins_mm=((0, 0, 0), (0, 0, 2)),
        rows=4,
        columns=4,
    )
    return Volume(np.zeros((2, 4, 4), np.float32), Units.HU, geometry, padding=padding)


def corrected(change: dict[tuple[int, int, int], float], source: Volume) -> Correction:
    pixels = source.pixels.copy()
    for where, value in change.items():
        pixels[where] = value
    return Correction(changed=True, volumes={"ct": source.with_pixels(pixels)})


def test_a_plausible_correction_passes() -> None:
    source = volume()
    outcome = corrected({(0, 1, 1): 40.0, (1, 0, 0): -30.0}, source)
    assert check(SPEC, {"ct": source}, outcome) is outcome


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (4000.0, "allowed are -1024 to 3071"),
        (-1500.0, "allowed are -1024 to 3071"),
        (501.0, "allowed are 500"),
        (-400.0, "on average"),
    ],
)
def test_implausible_values_are_stopped(value: float, says: str) -> None:
    source = volume()
    with pytest.raises(GuardViolation, match=says):
        check(SPEC, {"ct": source}, corrected({(0, 1, 1): value}, source))


def test_too_many_changed_voxels_are_stopped() -> None:
    source = volume()
    outcome = Correction(changed=True, volumes={"ct": source.with_pixels(source.pixels + 1)})
    with pytest.raises(GuardViolation, match=r"changed 100\.0%"):
        check(SPEC, {"ct": source}, outcome)


def test_padding_must_stay() -> None:
    padding = np.zeros((2, 4, 4), bool)
    padding[0, 0, 0] = True
    source = volume(padding)
    with pytest.raises(GuardViolation, match="padding"):
        check(SPEC, {"ct": source}, corrected({(0, 0, 0): 5.0}, source))
    check(SPEC, {"ct": source}, corrected({(0, 0, 1): 5.0}, source))


def test_another_shape_is_stopped() -> None:
    source = volume()
    smaller = replace(source.geometry, slice_origins_mm=source.geometry.slice_origins_mm[:1])
    other = Volume(source.pixels[:1], Units.HU, smaller)
    with pytest.raises(GuardViolation, match="came back as"):
        check(SPEC, {"ct": source}, Correction(changed=True, volumes={"ct": other}))


def test_another_geometry_or_unit_is_stopped() -> None:
    source = volume()
    moved = replace(source, geometry=replace(source.geometry, pixel_spacing_mm=(2, 2)))
    with pytest.raises(GuardViolation, match="another geometry"):
        check(SPEC, {"ct": source}, Correction(changed=True, volumes={"ct": moved}))
    renamed = replace(source, units=Units.MR_SIGNAL)
    with pytest.raises(GuardViolation, match="other units"):
        check(SPEC, {"ct": source}, Correction(changed=True, volumes={"ct": renamed}))


def test_an_unknown_role_is_stopped() -> None:
    source = volume()
    with pytest.raises(GuardViolation, match="not given"):
        check(SPEC, {"ct": source}, Correction(changed=True, volumes={"mr": source}))


def test_maps_and_masks_must_lie_on_the_grid_and_be_finite() -> None:
    source = volume()
    good = corrected({(0, 1, 1): 4.0}, source)
    small = Mask("ct", np.zeros((1, 4, 4), bool), "Metal")
    with pytest.raises(GuardViolation, match="has shape"):
        check(SPEC, {"ct": source}, replace(good, masks={"metal": small}))
    broken = ParameterMap("ct", np.full((2, 4, 4), np.nan, np.float32), Units.HU, "Change")
    with pytest.raises(GuardViolation, match="not finite"):
        check(SPEC, {"ct": source}, replace(good, maps={"change": broken}))


def test_something_else_than_a_correction_is_the_correctors_fault() -> None:
    with pytest.raises(CorrectorFailed, match="ndarray"):
        check(SPEC, {"ct": volume()}, np.zeros(3))


BINS = replace(
    SPEC, inputs={"ct": Accepts("MR", Units.MR_SIGNAL, axes="bzyx")}, limits={"ct": Limits(0, 50, largest_change=1)}
)


def bins(padding: np.ndarray | None = None, axes: str = "bzyx") -> Volume:
    one = volume()
    pixels = np.stack([one.pixels + 10 * b for b in range(3)])
    return Volume(pixels, Units.MR_SIGNAL, one.geometry, axes=axes, padding=padding)


def combined(source: Volume, value: float = 30.0) -> Volume:
    return Volume(np.full(source.shape[1:], value, np.float32), Units.MR_SIGNAL, source.geometry)


def outcome_of(after: Volume) -> Correction:
    return Correction(changed=True, volumes={"ct": after})


def test_bins_may_come_back_as_one_image_whatever_it_differs_by() -> None:
    outcome = outcome_of(combined(bins()))
    assert check(BINS, {"ct": bins()}, outcome) is outcome


@pytest.mark.parametrize(("value", "says"), [(np.nan, "not finite"), (51.0, "from 51 to 51"), (-1.0, "allowed are 0")])
def test_an_image_of_all_bins_has_limits(value: float, says: str) -> None:
    with pytest.raises(GuardViolation, match=says):
        check(BINS, {"ct": bins()}, outcome_of(combined(bins(), value)))


def test_padding_of_every_bin_must_come_back_and_that_of_some_may_not() -> None:
    padding = np.zeros((3, 2, 4, 4), bool)
    padding[:, 0, 0, 0] = True
    padding[:2, 1, 1, 1] = True
    after = combined(bins())
    with pytest.raises(GuardViolation, match="every bin of the source holds padding"):
        check(BINS, {"ct": bins(padding)}, outcome_of(after))
    kept = after.pixels.copy()
    kept[0, 0, 0] = 10.0
    check(BINS, {"ct": bins(padding)}, outcome_of(after.with_pixels(kept)))


def test_padding_of_every_bin_has_no_limits() -> None:
    source = bins(np.ones((3, 2, 4, 4), bool))
    below = replace(source, pixels=source.pixels - 2000)
    check(BINS, {"ct": below}, outcome_of(combined(below, -1990.0)))


def test_only_bins_are_combined_and_onto_the_same_grid() -> None:
    source = bins()
    with pytest.raises(GuardViolation, match="came back as zyx"):
        check(BINS, {"ct": bins(axes="tzyx")}, outcome_of(combined(source)))
    moved = replace(combined(source), geometry=replace(source.geometry, pixel_spacing_mm=(2, 2)))
    with pytest.raises(GuardViolation, match="another geometry"):
        check(BINS, {"ct": source}, outcome_of(moved))
    fewer = replace(source.geometry, slice_origins_mm=source.geometry.slice_origins_mm[:1])
    with pytest.raises(GuardViolation, match="came back as"):
        check(BINS, {"ct": source}, outcome_of(Volume(np.zeros((1, 4, 4), np.float32), Units.MR_SIGNAL, fewer)))
