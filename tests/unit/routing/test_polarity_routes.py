"""The default route of both readout polarities: names, bins, one series or two, and what is never taken."""

from __future__ import annotations

import pytest

from dicom_node.contracts import Accepts, Units
from dicom_node.routing import default_rules, route, route_for
from dicom_node.testing.header_views import AXIAL, CORONAL, series_view
from dicom_node.testing.specs import routing_spec

RULES = default_rules()
MR = Accepts("MR", Units.MR_SIGNAL, axes="bzyx", needs=("PixelBandwidth",))
SPECS = {"mavric": routing_spec("mavric", plus=MR, minus=MR)}
TAGS = {
    "Modality": "MR",
    "ImageType": ("ORIGINAL", "PRIMARY", "OTHER"),
    "ScanningSequence": "SE",
    "PixelBandwidth": 488.0,
    "MagneticFieldStrength": 3.0,
}
GE_OFFSET = "0043,GEMS_PARM_01,34"
NUMBERS = {
    "TemporalPositionIdentifier": (1, 2, 3),
    "EchoNumbers": (1, 2, 3),
    GE_OFFSET: (-1000, 0, 1000),
    "ImagingFrequency": (127.739, 127.74, 127.741),
}


def frames(bins=3, slices=2, **tags):
    """Headers of every image of one polarity; a tag with several values numbers the bins."""
    return [
        {
            "ImagePositionPatient": (0.0, 0.0, 4.0 * z),
            **{k: v[b] if isinstance(v, tuple) else v for k, v in tags.items()},
        }
        for z in range(slices)
        for b in range(bins)
    ]


def one(name, description, own=(), **tags):
    return series_view(name, {**TAGS, "SeriesDescription": description, **tags}, own or frames(EchoNumbers=(1, 2, 3)))


def pair(plus, minus, own=(), **tags):
    return [one("p", plus, own, **tags), one("m", minus, own, **tags)]


def taken(series):
    """Number of images by role of the one set that was made."""
    sets = route(series, RULES, SPECS).input_sets
    return {role: len(items) for made in sets for role, items in made.roles.items()}


def bins_of(series, role="plus"):
    (made,) = route(series, RULES, SPECS).input_sets
    return sorted({i.captures.get("bin") for i in made.roles[role]}, key=str)


def said(result):
    return " | ".join(reason for e in result.explanations for reason in e.reasons)


@pytest.mark.parametrize(
    ("plus", "minus"),
    [
        ("MAVRIC hip RO+", "MAVRIC hip RO-"),
        ("mavric ro_+", "mavric ro_-"),
        ("MAVRIC Pol + cor", "MAVRIC Pol - cor"),
        ("SEMAC POS", "SEMAC NEG"),
        ("semac_fwd_cor", "semac_rev_cor"),
        ("MAVRIC polarity plus", "MAVRIC polarity minus"),
        ("MAVRIC readout: positive", "MAVRIC readout: negative"),
        ("MAVRIC forward read", "MAVRIC reverse read"),
        ("MAVRIC polarity +", "MAVRIC polarity -"),
    ],
)
@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "SequenceName"])
def test_polarity_is_found_in_three_tags(keyword, plus, minus):
    series = [
        one("p", "MAVRIC", **{keyword: plus}),
        one("m", "MAVRIC", **{keyword: minus}),
    ]
    assert taken(series) == {"plus": 6, "minus": 6}
    assert taken(series[:1]) == {}


@pytest.mark.parametrize(
    ("plus", "minus"),
    [
        ("MAVRIC PRO+", "MAVRIC PRO-"),
        ("MAVRIC RO+2", "MAVRIC RO-2"),
        ("MAVRIC posterior", "MAVRIC negligible"),
        ("MAVRIC pos1", "MAVRIC neg1"),
        ("MAVRIC + fat", "MAVRIC - fat"),
        ("MAVRIC plus", "MAVRIC minus"),
        ("MAVRIC RO+/RO-", "MAVRIC RO-/RO+"),
    ],
)
def test_what_only_looks_like_a_polarity_is_none(plus, minus):
    assert taken(pair(plus, minus)) == {}


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "SequenceName"])
def test_both_polarities_may_come_in_one_series(keyword):
    both = [{**f, keyword: f"mavric {sign}"} for sign in ("RO+", "RO-") for f in frames(EchoNumbers=(1, 2, 3))]
    assert taken([series_view("both", {**TAGS, "SeriesDescription": "MAVRIC"}, both)]) == {"plus": 6, "minus": 6}


