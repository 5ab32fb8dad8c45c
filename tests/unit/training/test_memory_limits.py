"""Out of memory: the largest batch that fits is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_task
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run_case import begin

from training.diary import SilentDiary
from training.memory import OutOfMemory, is_out_of_memory, largest_batch


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 300), st.integers(1, 300))
def test_the_largest_batch_that_fits_is_found(limit: int, refused: int) -> None:
    def attempt(size: int) -> None:
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert largest_batch(refused, attempt) == min(limit, refused - 1)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        largest_batch(8, attempt)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to get 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_says_that_memory_is_short(error: BaseException, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_a_run_whose_batch_does_not_fit_says_which_would(tmp_path: Path) -> None:
    run = begin(small_task.recipe(fit={"batch": 16}), tmp_path)
    batches = run._task.batch

    def limited(draws: list[object]) -> object:
        if len(draws) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batches(draws)  # type: ignore[arg-type]

    run._task.batch = limited  # type: ignore[method-assign,assignment]
    with pytest.raises(OutOfMemory, match=r"largest batch that fits is 5: begin anew with fit\.accumulate 4") as told:
        run.train(SilentDiary(), deadline=None)
    assert "blur-small" in str(told.value)
