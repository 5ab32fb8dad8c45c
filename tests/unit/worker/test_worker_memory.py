"""What a worker may use, and what it refuses for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.contracts import FileRef, RoleInstance
from dicom_node.dicom.headers import read_header
from dicom_node.errors import TooLarge
from dicom_node.testing.series import SyntheticSeries
from dicom_node.worker.memory import Memory, allowance, in_use, is_exhausted, machine_bytes

GIB = 2**30


def machine(folder: Path, *, kib: int, groups: str = "") -> Path:
    proc = folder / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:       {kib} kB\nMemFree:  5 kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    return proc


def limit(cgroups: Path, path: str, name: str, value: str) -> None:
    (cgroups / path).mkdir(parents=True, exist_ok=True)
    (cgroups / path / name).write_text(value + "\n")


def test_the_smallest_control_group_counts(tmp_path: Path) -> None:
    proc = machine(tmp_path, kib=16 * GIB // 1024, groups="0::/system.slice/dicom-node.service\n")
    groups = tmp_path / "groups"
    limit(groups, "system.slice/dicom-node.service", "memory.max", "max")
    assert machine_bytes(proc, groups) == 16 * GIB
    limit(groups, "system.slice", "memory.max", str(6 * GIB))
    assert machine_bytes(proc, groups) == 6 * GIB


def test_a_container_sees_its_limit_at_the_root_of_either_version(tmp_path: Path) -> None:
    proc = machine(tmp_path, kib=16 * GIB // 1024, groups="9:name=systemd:/\n4:memory,cpu:/docker/0815\n")
    limit(tmp_path / "v1", "memory", "memory.limit_in_bytes", str(3 * GIB))
    assert machine_bytes(proc, tmp_path / "v1") == 3 * GIB
    (proc / "self" / "cgroup").write_text("0::/docker/0815\n")
    limit(tmp_path / "v2", "", "memory.max", str(2 * GIB))
    assert machine_bytes(proc, tmp_path / "v2") == 2 * GIB
    assert machine_bytes(proc, tmp_path / "none") == 16 * GIB


def test_this_machine_has_memory() -> None:
    assert 0.5e9 < machine_bytes() < 1e14
    assert 10e6 < in_use() < machine_bytes() * 4


@pytest.mark.parametrize(
    ("configured_mb", "workers", "machine", "expected"),
    [
        (700, 4, 64 * 10**9, 700 * 10**6),
        (None, 1, 64 * 10**9, 51_200_000_000),
        (None, 4, 64 * 10**9, 12_800_000_000),
        (None, 1, 8 * 10**9, 6 * 10**9),
        (None, 8, 4 * 10**9, 10**9),
    ],
)
def test_workers_share_what_the_others_leave(
    configured_mb: float | None, workers: int, machine: int, expected: int
) -> None:
    assert allowance(configured_mb, workers, machine) == Memory(expected)


def instances(folder: Path, **tags: int) -> dict[str, list[RoleInstance]]:
    files = SyntheticSeries(slices=3, rows=16, columns=16).write(folder)
    headers = [read_header(FileRef(path)) for path in files]
    return {"ct": [RoleInstance(replace(h, tags={**h.tags, **tags}), {}) for h in headers]}


def test_headers_that_announce_more_than_fits_are_refused_with_the_series_and_what_to_do(tmp_path: Path) -> None:
    memory = Memory(in_use() + 10**9)
    memory.check(instances(tmp_path))
    huge = instances(tmp_path, Rows=30000, Columns=30000)
    with pytest.raises(TooLarge, match=r"series [\d.]+: .*2700\.0 million voxels.*node\.worker_memory_mb") as told:
        memory.check(huge)
    assert not told.value.retryable
    many = {"ct": huge["ct"][:0] + instances(tmp_path, Rows=600, Columns=600)["ct"] * 400}
    with pytest.raises(TooLarge):
        memory.check(many)


@pytest.mark.parametrize("frames", [0, -5, 10**6])
def test_odd_numbers_in_headers_are_no_way_around_it(tmp_path: Path, frames: int) -> None:
    odd = instances(tmp_path, Rows=512, Columns=512, NumberOfFrames=frames)
    memory = Memory(in_use() + 10**9)
    if frames > 0:
        with pytest.raises(TooLarge):
            memory.check(odd)
    else:
        memory.check(odd)


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_torch_says_in_words_that_there_is_no_memory(error: Exception, exhausted: bool) -> None:
    assert is_exhausted(error) is exhausted
