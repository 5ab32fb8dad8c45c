"""Structured logs: JSON off a terminal, readable lines on one. Never patient data.

Callers log an event name and plain facts (UIDs, counts, peers, codes). A processor drops any key that is not plainly
such a fact and cuts long text, so that a slip cannot carry a whole dataset into the log.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

_LONGEST_TEXT = 500
_FRAMES = 4
_FORBIDDEN = ("patient", "birth", "accession", "physician", "description", "operator", "institution")


def configure(
    *, stream: TextIO | None = None, level: str = "info", process: str = "main", as_json: bool = False
) -> None:
    """Set up logging for this process; called once by each process's entry point.

    Third-party libraries that print header values (pynetdicom, pydicom) are kept at CRITICAL and off the root logger.
    """
    out = stream or sys.stderr
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if out.isatty() and not as_json
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _scrub,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    quiet_libraries()


def quiet_libraries() -> None:
    """Keep libraries from printing header values: their messages and warnings quote tags."""
    for name in ("pynetdicom", "pydicom", "highdicom"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.addHandler(logging.NullHandler())
        library.setLevel(logging.CRITICAL + 1)
        library.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom).*")


def get(name: str) -> Any:
    """A logger whose lines carry `component=name`; it follows `configure` even when made before."""
    return structlog.get_logger(component=name)


def bound(**facts: object) -> Any:
    """Context manager: every line inside carries these facts (association, series, job, attempt)."""
    return structlog.contextvars.bound_contextvars(**facts)


def place(error: BaseException) -> str:
    """An exception as its type and the innermost lines that ran: its own text may quote header values.

    E.g. `ValueError at reading.py:10 > pixels.py:33`.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    lines = " > ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)
    return f"{type(error).__name__} at {lines or 'an unknown line'}"


def _scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in list(event.items()):
        if any(word in key.lower() for word in _FORBIDDEN):
            event[key] = "[left out]"
        elif not isinstance(value, str | int | float | bool | type(None)):
            event[key] = str(value)[:_LONGEST_TEXT]
        elif isinstance(value, str) and len(value) > _LONGEST_TEXT:
            event[key] = value[:_LONGEST_TEXT] + "…"
    return event
