"""How much memory a worker may use: found out, made known to the kernel, and asked before anything is decoded."""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_node.contracts import RoleInstance
from dicom_node.errors import TooLarge

MEGABYTE: Final = 1e6
_RESERVE: Final = 2e9
_RESERVED_SHARE: Final = 0.2
"""What is left to the other processes, the kernel and its file cache: so many bytes, or this share where it is more."""
_LEAST: Final = 1e9
_VOXEL_BYTES: Final = 4 + 4 + 1
"""Of the whole volume: the voxels as read, as corrected, and the padding mask [bytes]."""
_FRAME_VOXEL_BYTES: Final = 48
"""Of the frame that is being decoded: container words, stored values and their steps in 64 bits [bytes]."""
_EXHAUSTED: Final = ("allocate memory", "out of memory", "std::bad_alloc")


@dataclass(frozen=True)
class Memory:
    """What one worker may use.

    Attributes:
        limit: private memory [bytes].
    """

    limit: int

    def confine(self) -> None:
        """Have the kernel refuse this process more than its limit; what asks for more gets a MemoryError.

        RLIMIT_DATA counts private writable memory. RLIMIT_AS would count the address space too, of which CUDA
        reserves far more than the machine has memory.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = self.limit if hard == resource.RLIM_INFINITY else min(self.limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def check(self, roles: Mapping[str, Sequence[RoleInstance]]) -> None:
        """Refuse images that announce more pixels than fit, before anything is allocated.

        Args:
            roles: instances by role, with their headers.

        Raises:
            TooLarge: names the series, what it needs and what there is.
        """
        free = self.limit - in_use()
        wanted = 0
        for instances in roles.values():
            for series, voxels, largest in _announced(instances):
                wanted += voxels * _VOXEL_BYTES
                if wanted + largest * _FRAME_VOXEL_BYTES > free:
                    raise TooLarge(
                        f"series {series}: its headers announce {voxels / 1e6:.1f} million voxels, for which "
                        f"{(wanted + largest * _FRAME_VOXEL_BYTES) / MEGABYTE:.0f} MB of memory are needed and "
                        f"{max(0, free) / MEGABYTE:.0f} MB are free to this worker: raise node.worker_memory_mb"
                    )


def allowance(configured_mb: float | None, workers: int, machine: int | None = None) -> Memory:
    """What each worker may use.

    Args:
        configured_mb: `node.worker_memory_mb` [MB]; None shares out what the machine has.
        workers: `node.workers`.
        machine: memory of the machine [bytes]; found out when None.
    """
    if configured_mb is not None:
        return Memory(int(configured_mb * MEGABYTE))
    total = machine_bytes() if machine is None else machine
    shared = total - max(_RESERVE, _RESERVED_SHARE * total)
    return Memory(int(max(_LEAST, shared / workers)))


def machine_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of the machine, or of the control group that this process lives in where that has less [bytes].

    Args:
        proc: the process file system.
        cgroups: where control groups are mounted, version 1 or 2.
    """
    found = re.search(r"^MemTotal:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    limits = [int(found.group(1)) * 1024] if found else []
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _group_limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _group_limits(cgroups / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def in_use() -> int:
    """Private memory of this process now, as RLIMIT_DATA counts it [bytes]."""
    found = re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def is_exhausted(error: BaseException) -> bool:
    """Whether an exception means that there was no memory; torch says so in words only."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _EXHAUSTED)


def _group_limits(root: Path, path: str, name: str) -> list[int]:
    """Limits of a group and of those above it; inside a container the path may not be there, but the root is."""
    limits = []
    folder = root / path.strip("/")
    while True:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            text = "max"
        if text.isdigit():
            limits.append(int(text))
        if folder == root:
            return limits
        folder = folder.parent


def _announced(instances: Sequence[RoleInstance]) -> list[tuple[str, int, int]]:
    """For each series its Series Instance UID, its voxels, and those of its largest image."""
    found: dict[str, tuple[int, int]] = {}
    for item in instances:
        header = item.header
        voxels = max(0, _whole(header.get("Rows"))) * max(0, _whole(header.get("Columns")))
        voxels *= max(1, _whole(header.get("NumberOfFrames")))
        total, largest = found.get(header.series_instance_uid, (0, 0))
        found[header.series_instance_uid] = (total + voxels, max(largest, voxels))
    return [(series, total, largest) for series, (total, largest) in found.items()]


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
