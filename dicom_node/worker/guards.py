"""What every correction must pass before anything is derived from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dicom_node.contracts import Correction, CorrectorSpec, Limits, Volume
from dicom_node.errors import CorrectorFailed, GuardViolation

_BLOCK = 1  # slices looked at together: the temporaries of one fit the cache, those of eight are fresh memory each time


def check(spec: CorrectorSpec, inputs: Mapping[str, Volume], outcome: object) -> Correction:
    """Return the outcome as a Correction that the spec's limits allow.

    Args:
        spec: the corrector's spec.
        inputs: what it was given.
        outcome: what it returned.

    Raises:
        CorrectorFailed: it returned no Correction.
        GuardViolation: not finite, wrong shape, units or geometry, out of limits, padding or promised frames changed.
    """
    if not isinstance(outcome, Correction):
        raise CorrectorFailed(f"corrector {spec.name} returned {type(outcome).__name__} instead of a Correction")
    for role, corrected in outcome.volumes.items():
        if role not in inputs:
            raise GuardViolation(f"corrector {spec.name} returned the role {role!r}, which it was not given")
        _same_grid(spec.name, role, inputs[role], corrected)
        if corrected.combines(inputs[role]):
            _combined_within_limits(spec.name, role, inputs[role], corrected, spec.limits[role])
        else:
            _within_limits(spec.name, role, inputs[role], corrected, spec.limits[role])
    for name, image in outcome.maps.items():
        _on_grid(spec.name, name, image.role, image.values.shape, inputs)
        if not np.isfinite(image.values).all():
            raise GuardViolation(f"corrector {spec.name}: the map {name!r} holds values that are not finite")
    for name, mask in outcome.masks.items():
        _on_grid(spec.name, name, mask.role, mask.voxels.shape, inputs)
    return outcome


def _on_grid(name: str, image: str, role: str, shape: tuple[int, ...], inputs: Mapping[str, Volume]) -> None:
    if role not in inputs:
        raise GuardViolation(f"corrector {name}: {image!r} lies on the unknown role {role!r}")
    if shape != inputs[role].geometry.shape:
        raise GuardViolation(
            f"corrector {name}: {image!r} has shape {shape}, role {role!r} {inputs[role].geometry.shape}"
        )


def _same_grid(name: str, role: str, before: Volume, after: Volume) -> None:
    expected = before.shape[1:] if after.combines(before) else before.shape
    if after.shape != expected or not (after.axes == before.axes or after.combines(before)):
        raise GuardViolation(
            f"corrector {name}: role {role!r} came back as {after.axes} {after.shape}, was {before.axes} {before.shape}"
        )
    if after.geometry != before.geometry or after.units != before.units:
        raise GuardViolation(f"corrector {name}: role {role!r} came back with another geometry or other units")


def _within_limits(name: str, role: str, before: Volume, after: Volume, limits: Limits) -> None:
    was = before.pixels.reshape(-1, *before.pixels.shape[-2:])
    now = after.pixels.reshape(was.shape)
    padding = None if before.padding is None else before.padding.reshape(was.shape)
    changed_voxels = 0
    for start in range(0, len(was), _BLOCK):
        block = slice(start, start + _BLOCK)
        changed = now[block] != was[block]
        if not changed.any():
            continue
        if not np.isfinite(now[block]).all():
            raise GuardViolation(f"corrector {name}: role {role!r} holds values that are not finite")
        if padding is not None and (changed & padding[block]).any():
            raise GuardViolation(f"corrector {name}: role {role!r} was changed where the source holds padding")
        changed_voxels += int(changed.sum())
        values = now[block][changed]
        if values.min() < limits.lowest or values.max() > limits.highest:
            raise GuardViolation(
                f"corrector {name}: role {role!r} has changed values from {values.min():g} to {values.max():g} "
                f"{before.units}, allowed are {limits.lowest:g} to {limits.highest:g}"
            )
        change = now[block] - was[block]
        if limits.largest_change is not None and np.abs(change).max() > limits.largest_change:
            raise GuardViolation(
                f"corrector {name}: role {role!r} changed a voxel by {np.abs(change).max():g} {before.units}, "
                f"allowed are {limits.largest_change:g}"
            )
        if limits.largest_mean_change is not None:
            _mean_change(name, role, change, changed, limits.largest_mean_change)
    if changed_voxels > limits.largest_changed_fraction * was.size:
        raise GuardViolation(
            f"corrector {name}: role {role!r} changed {changed_voxels / was.size:.1%} of its voxels, "
            f"allowed are {limits.largest_changed_fraction:.1%}"
        )


def _combined_within_limits(name: str, role: str, before: Volume, after: Volume, limits: Limits) -> None:
    """Limits of an image of all bins: there is no one bin that it could be compared with, so changes have none."""
    for z, now in enumerate(after.pixels):
        if not np.isfinite(now).all():
            raise GuardViolation(f"corrector {name}: role {role!r} holds values that are not finite")
        padding = None if before.padding is None else before.padding[:, z].all(axis=0)
        if padding is not None and padding.any():
            bins = before.pixels[:, z, padding]
            if (now[padding] < bins.min(axis=0)).any() or (now[padding] > bins.max(axis=0)).any():
                raise GuardViolation(
                    f"corrector {name}: role {role!r} was changed where every bin of the source holds padding"
                )
        values = now if padding is None else now[~padding]
        lowest, highest = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        if lowest < limits.lowest or highest > limits.highest:
            raise GuardViolation(
                f"corrector {name}: role {role!r} has combined values from {lowest:g} to {highest:g} "
                f"{before.units}, allowed are {limits.lowest:g} to {limits.highest:g}"
            )


def _mean_change(name: str, role: str, change: np.ndarray, changed: np.ndarray, allowed: float) -> None:
    counts = changed.sum(axis=(1, 2))
    means = np.divide(change.sum(axis=(1, 2), dtype=np.float64), counts, out=np.zeros(len(counts)), where=counts > 0)
    worst = float(np.abs(means).max())
    if worst > allowed:
        raise GuardViolation(
            f"corrector {name}: role {role!r} shifted a slice by {worst:g} on average, allowed are {allowed:g}"
        )
