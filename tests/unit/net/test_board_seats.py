from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.net.board import Board

_SPAWN = multiprocessing.get_context("spawn")
MakeBoard = Callable[[int, int], Board]


@pytest.fixture
def make(tmp_path: Path) -> MakeBoard:
    return lambda receivers, seats: Board.create(_SPAWN, receivers, seats, tmp_path / "seats.lock")


def test_the_total_holds_over_all_receivers(make: MakeBoard) -> None:
    board = make(2, 3)
    one, other = board.place(0), board.place(1)
    seats = [one.sit("10.0.0.1", 9), other.sit("10.0.0.2", 9), other.sit("10.0.0.3", 9)]
    assert None not in seats
    assert board.seated() == 3
    assert one.sit("10.0.0.4", 9) is None
    other.stand_up(seats[1])
    assert one.sit("10.0.0.4", 9) is not None


def test_one_address_cannot_take_all_seats_whichever_receiver_it_reaches(make: MakeBoard) -> None:
    board = make(2, 10)
    assert board.place(0).sit("10.0.0.1", 2) is not None
    assert board.place(1).sit("::ffff:10.0.0.1", 2) is not None
    assert board.place(0).sit("10.0.0.1", 2) is None
    assert board.place(0).sit("fe80::1%eth0", 2) is not None


def test_one_receiver_alone_can_take_every_seat(make: MakeBoard) -> None:
    place = make(2, 5).place(1)
    assert [place.sit(f"10.0.0.{n}", 1) is not None for n in range(6)] == [True] * 5 + [False]


def test_seats_of_a_dead_receiver_are_free_again_and_its_counters_stay(make: MakeBoard) -> None:
    board = make(2, 2)
    board.place(0).sit("10.0.0.1", 9)
    board.place(1).sit("10.0.0.2", 9)
    board.place(0).count("instances", 7)
    board.clear_seats(0)
    assert board.seated() == 1
    assert board.counters()[0]["instances"] == 7
    assert board.counters()[1]["instances"] == 0


def _sit_and_count(board: Board, index: int) -> None:
    place = board.place(index)
    assert place.sit(f"10.0.0.{index}", 9) is not None
    place.count("bytes", 5_000_000_000)


def test_processes_share_it(make: MakeBoard) -> None:
    board = make(2, 4)
    for index in range(2):
        process = _SPAWN.Process(target=_sit_and_count, args=(board, index))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert board.seated() == 2
    assert [row["bytes"] for row in board.counters()] == [5_000_000_000] * 2
