"""Structured logs: JSON off a terminal, readable lines on one. Never patient data.

Callers log an event name and plain facts (UIDs, counts, peers, codes). A processor drops any key that is not plainly
such a fact and cuts long text, so that a slip cannot carry a whole dataset into the log. What Python and
libraries would print by themselves becomes a line that says what and where, without their words: these quote headers.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
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
    for name in ("pynetdicom", "pydicom", "highdicom", "nibabel.global"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.addHandler(logging.NullHandler())
        library.setLevel(logging.CRITICAL + 1)
        library.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom|nibabel).*")


def catch_strays() -> None:
    """Have what Python prints when nobody catches it logged instead; called once by each process's entry point."""
    log = get("python")
    sys.excepthook = lambda kind, error, _: log.error("uncaught", code=kind.__name__, error=place(error))
    sys.unraisablehook = lambda failed: log.error(
        "unraisable", code=failed.exc_type.__name__, error=_place(failed.exc_value)
    )
    threading.excepthook = lambda failed: log.error(
        "thread_failed", code=failed.exc_type.__name__, error=_place(failed.exc_value)
    )
    warnings.showwarning = lambda _, category, file, line, *__: log.warning(
        "library_warning", code=category.__name__, error=f"{Path(file).name}:{line}"
    )
    root = logging.getLogger()
    root.handlers[:] = [_Wordless()]


def forbid_core_dumps() -> None:
    """Keep this process and its children from leaving their memory, images and names in it, on the disk.

    A limit of one byte, since programs that take dumps from the kernel ignore a limit of none (core(5)).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def withhold_output() -> TextIO:
    """Cut stdout and stderr off, for a process that runs foreign code; returns a stream for our own log lines."""
    own = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return own


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


def _place(error: BaseException | None) -> str:
    return "" if error is None else place(error)


class _Wordless(logging.Handler):
    """Says that a library had something to say; its words may quote header values."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log who said it, and where."""
        if record.levelno >= logging.WARNING:
            where = f"{record.filename}:{record.lineno}"
            get("python").warning("library_message", library=record.name, error=where)


def _scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in list(event.items()):
        if any(word in key.lower() for word in _FORBIDDEN):
            event[key] = "[left out]"
        elif isinstance(value, BaseException):
            event[key] = place(value)
        elif not isinstance(value, str | int | float | bool | type(None)):
            event[key] = str(value)[:_LONGEST_TEXT]
        elif isinstance(value, str) and len(value) > _LONGEST_TEXT:
            event[key] = value[:_LONGEST_TEXT] + "…"
    return event
