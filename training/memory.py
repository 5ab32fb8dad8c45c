"""When a batch does not fit into memory: which one would."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from dicom_node.errors import NodeError


class OutOfMemory(NodeError):
    """A batch does not fit into the device's memory; the message says which would."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python says that memory is short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        said in text for said in ("can't allocate memory", "not enough memory", "out of memory")
    )


def largest_batch(refused: int, attempt: Callable[[int], object]) -> int:
    """Largest batch below `refused` for which `attempt` does not run out of memory; 0 when none does.

    Args:
        refused: a size that did not fit.
        attempt: does all the work of one batch of a size.
    """
    fits, too_large = 0, refused
    while too_large - fits > 1:
        size = (fits + too_large) // 2
        _release()
        try:
            attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            too_large = size
        else:
            fits = size
    _release()
    return fits


def _release() -> None:
    """Give back what CUDA keeps for later; the CPU keeps nothing."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
