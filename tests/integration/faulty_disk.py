"""A disk that refuses: while a byte in a file is not 0, every change under one folder fails with that error number.

It stands before the calls of this process only, so the database's own writing is not refused; `Tmpfs` in
`test_faults_disk.py` does that for real.
"""

from __future__ import annotations

import builtins
import functools
import io
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

SWITCH = "disk"
_ON_DESCRIPTORS = ("pwrite", "write", "writev", "fsync", "fdatasync", "ftruncate", "posix_fallocate")
_ON_PATHS = ("link", "mkdir", "rename", "replace", "rmdir", "unlink", "remove", "truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def refuse(notes: Path, code: int) -> None:
    """Let the disk refuse with this error number from now on; 0 lets it work again."""
    with (notes / SWITCH).open("r+b") as file:
        file.write(bytes([code]))


def prepare(notes: Path) -> None:
    """A node that is started with these notes can be refused."""
    (notes / SWITCH).write_bytes(b"\0")


def install(notes: Path, folder: Path) -> None:
    """Stand before the calls of this process that change something under `folder`."""
    with (notes / SWITCH).open("rb") as file:
        switch = mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ)
    guard = _Guard(switch, str(folder.resolve()))
    for name in _ON_DESCRIPTORS:
        setattr(os, name, guard.on_descriptor(getattr(os, name)))
    for name in _ON_PATHS:
        setattr(os, name, guard.on_path(getattr(os, name)))
    os.open = guard.on_os_open(os.open)  # type: ignore[assignment]
    builtins.open = io.open = guard.on_open(io.open)  # type: ignore[assignment]


class _Guard:
    def __init__(self, switch: mmap.mmap, folder: str) -> None:
        self._switch = switch
        self._folder = folder

    def on_descriptor(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(descriptor: int, *arguments: Any, **named: Any) -> Any:
            if self._switch[0] and stat.S_IFMT(os.fstat(descriptor).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
                self._check(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            return call(descriptor, *arguments, **named)

        return guarded

    def on_path(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(path: Any, *arguments: Any, **named: Any) -> Any:
            if self._switch[0]:
                above = named.get("dir_fd")
                self._check(os.fspath(path) if above is None else str(Path(f"/proc/self/fd/{above}").readlink()))
            return call(path, *arguments, **named)

        return guarded

    def on_os_open(self, call: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(call)
        def guarded(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if self._switch[0] and flags & _WRITING:
                self._check(os.fspath(path))
            return call(path, flags, *arguments, **named)

        return guarded

    def on_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if self._switch[0] and set(mode) & set("wax+") and not isinstance(file, int):
                self._check(os.fspath(file))
            return call(file, mode, *arguments, **named)

        return guarded

    def _check(self, path: str | bytes) -> None:
        code = self._switch[0]
        if code and os.fsdecode(path).startswith(self._folder):
            raise OSError(code, os.strerror(code), os.fsdecode(path))
