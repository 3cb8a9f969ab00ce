"""What tasks print: documents, tables on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from rich import progress as bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refold.infrastructure.progress import Progress

STDOUT = Console(highlight=False, width=None if sys.stdout.isatty() else 1_000)
STDERR = Console(stderr=True)

PAUSE: Final = 10.0
"""Seconds between two lines about a long task."""


def document(value: Any) -> None:
    """Print `value` as one JSON document."""
    print(written(value))


def written(value: Any) -> str:
    """Return `value` as one JSON document, in ASCII."""
    return json.dumps(value, indent=2, ensure_ascii=True)


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


class _Rate(bar.ProgressColumn):
    """How much is done a second."""

    def render(self, task: bar.Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


@contextmanager
def progress() -> Iterator[Progress]:
    """Show on stderr how far a long task is, how fast it goes, and the time that is left.

    That is a bar on a terminal, and a line now and then elsewhere.
    """
    if not STDERR.is_terminal:
        yield lines(monotonic, STDERR.print)
        return
    bars = bar.Progress(
        bar.TextColumn("{task.description}"),
        bar.BarColumn(),
        bar.MofNCompleteColumn(),
        _Rate(),
        bar.TimeRemainingColumn(),
        console=STDERR,
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def advance(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total or None)
        bars.update(tasks[what], completed=done, total=total or None)

    with bars:
        yield advance


def lines(clock: Callable[[], float], say: Callable[[str], None]) -> Progress:
    """Return what tells `say` every `PAUSE` seconds how far a task is."""
    began: dict[str, tuple[float, int]] = {}
    last = clock()

    def advance(what: str, done: int, total: int | None) -> None:
        nonlocal last
        now = clock()
        since, before = began.setdefault(what, (now, done))
        if now - last < PAUSE:
            return
        last = now
        rate = (done - before) / (now - since) if now > since else 0.0
        total = total or None
        parts = [f"{what}: {done:,}" if total is None else f"{what}: {done:,} of {total:,}"]
        if rate:
            parts.append(f"{rate:,.0f}/s")
            parts += [] if total is None else [f"{(total - done) / rate:,.0f} s left"]
        say(", ".join(parts))

    return advance
