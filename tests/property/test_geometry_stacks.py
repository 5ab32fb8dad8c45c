"""Any evenly spaced stack in any orientation and order is put back together; any missing slice is noticed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.dicom.geometry import place, positions, stack
from dicom_node.errors import UnusableSeries

unit = st.floats(-1, 1)
lengths = st.floats(0.3, 10)


@st.composite
def frames(draw):
    """A random right-handed frame (row, column, normal)."""
    a, b = np.array(draw(st.tuples(unit, unit, unit))), np.array(draw(st.tuples(unit, unit, unit)))
    assume(np.linalg.norm(a) > 0.1 and np.linalg.norm(np.cross(a, b)) > 0.1)
    row = a / np.linalg.norm(a)
    normal = np.cross(row, b)
    normal /= np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def header(number, position, row, column):
    tags = {
        # As a scanner writes them: six decimals of direction, and of position.
        "ImagePositionPatient": tuple(float(v) for v in np.round(position, 6)),
        "ImageOrientationPatient": tuple(float(v) for v in np.round([*row, *column], 6)),
        "PixelSpacing": (0.5, 0.5),
        "Rows": 4,
        "Columns": 6,
        "SliceThickness": 2.0,
    }
    return InstanceHeader(f"1.{number}", "1.2", "1.3", "1.4", "1.5", "p", tags, FileRef(Path(f"{number}.dcm")), "")


@given(
    frame=frames(),
    step=lengths,
    count=st.integers(1, 40),
    seed=st.randoms(),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_a_stack_is_put_back_in_order(frame, step, count, seed, origin):
    row, column, normal = frame
    headers = [header(n, np.array(origin) + n * step * normal, row, column) for n in range(count)]
    shuffled = list(range(count))
    seed.shuffle(shuffled)
    placement = place([headers[n] for n in shuffled])
    groups = positions(placement)
    assert [shuffled[index] for (index,) in groups] == list(range(count))
    geometry = stack(placement, [index for (index,) in groups])
    assert np.allclose(geometry.normal, normal, atol=1e-5)
    assert np.allclose(geometry.slice_offsets_mm, np.arange(count) * step, atol=1e-3)
    if count > 1:
        corner = geometry.affine() @ [5, 3, count - 1, 1]
        wanted = np.array(origin) + 5 * 0.5 * row + 3 * 0.5 * column + (count - 1) * step * normal
        assert np.allclose(corner[:3], wanted, atol=1e-3)


@given(frame=frames(), step=lengths, count=st.integers(4, 40), data=st.data())
def test_a_missing_slice_is_always_noticed(frame, step, count, data):
    row, column, normal = frame
    missing = data.draw(st.integers(1, count - 2))
    headers = [header(n, n * step * normal, row, column) for n in range(count) if n != missing]
    placement = place(headers)
    with pytest.raises(UnusableSeries, match="missing or unevenly spaced"):
        stack(placement, [index for (index,) in positions(placement)])


@given(frame=frames(), step=lengths, count=st.integers(1, 12), repeats=st.integers(2, 5))
def test_repeats_share_a_position(frame, step, count, repeats):
    row, column, normal = frame
    headers = [header(n, (n % count) * step * normal, row, column) for n in range(count * repeats)]
    groups = positions(place(headers))
    assert groups == [[z + count * r for r in range(repeats)] for z in range(count)]
