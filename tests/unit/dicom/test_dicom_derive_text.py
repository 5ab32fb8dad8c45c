"""ASCII beside foreign text, and foreign text that keeps its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.dicom.text import ascii_text, cut, prefixed


def test_ascii_text_has_no_foreign_or_delimiting_characters():
    assert ascii_text("5 µm") == "5 um"
    assert ascii_text("a\\b\x1b$B\r\n") == "ab$B"
    assert ascii_text("山田") == "??"
    assert ascii_text("long", 2) == "lo"


def test_json_survives_in_multiline_text():
    assert ascii_text('{"a":"b\\\\c"}', multiline=True) == '{"a":"b\\\\c"}'


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("骨盤CT軟部条件" * 6, "utf-8"),
        ("盆腔平扫软组织窗" * 6, "gb18030"),
        ("盆腔平扫软组织窗" * 6, "gbk"),
        ("Таз, мягкие ткани " * 6, "iso8859_5"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "a: ", "ab: "])
def test_cut_text_is_whole_characters_of_the_original(text, codec, prefix):
    value = prefixed(prefix, text.encode(codec), [codec])
    assert len(value) <= 64
    assert len(value) % 2 == 0
    decoded = value.decode(codec).rstrip(" ")
    assert decoded.startswith(prefix)
    assert text.startswith(decoded[len(prefix) :])
    assert len(decoded) > len(prefix) + 5


def test_iso_2022_text_ends_in_its_initial_state():
    raw = b"PELVIS \x1b$B9|HW\x1b(B soft \x1b$B9|HW9|HW\x1b(B end"
    for limit in range(3, len(raw)):
        kept = cut(raw, limit, ["iso8859", "iso2022_jp"])
        assert len(kept) <= limit
        assert raw.startswith(kept)
        assert kept.rfind(b"\x1b(B") >= kept.rfind(b"\x1b$B")
    assert cut(raw, 20, ["iso8859", "iso2022_jp"]) == b"PELVIS \x1b$B9|HW\x1b(B so"
    assert cut(raw, 16, ["iso8859", "iso2022_jp"]) == b"PELVIS "


def test_short_text_is_only_prefixed():
    raw = "山田".encode("gb18030")
    assert prefixed("x: ", raw, ["gb18030"]) == b"x: " + raw + b" "


@given(
    st.text(st.characters(codec="iso2022_jp", exclude_categories=["Cc"]), max_size=60),
    st.sampled_from(["iso2022_jp", "utf-8", "gb18030"]),
    st.integers(8, 64),
)
def test_cutting_any_text_gives_a_prefix_of_it(text, codec, limit):
    raw = text.encode(codec)
    kept = cut(raw, limit, [codec])
    assert len(kept) <= limit
    assert text.startswith(kept.decode(codec))
    if len(raw) <= limit:
        assert kept == raw
