"""A fault of the node's own, at any point of a delivery, ends neither the peer's lane nor what waits in it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from consignments import Dispatch, dispatch, peer
from hostile import HostilePeer, Manners
from peers import wait_until

from dicom_node import faults
from dicom_node.jobs.states import JobState
from dicom_node.testing.series import SyntheticSeries

AFTER_THE_LEASE = ("delivery.sent", "delivery.status_recorded", "delivery.verified", "delivery.committed")


@pytest.fixture
def dispatching(tmp_path: Path) -> Iterator[Callable[[int], Dispatch]]:
    made = []

    def make(port: int) -> Dispatch:
        made.append(dispatch(tmp_path, {"pacs": peer("HOSTILE", port)}))
        return made[-1]

    yield make
    faults.arm(None)
    for one in made:
        one.database.close()


def ct(number: int) -> SyntheticSeries:
    return SyntheticSeries(slices=2, series_number=number, seed=number, rows=32, columns=32)


@pytest.mark.parametrize("point", AFTER_THE_LEASE)
def test_what_comes_after_a_fault_is_delivered(point: str, dispatching: Callable[[int], Dispatch]) -> None:
    struck = []

    def strike(reached: str) -> None:
        if reached == point and not struck:
            struck.append(reached)
            raise OSError(errno.EIO, "Input/output error")

    with HostilePeer(Manners()) as there:
        sending = dispatching(there.port)
        first = sending.derived("a", {"ct": ct(1)}, ("pacs",))
        second = sending.derived("b", {"ct": ct(2)}, ("pacs",))
        faults.arm(strike)
        stage = sending.attempt(wait=False)

        def delivered() -> bool:
            sending.later()
            stage.step(sending.now)
            return all(sending.job(job).state is JobState.DELIVERED for job in (first, second))

        wait_until(delivered, 30, "both series delivered")
        stage.close(10)
    assert struck
    assert len(there.stored) == 4