@pytest.mark.parametrize("keyword", NUMBERS)
def test_bins_are_numbered_by_the_first_tag_that_tells_them_apart(keyword):
    tags = {k: v if k == keyword else v[0] for k, v in NUMBERS.items()}
    assert len(bins_of(pair("MAVRIC RO+", "MAVRIC RO-", frames(**tags)))) == 3
    others = {k: v for k, v in NUMBERS.items() if list(NUMBERS).index(k) >= list(NUMBERS).index(keyword)}
    wanted = sorted({str(v) for v in NUMBERS[keyword]})
    assert bins_of(pair("MAVRIC RO+", "MAVRIC RO-", frames(**others))) == wanted


def test_a_tag_that_numbers_the_polarities_does_not_number_the_bins():
    both = [
        {**f, "SequenceName": sign, "TemporalPositionIdentifier": n}
        for n, sign in enumerate(("ro+", "ro-"), start=1)
        for f in frames(EchoNumbers=(1, 2, 3))
    ]
    assert bins_of([series_view("both", {**TAGS, "SeriesDescription": "MAVRIC"}, both)]) == ["1", "2", "3"]


def test_bins_may_be_series_that_are_numbered_by_name():
    series = [one(f"{s}{b}", f"MAVRIC RO{s} bin {b}", frames(bins=1)) for s in "+-" for b in (9, 10, 11)]
    assert taken(series) == {"plus": 6, "minus": 6}
    assert taken(series[:-1]) == {}


def test_the_scanner_may_retune_between_the_polarities():
    series = [
        one("p", "MAVRIC RO+", frames(ImagingFrequency=NUMBERS["ImagingFrequency"])),
        one("m", "MAVRIC RO-", frames(ImagingFrequency=tuple(f + 7e-6 for f in NUMBERS["ImagingFrequency"]))),
    ]
    assert taken(series) == {"plus": 6, "minus": 6}


def test_polarities_with_different_numbers_of_bins_wait():
    series = [one("p", "MAVRIC RO+"), one("m", "MAVRIC RO-", frames(bins=2, EchoNumbers=(1, 2)))]
    result = route(series, RULES, SPECS)
    assert result.input_sets == () and "different numbers of bin (minus has 2, plus has 3)" in said(result)


@pytest.mark.parametrize("description", ["MAVRIC RO{}", "T1 SE RO{}"])
def test_a_pair_without_bins_is_taken_as_one_bin(description):
    series = pair(description.format("+"), description.format("-"), frames(bins=1, EchoNumbers=1), PixelBandwidth=130.0)
    assert taken(series) == {"plus": 2, "minus": 2}
    assert bins_of(series) == [None]


def test_a_pair_without_bins_may_come_in_one_series():
    both = [{**f, "SequenceName": s} for s in ("se ro+", "se ro-") for f in frames(bins=1)]
    assert taken([series_view("both", {**TAGS, "SeriesDescription": "T1"}, both)]) == {"plus": 2, "minus": 2}


def test_several_images_at_a_position_without_bins_are_left_with_the_reason():
    result = route(pair("MAVRIC RO+", "MAVRIC RO-", frames(EchoNumbers=1)), RULES, SPECS)
    assert result.input_sets == ()
    assert "cannot tell bin from the headers: several images lie at one position, and no tag" in said(result)


def test_a_combined_series_beside_its_bins_is_left_and_they_are_taken():
    series = [*pair("MAVRIC RO+", "MAVRIC RO-"), one("c", "MAVRIC RO+ all", frames(bins=1))]
    result = route(series, RULES, SPECS)
    (made,) = result.input_sets
    assert {role: len(items) for role, items in made.roles.items()} == {"plus": 6, "minus": 6}
    assert "incomplete: no minus in this study" in said(result)


