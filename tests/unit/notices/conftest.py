"""A ledger with a book of notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from notice_site import Site

from dicom_node.database import Database
from dicom_node.jobs import JobLedger, RetryPolicy
from dicom_node.notices.book import NoticeBook


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    retry = RetryPolicy(max_attempts=2, backoff_s=1, max_backoff_s=2)
    with closing(Database.open(f"sqlite:///{tmp_path / 'node.sqlite'}")) as database:
        yield Site(tmp_path, database, NoticeBook("CORRECTOR", told=True), JobLedger(retry))
