"""One process, or several that `torchrun` started: who am I, and what do we agree on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from correctors.common.repeatable import repeatable_kernels
from dicom_node.errors import RequestError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: number of this one; 0 writes files and talks.
        count: how many there are.
        device: where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module | None:
        """The network as all processes fit it together, None when there is only one."""
        if self.count == 1:
            return None
        on = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=on, broadcast_buffers=True)

    def agree(self, value: float) -> float:
        """What the first process says, to all of them; waits for all."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def any(self, value: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return value
        shared = torch.tensor([float(value)], device=self.device)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return bool(shared.item() > 0)

    def mean(self, value: float) -> float:
        """Mean over the processes."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return float(shared.item()) / self.count


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started (it sets RANK and WORLD_SIZE); alone without it.

    Args:
        device: `auto`, `cpu` or `cuda[:n]`; with several processes each takes the GPU of its own local rank.

    Raises:
        RequestError: CUDA was asked for and there is none.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if wanted != "cpu" and re.fullmatch(r"cuda(:\d+)?", wanted) is None:
        raise RequestError(f"--device must be auto, cpu or cuda[:n], got {device!r}")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RequestError("CUDA was asked for, but torch finds no CUDA device: use --device auto or cpu")
    if wanted.startswith("cuda:") and int(wanted[5:]) >= torch.cuda.device_count():
        raise RequestError(f"--device {wanted}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, torch.device(wanted))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    on = torch.device("cuda", local) if wanted.startswith("cuda") else torch.device("cpu")
    if on.type == "cuda":
        torch.cuda.set_device(on)
    distributed.init_process_group("nccl" if on.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, on)
        # Who closes the connection while another still reads from it makes that one abort.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Random numbers and kernels that repeat; whatever was set before comes back afterwards."""
    with repeatable_kernels(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
