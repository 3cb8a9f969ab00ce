"""`refold as-of`: a query table as it stood at a position or time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Literal

import typer

from refold.domain import times
from refold.infrastructure import past
from refold.infrastructure.folding.advancing import PARTITION
from refold.infrastructure.store import Store
from refold.infrastructure.table_files import write_csv, write_jsonl
from refold.projections.projection import Projection
from refold.scripts import options

WRITE: Final = {"csv": write_csv, "jsonl": write_jsonl}

When = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="POSITION|TIME",
        help="Answer with what was known at that position of the log, or at that time (RFC 3339)."
        " What was erased since stays erased.",
        show_default=False,
    ),
]


def as_of(
    table: Annotated[str, typer.Argument(help="A query table, such as file_tags.")],
    when: Annotated[
        str,
        typer.Argument(
            metavar="POSITION|TIME",
            help="A position of the log, or a time such as 2025-08-05T20:44:29Z.",
        ),
    ],
    format: Annotated[
        Literal["csv", "jsonl"], typer.Option(help="How the rows are written on stdout.")
    ] = "jsonl",
    into: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Keep it as a plain table of that name beside the query tables instead.",
            show_default=False,
        ),
    ] = None,
    store: options.Address = None,
    config: options.Config = None,
) -> None:
    """Write a query table as it stood at a position of the log, or at a time.

    At a time stands what was recorded by then; before the first event, the table is empty. What
    was erased since stays erased. The table is folded from the first event into memory, which has
    to hold it; exit code 1 when some of its rows could not be folded. One that is kept with --into
    is yours: nothing changes it any more, an erasure of a person neither; drop it when you are
    done.

    Example: refold as-of file_tags 2025-08-05T20:44:29Z --into tags_in_august
    """
    [projection] = options.projections([table])
    with options.opened(store, config) as opened:
        position = past.position_at(opened, when)
        with past.as_of(opened, position, projection) as then:
            if into is None:
                print(f"{table} as of {_place(then, position)}", file=sys.stderr)
                WRITE[format](then, table, sys.stdout, after=None)
            else:
                rows = past.keep(opened, then, projection, into)
                print(f"{rows} rows of {table} as of {_place(then, position)} are in {into}")
            past.check_folded(then, projection)


def _place(then: Store, position: int) -> str:
    for record in then.log.page(PARTITION, position - 1, 1) if position else ():
        return f"position {position}, recorded at {times.text(record.recorded_at)}"
    return "before the first event"


@contextmanager
def at(store: Store, when: str | None, *wanted: Projection) -> Iterator[Store]:
    """Give `store` as it stood at a position or time, or, without any, as it is."""
    if when is None:
        yield store
    else:
        with past.as_of(store, past.position_at(store, when), *wanted) as then:
            yield then
