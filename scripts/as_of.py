"""`refold as-of`: a query table as it stood at a position or time."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Final, Literal

import typer

from refold.domain import times
from refold.domain.errors import BadInput
from refold.domain.positions import Positions
from refold.infrastructure import past
from refold.infrastructure.store import Store
from refold.infrastructure.table_files import write_csv, write_jsonl
from refold.projections.projection import Projection
from refold.scripts import options, output

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
            help="A position of the log, or a time such as 2025-08-05T20:44:29Z. In a log of"
            " several partitions, a position is one of each: 0:123,1:456.",
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
    json: Annotated[
        bool, typer.Option("--json", help="Print what --into kept as one JSON document.")
    ] = False,
) -> None:
    """Write a query table as it stood at a position of the log, or at a time.

    At a time stands what was recorded by then; before the first event, the table is empty. What
    was erased since stays erased. The table is folded from the first event into memory, which has
    to hold it; exit code 1 when some of its rows could not be folded. One that is kept with --into
    is yours: nothing changes it any more, an erasure of a person neither; drop it when you are
    done. On PostgreSQL refold_analyst may read it as the query tables.

    Example: refold as-of file_tags 2025-08-05T20:44:29Z --into tags_in_august
    """
    [projection] = options.projections([table])
    if json and into is None:
        raise typer.BadParameter("--json is for --into; rows are written as --format says")
    with options.opened(store, config) as opened:
        positions = _positions(opened, when)
        with at(opened, positions, projection) as then:
            if into is None:
                print(f"{table} as of {_place(then, positions)}", file=sys.stderr)
                WRITE[format](then, table, sys.stdout, after=None)
            else:
                rows = past.keep(opened, then, projection, into)
                if json:
                    output.document(
                        {
                            "table": table,
                            "into": into,
                            "rows": rows,
                            "position": positions.document(),
                            "recorded_at": _recorded_at(then, positions),
                        }
                    )
                else:
                    print(f"{rows} rows of {table} as of {_place(then, positions)} are in {into}")
            past.check_folded(then, projection)


def _place(then: Store, positions: Positions) -> str:
    at = _recorded_at(then, positions)
    return f"position {positions}, recorded at {at}" if at else "before the first event"


def _recorded_at(then: Store, positions: Positions) -> str | None:
    """Return when the last event up to there was recorded, None when there is none."""
    last = [
        record.recorded_at
        for partition, position in enumerate(positions.each)
        if position
        for record in then.log.page(partition, position - 1, 1)
    ]
    return times.text(max(last)) if last else None


def _positions(store: Store, when: str) -> Positions:
    """Return the positions that are meant; what names none at all is a mistake in the usage."""
    try:
        return past.positions_at(store, when)
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def at(store: Store, when: str | Positions | None, *wanted: Projection) -> Iterator[Store]:
    """Give `store` as it stood at positions or a time, or, without any, as it is."""
    if when is None:
        yield store
        return
    positions = _positions(store, when) if isinstance(when, str) else when
    with ExitStack() as stack:
        with output.progress() as advance:
            then = stack.enter_context(past.as_of(store, positions, *wanted, progress=advance))
        yield then
