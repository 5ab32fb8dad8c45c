"""Which image goes where in a volume with a leading axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from dicom_node.contracts import RoleInstance
from dicom_node.errors import UnusableSeries

TIME_KEYWORDS = ("TriggerTime", "TemporalPositionIdentifier", "AcquisitionTime", "ContentTime")
"""Tried in this order: the first that tells the images of every position apart is used."""
BIN_CAPTURE = "bin"
"""Name of the route's capture that numbers the spectral bins."""

Grid = list[list[int]]
Key = Callable[[RoleInstance], float | None]


def arrange(instances: Sequence[RoleInstance], positions: Sequence[Sequence[int]], axes: str) -> Grid:
    """Put the images into frames.

    Args:
        instances: the images.
        positions: indices of the images at each slice position, along the normal.
        axes: `zyx`, `tzyx` or `bzyx`; one image at each position and no captured bin is one bin.

    Returns:
        Index of the image at [leading axis][slice]; one leading entry for `zyx`.

    Raises:
        UnusableSeries: several images at one position without an axis for them, unequal counts, or nothing that
            tells their order.
    """
    series = instances[0].header.series_instance_uid
    counts = {len(group) for group in positions}
    if axes == "zyx" and counts != {1}:
        crowded = sum(len(group) > 1 for group in positions)
        raise UnusableSeries(
            f"series {series}: several images at the same position ({crowded} of {len(positions)} positions)"
        )
    if len(counts) > 1:
        raise UnusableSeries(
            f"series {series}: {min(counts)} to {max(counts)} images at a position, all must have the same number"
        )
    if axes == "zyx":
        return [[group[0] for group in positions]]
    return _by_time(instances, positions) if axes == "tzyx" else _by_bin(instances, positions)


def _by_time(instances: Sequence[RoleInstance], positions: Sequence[Sequence[int]]) -> Grid:
    for keyword in TIME_KEYWORDS:
        grid = _sorted(instances, positions, lambda item, keyword=keyword: _seconds(item, keyword))  # type: ignore[misc]
        if grid is not None:
            return grid
    raise UnusableSeries(
        f"series {instances[0].header.series_instance_uid}: none of {', '.join(TIME_KEYWORDS)} "
        "tells the images of one position apart"
    )


def _by_bin(instances: Sequence[RoleInstance], positions: Sequence[Sequence[int]]) -> Grid:
    series = instances[0].header.series_instance_uid
    if not any(BIN_CAPTURE in item.captures for item in instances) and all(len(group) == 1 for group in positions):
        return [[group[0] for group in positions]]  # one image of all spins: an ordinary acquisition
    bins = [_number(item.captures.get(BIN_CAPTURE)) for item in instances]
    if None in bins:
        raise UnusableSeries(f"series {series}: the route captured no numeric '{BIN_CAPTURE}' for some images")
    grid = _sorted(instances, positions, lambda item: _number(item.captures.get(BIN_CAPTURE)))
    if grid is None:
        raise UnusableSeries(f"series {series}: several images of the same bin at one position")
    if any(len({bins[index] for index in row}) > 1 for row in grid):
        raise UnusableSeries(f"series {series}: not every bin is there at every position")
    if any(len({instances[index].header.series_instance_uid for index in row}) > 1 for row in grid):
        raise UnusableSeries(f"series {series}: slices of one bin come from several series")
    return grid


def _sorted(instances: Sequence[RoleInstance], positions: Sequence[Sequence[int]], key: Key) -> Grid | None:
    """Images of each position in the order of a key; None unless the key is there and distinct everywhere."""
    columns = []
    for group in positions:
        keyed = [(key(instances[index]), index) for index in group]
        known = sorted((value, index) for value, index in keyed if value is not None)
        if len(known) < len(keyed) or any(a[0] == b[0] for a, b in pairwise(known)):
            return None
        columns.append([index for _, index in known])
    return [list(row) for row in zip(*columns, strict=True)]


def _seconds(item: RoleInstance, keyword: str) -> float | None:
    value = item.header.get(keyword)
    if keyword.endswith("Time") and isinstance(value, str):
        # DICOM TM: HHMMSS.ffffff; only the order within one acquisition matters.
        hours, minutes, seconds = value[:2], value[2:4], value[4:]
        parts = [_number(part or "0") for part in (hours, minutes, seconds)]
        return None if None in parts else sum(p * f for p, f in zip(parts, (3600, 60, 1), strict=True) if p is not None)
    return _number(value)


def _number(value: object) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
