"""The state of a node, running or not."""

from __future__ import annotations

from contextlib import closing

from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import Config
from dicom_node.errors import NodeError, RequestError
from dicom_node.keeping import lock
from dicom_node.keeping.health import State
from dicom_node.keeping.processes_page import read_processes
from dicom_node.keeping.survey import Survey, archive_bytes, free_mb, survey

_NO_LEDGER = "it is gone, though there is an archive"


def read_state(config: Config, now: float) -> State:
    """Look at everything once.

    Raises:
        RequestError: no node has run with this configuration yet.
        StorageFailed: the disk does not answer.
    """
    data_dir = config.node.data_dir.resolve()
    if not data_dir.is_dir():
        raise RequestError(f"there is no data folder {data_dir} yet: has the node run with this configuration?")
    running = lock.is_taken(data_dir)
    port = config.node.metrics_port
    processes = read_processes(config.node.host, port) if running and port else None
    found, trouble = _survey(config)
    return State(
        now=now,
        running=running,
        processes=processes,
        survey=found,
        trouble=trouble,
        free_mb=free_mb(data_dir),
        archive_bytes=archive_bytes(data_dir / "archive", found.counts["instances"] if found else 1_000_000),
    )


def _survey(config: Config) -> tuple[Survey | None, str | None]:
    data_dir = config.node.data_dir.resolve()
    if config.node.database == "sqlite" and not (data_dir / "node.sqlite").exists():
        if not (data_dir / "archive").exists():
            raise RequestError(f"there is no ledger in {data_dir} yet: has the node run with this configuration?")
        return None, _NO_LEDGER
    try:
        with closing(open_database(config)) as database, database.read() as tx:
            return survey(tx, make_ledger(config)), None
    except NodeError as problem:
        return None, str(problem)
