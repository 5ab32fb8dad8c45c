"""Fixtures for real peers. Every test in this folder is marked `integration`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import peers
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def orthanc(tmp_path: Path, need_program: Callable[..., Path]) -> Iterator[peers.Orthanc]:
    """An empty Orthanc of this test's own."""
    need_program("Orthanc")
    with peers.orthanc(tmp_path / "orthanc") as peer:
        yield peer


@pytest.fixture
def storescp(tmp_path: Path, need_program: Callable[..., Path]) -> Iterator[Callable[..., peers.StoreScp]]:
    """Starts storescp with the given options: `storescp("--refuse")`; all are stopped after the test."""
    need_program("storescp")
    with ExitStack() as stack:
        count = iter(range(100))

        def start(*options: str, port: int | None = None) -> peers.StoreScp:
            manager: AbstractContextManager[peers.StoreScp] = peers.storescp(
                tmp_path / f"storescp{next(count)}", *options, port=port
            )
            return stack.enter_context(manager)

        yield start


@pytest.fixture
def storescu(need_program: Callable[..., Path]) -> Callable[..., object]:
    """`storescu(port, [paths], *options, ae_title=...)`: push and wait."""
    need_program("storescu")
    return partial(peers.storescu)