@pytest.mark.parametrize("description", ["MAVRIC SL PD cor", "MAVRIC hip phantom", "t1 semac tra"])
@pytest.mark.parametrize("bandwidth", [488.0, None])
def test_a_combined_series_is_passed_through_with_the_reason(description, bandwidth):
    series = [one("s", description, frames(bins=1), PixelBandwidth=bandwidth)]
    for result in (route(series, RULES, SPECS), route_for(series, SPECS["mavric"], RULES)):
        assert result.input_sets == ()
        assert "combined multi-spectral series: no readout polarity is named" in said(result)
        assert "the scanner combined the bins before export" in said(result)


def test_bins_of_an_unnamed_polarity_are_told_what_is_missing():
    assert "must say RO+ or RO-" in said(route([one("s", "MAVRIC hip")], RULES, SPECS))


@pytest.mark.parametrize(
    "tags",
    [
        {"ScanningSequence": "EP"},
        {"ScanningSequence": ("EP", "SE")},
        {"2001,Philips Imaging DD 001,13": 59},
        {"ProtocolName": "ep2d_diff"},
        {"ImageType": ("ORIGINAL", "PRIMARY", "DIFFUSION")},
        {"ScanningSequence": "GR"},
    ],
)
def test_echo_planar_diffusion_and_gradient_echo_are_never_taken(tags):
    series = pair("MAVRIC RO+", "MAVRIC RO-", **tags)
    assert taken(series) == {}
    assert route_for(series, SPECS["mavric"], RULES).input_sets == ()


@pytest.mark.parametrize("words", [("T2 tse POS", "T2 tse NEG"), ("knee fwd", "knee rev")])
def test_a_word_alone_is_one_cue_and_not_enough(words):
    own = frames(bins=1)
    assert taken(pair(*words, own, PixelBandwidth=130.0)) == {}
    assert taken(pair(*words, own)) == {"plus": 2, "minus": 2}, "a high bandwidth is the second"


@pytest.mark.parametrize("plane", [AXIAL, CORONAL])
@pytest.mark.parametrize("rows", [1.0, -1.0])
@pytest.mark.parametrize("columns", [1.0, -1.0])
def test_a_flipped_prescription_covers_the_same_positions(plane, rows, columns):
    turned = tuple(s * v for s, v in zip((rows,) * 3 + (columns,) * 3, plane, strict=True))
    across = 2 if plane == AXIAL else 1
    corner = [0.0, 0.0, 0.0]
    corner[0] = 199.0 if rows < 0 else 0.0
    corner[3 - across] = 149.0 if columns < 0 else 0.0
    own, other = [], []
    for z in range(3):
        place = [0.0, 0.0, 0.0]
        place[across] = 1.125 * z
        own.append({"ImagePositionPatient": tuple(place)})
        other.append({"ImagePositionPatient": tuple(p + c + 1e-7 for p, c in zip(place, corner, strict=True))})
    tags = {**TAGS, "SeriesDescription": "SE RO+"}
    series = [
        series_view("p", tags, own, orientation=plane),
        series_view("m", {**tags, "SeriesDescription": "SE RO-"}, other, orientation=turned),
    ]
    assert taken(series) == {"plus": 3, "minus": 3}
    moved = [{"ImagePositionPatient": tuple(v + 1.0 for v in f["ImagePositionPatient"])} for f in other]
    apart = [series[0], series_view("m", {**tags, "SeriesDescription": "SE RO-"}, moved, orientation=turned)]
    assert "different slice positions" in said(route(apart, RULES, SPECS))


def test_a_missing_bandwidth_is_named():
    result = route(pair("MAVRIC RO+", "MAVRIC RO-", PixelBandwidth=None), RULES, SPECS)
    assert result.input_sets == ()
    assert "default-mavric: as plus: missing what mavric needs: PixelBandwidth" in said(result)
    assert "no instance has polarity" not in said(result)
    assert "PixelBandwidth" in said(route_for(pair("a RO+", "a RO-", PixelBandwidth=None), SPECS["mavric"], RULES))
