"""Sets of bins that are incomplete though their numbers agree, and several acquisitions of one study."""

from __future__ import annotations

import pytest
from test_polarity_routes import RULES, SPECS, one, pair, said, taken

from dicom_node.routing import route
from dicom_node.testing.header_views import CORONAL


def numbered(*numbers, **tags):
    """Two slices with bins of these numbers."""
    return [
        {"ImagePositionPatient": (0.0, 0.0, 4.0 * z), "TemporalPositionIdentifier": n, **tags}
        for z in range(2)
        for n in numbers
    ]


def test_a_bin_that_neither_role_has_is_missed():
    gap = numbered(1, 2, 3, 5, 6)
    result = route([one("p", "MAVRIC RO+", gap), one("m", "MAVRIC RO-", gap)], RULES, SPECS)
    assert not result.input_sets and "lacks a bin: after 3 comes 5" in said(result)


def test_as_many_but_other_bins_are_no_pair():
    series = [one("p", "MAVRIC RO+", numbered(1, 2, 3, 4)), one("m", "MAVRIC RO-", numbered(2, 3, 4, 5))]
    result = route(series, RULES, SPECS)
    assert not result.input_sets and "different bins: 2 to 5, 1 to 4" in said(result)


def test_numbers_that_go_on_from_one_polarity_to_the_other_are_a_pair():
    series = [one("p", "MAVRIC RO+", numbered(1, 2, 3, 4)), one("m", "MAVRIC RO-", numbered(5, 6, 7, 8))]
    assert taken(series) == {"plus": 8, "minus": 8}


def test_frequencies_that_were_retuned_a_little_are_a_pair():
    def at(shift):
        return [
            {"ImagePositionPatient": (0.0, 0.0, 4.0 * z), "ImagingFrequency": 127.739 + 0.001 * b + shift}
            for z in range(2)
            for b in range(4)
        ]

    series = [one("p", "MAVRIC RO+", at(0.0)), one("m", "MAVRIC RO-", at(0.0002))]
    assert taken(series) == {"plus": 8, "minus": 8}


@pytest.mark.parametrize("names", [("MAVRIC T1", "MAVRIC PD"), ("MAVRIC RO right", "MAVRIC RO left")])
def test_two_contrasts_of_one_study_are_two_sets(names):
    series = []
    for number, name in enumerate(names):
        series += [one(f"p{number}", f"{name} POL+"), one(f"m{number}", f"{name} POL-")]
    sets = route(series, RULES, SPECS).input_sets
    assert len(sets) == 2
    for made in sets:
        assert len({i.header.series_instance_uid for items in made.roles.values() for i in items}) == 2


def test_two_planes_with_the_same_names_are_two_sets():
    coronal = [{**tags, "ImageOrientationPatient": CORONAL} for tags in numbered(1, 2, 3)]
    coronal = [{**tags, "ImagePositionPatient": (0.0, tags["ImagePositionPatient"][2], 0.0)} for tags in coronal]
    series = [*pair("MAVRIC RO+", "MAVRIC RO-", numbered(1, 2, 3))]
    series += [one("p2", "MAVRIC RO+", coronal), one("m2", "MAVRIC RO-", coronal)]
    assert len(route(series, RULES, SPECS).input_sets) == 2


def test_a_stray_series_leaves_the_pair_alone():
    series = [*pair("MAVRIC hip RO+", "MAVRIC hip RO-"), one("stray", "MAVRIC knee RO+")]
    result = route(series, RULES, SPECS)
    assert len(result.input_sets) == 1
    assert "incomplete: no minus in this study" in said(result)


def test_names_that_differ_otherwise_still_make_a_pair():
    assert taken(pair("MAVRIC hip RO+ 3", "MAVRIC hip repeat RO-")) == {"plus": 6, "minus": 6}


def test_a_repeat_is_ambiguous():
    series = [*pair("MAVRIC RO+", "MAVRIC RO-"), one("p2", "MAVRIC RO+"), one("m2", "MAVRIC RO-")]
    result = route(series, RULES, SPECS)
    assert not result.input_sets and "ambiguous" in said(result)
