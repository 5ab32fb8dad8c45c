"""Stored -> physical -> stored gives back every value, whatever the rescale."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_node.dicom.pixels import StoredFrame, stored_range, to_physical, to_stored

slopes = st.floats(1e-3, 100).flatmap(lambda s: st.sampled_from([s, -s]))
# float32 has 24 bits: 16 of the stored value leave 8 for an intercept that is large against the slope.
relative_intercepts = st.floats(-(2**21), 2**21)


@st.composite
def cases(draw):
    bits, signed = draw(st.sampled_from([8, 12, 16])), draw(st.booleans())
    lowest, highest = stored_range(bits, signed)
    stored = draw(arrays(np.int64, (3, 5), elements=st.integers(lowest, highest)))
    slope = draw(slopes)
    return stored, bits, signed, slope, draw(relative_intercepts) * abs(slope)


@given(cases())
def test_every_stored_value_comes_back(case):
    stored, bits, signed, slope, intercept = case
    physical = to_physical(stored, slope, intercept)
    assert physical.dtype == np.float32
    np.testing.assert_array_equal(to_stored(physical, slope, intercept, bits, signed), stored)


@given(cases(), st.integers(0, 14), st.floats(-1e4, 1e4, width=32))
def test_encoding_keeps_the_unchanged_and_stays_within_half_a_step_of_the_changed(case, where, change):
    stored, bits, signed, slope, intercept = case
    container = np.uint8 if bits == 8 else np.uint16
    words = (stored & ((1 << bits) - 1)).astype(container)
    frame = StoredFrame(words, stored, slope, intercept, bits, 0, signed, None, None)
    corrected = frame.physical.copy()
    corrected.flat[where] += np.float32(change)
    after, _ = frame.encode(corrected)
    kept = corrected == frame.physical
    np.testing.assert_array_equal(after[kept], words[kept])
    again = after.astype(np.int64)
    if signed:
        again = np.where(again >= 1 << (bits - 1), again - (1 << bits), again)
    lowest, highest = sorted(slope * edge + intercept for edge in stored_range(bits, signed))
    wanted = np.clip(corrected.astype(np.float64), lowest, highest)
    assert np.abs(slope * again + intercept - wanted).max() <= abs(slope) * 0.51 + 1e-6 * np.abs(wanted).max()


@given(cases(), st.data())
def test_padding_never_arises(case, data):
    stored, bits, signed, slope, intercept = case
    lowest, highest = stored_range(bits, signed)
    first = data.draw(st.integers(lowest, highest))
    last = data.draw(st.integers(first, min(first + 20, highest)))
    made = to_stored(to_physical(stored, slope, intercept), slope, intercept, bits, signed, (first, last))
    assert not ((made >= first) & (made <= last)).any()
    untouched = (stored < first) | (stored > last)
    np.testing.assert_array_equal(made[untouched], stored[untouched])
    assert made.min() >= lowest and made.max() <= highest
