"""What tests of every kind share: programs that must be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_PACKAGES = {
    "Orthanc": "orthanc",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
    "dcmdump": "dcmtk",
    "dcmconv": "dcmtk",
    "dcmcjpeg": "dcmtk",
    "dcmdjpeg": "dcmtk",
    "dciodvfy": "dicom3tools",
    "initdb": "postgresql",
    "systemd-analyze": "systemd",
}


def find_program(program: str) -> Path | None:
    """Where a program lies, also outside of PATH where Debian puts servers."""
    if found := shutil.which(program):
        return Path(found)
    elsewhere = [Path("/usr/sbin", program), *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))]
    return next((path for path in reversed(elsewhere) if path.exists()), None)


@pytest.fixture(scope="session")
def need_program() -> Callable[..., Path]:
    """`need_program("storescu")`: where it lies; the test is skipped by name without it, and fails in CI."""

    def find(*programs: str) -> Path:
        found = {program: find_program(program) for program in programs}
        packages = sorted({_PACKAGES[program] for program, path in found.items() if path is None})
        if packages:
            names = ", ".join(program for program, path in found.items() if path is None)
            message = f"{names} missing: apt-get install {' '.join(packages)}"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return Path(str(found[programs[0]]))

    return find
