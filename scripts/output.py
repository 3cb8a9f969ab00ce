"""What tasks print: documents, tables on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

STDOUT = Console(highlight=False, width=None if sys.stdout.isatty() else 1_000)
STDERR = Console(stderr=True)


def document(value: Any) -> None:
    """Print `value` as one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    STDOUT.print(shown)


def shown(key: Sequence[str]) -> str:
    """Return the key of a row for a terminal: what does not print is escaped."""
    return " ".join(part if part.isprintable() else repr(part) for part in key)


class _Rate(ProgressColumn):
    """How much is done a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show how far a long task is, with the time that is left, if stderr is a terminal."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=STDERR,
        disable=not STDERR.is_terminal,
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def advance(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    with bars:
        yield advance
