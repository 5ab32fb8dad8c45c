"""Specs of correctors that need no code, for tests of routing."""

from __future__ import annotations

from dicom_node.contracts import Accepts, CorrectorSpec, Limits


def routing_spec(name: str, **inputs: Accepts) -> CorrectorSpec:
    """A spec that can be routed to but not built.

    Args:
        name: name of the corrector.
        inputs: what each role accepts.
    """
    return CorrectorSpec(
        name=name,
        version="1",
        api=1,
        title=name,
        inputs=inputs,
        methods={"classical": "does something"},
        default_method="classical",
        factory="nowhere:build",
        limits={role: Limits(0.0, 1.0) for role in inputs},
    )
