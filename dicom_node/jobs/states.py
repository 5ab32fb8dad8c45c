"""States of jobs and deliveries, and every change between them that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """Where a job stands; see the table in docs/architecture.md."""

    QUEUED = "QUEUED"
    LEASED = "LEASED"
    DERIVED = "DERIVED"
    DELIVERED = "DELIVERED"
    UNCHANGED = "UNCHANGED"
    REFUSED = "REFUSED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


class DeliveryState(StrEnum):
    """Where the delivery of one job's outputs to one peer stands."""

    PENDING = "PENDING"
    LEASED = "LEASED"
    DONE = "DONE"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"


JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.LEASED, JobState.CANCELLED}),
        JobState.LEASED: frozenset(
            {JobState.QUEUED, JobState.DERIVED, JobState.UNCHANGED, JobState.REFUSED, JobState.DEAD}
        ),
        JobState.DERIVED: frozenset({JobState.DELIVERED, JobState.DEAD, JobState.CANCELLED}),
        JobState.DELIVERED: frozenset(),
        JobState.UNCHANGED: frozenset({JobState.QUEUED}),
        JobState.REFUSED: frozenset({JobState.QUEUED}),
        JobState.DEAD: frozenset({JobState.QUEUED, JobState.DERIVED, JobState.CANCELLED}),
        JobState.CANCELLED: frozenset({JobState.QUEUED}),
    }
)

DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = MappingProxyType(
    {
        DeliveryState.PENDING: frozenset({DeliveryState.LEASED, DeliveryState.CANCELLED}),
        DeliveryState.LEASED: frozenset(
            {DeliveryState.PENDING, DeliveryState.DONE, DeliveryState.DEAD, DeliveryState.CANCELLED}
        ),
        DeliveryState.DONE: frozenset(),
        DeliveryState.DEAD: frozenset({DeliveryState.PENDING}),
        DeliveryState.CANCELLED: frozenset(),
    }
)
