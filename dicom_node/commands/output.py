"""What a command prints: tables and bars for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Advance = Callable[[str, int, int], None]
"""Told (what, done, total); a total of 0 means unknown."""
_UNFOLDED = 10_000
_KEPT_WHOLE = 12
"""Columns up to this wide are folded last: ids, states and names."""


class Output:
    """Where a command's result goes: stdout. Progress and messages go to stderr."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # Off a terminal nothing is folded, so that each row is a line that can be searched.
        width = None if sys.stdout.isatty() else _UNFOLDED
        self._out = Console(file=sys.stdout, highlight=False, soft_wrap=width is not None, width=width)
        self._err = Console(file=sys.stderr, highlight=False)

    def document(self, value: object) -> None:
        """Print a JSON document, when asked for JSON."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
            sys.stdout.flush()

    def line(self, text: str) -> None:
        """Print a line for people."""
        if not self.as_json:
            self._out.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for people."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left", show_lines=False)
        for number, column in enumerate(columns):
            longest = max((len(str(row[number])) for row in rows), default=0)
            table.add_column(column, overflow="fold", min_width=min(longest, _KEPT_WHOLE))
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._out.print(table)

    @contextmanager
    def progress(self) -> Iterator[Advance]:
        """Bars on a terminal, nothing elsewhere."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda what, done, total: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bars:
            tasks: dict[str, object] = {}

            def advance(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    for earlier in tasks.values():
                        bars.stop_task(earlier)  # type: ignore[arg-type]
                    tasks[what] = bars.add_task(what, total=total or None)
                bars.update(tasks[what], completed=done, total=total or None)  # type: ignore[arg-type]

            yield advance
