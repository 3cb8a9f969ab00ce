"""A store as it stood at positions of its log: the same queries, answered with what was then.

What was erased since stays erased, and ids and names lead where they lead now.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, cast

import sqlalchemy as sa

from refold.domain import streams, times
from refold.domain.errors import BadInput, Refused, Unreadable
from refold.domain.ports import Head, History, Identity, Key, Log, Recorded
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.folding.registry import REGISTRY
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.schema import LOG_TABLES
from refold.infrastructure.sqlite.rows import tables_in_memory
from refold.infrastructure.store import Store
from refold.projections import catalog, views
from refold.projections.projection import Projection


@contextmanager
def as_of(
    store: Store, positions: Positions, *wanted: Projection, progress: Progress = quietly
) -> Iterator[Store]:
    """Give `store` as it stood at `positions`, to be read; nothing is kept of it.

    The tables that are `wanted` are folded at once, from the first event into memory, which
    `progress` is told of, and others when a query asks for what is new. Raises `UnknownType`,
    `Undecodable` or `Unfoldable` at an event that cannot be read.
    """
    tables = tables_in_memory()
    try:
        log = cast("Log", _LogUpTo(store.log, positions))  # the part of it that can be read
        past = replace(store, log=log, tables=tables, open_successor=None)
        if wanted:
            past.rebuilder.build(wanted, until=positions, progress=progress)
        yield past
    finally:
        tables.close()


def positions_at(store: Store, when: str) -> Positions:
    """Return the positions that `when` names, or the last ones that were recorded by that time.

    Before the first event they are 0. A time is RFC 3339. Raises `Refused` for a position beyond
    the end of the log, `BadInput` for what is neither.
    """
    head = store.advance.head()
    if given := Positions.read(when, len(head.each)):
        if not head.covers(given):
            raise Refused(f"position {given} is beyond the end of the log at {head}")
        return given
    try:
        at = times.micros(when)
    except times.NotATime as error:
        raise BadInput(
            f"{when!r} is neither a position nor a time such as 2025-08-05T20:44:29.123Z"
        ) from error

    return positions_by(store, at)


def positions_by(store: Store, at: int) -> Positions:
    """Return the last positions that were recorded by a time, in µs since 1970 UTC.

    Raises `BrokenLog` at a hole.
    """

    def recorded_at(partition: int, position: int) -> int:
        return chain.page(store.log, partition, position - 1, position, 1)[0].recorded_at

    return Positions(
        tuple(
            bisect_right(range(1, end + 1), at, key=partial(recorded_at, partition))
            for partition, end in enumerate(store.advance.head().each)
        )
    )


class RowsParked(Unreadable):
    """A table of the past has rows that are not as they were: their projection failed."""


def check_folded(past: Store, projection: Projection) -> None:
    """Raise `RowsParked` unless all rows of a table that was folded could be."""
    with past.tables.reading() as connection:
        generation = past.tables.current(connection)[projection.NAME]
        waiting = len(past.tables.parked(connection, generation))
    if waiting:
        raise RowsParked(
            f"{waiting} rows of {projection.NAME} could not be folded and are not as they were"
        )


class _LogUpTo:
    """What can be read of a log that ends at positions."""

    def __init__(self, log: Log, ends: Positions) -> None:
        self._log, self._ends = log, ends
        self.partitions = log.partitions

    def _is_in(self, record: Recorded) -> bool:
        return record.position <= self._ends[record.partition]

    def identity(self) -> Identity:
        return self._log.identity()

    def heads(self) -> list[Head]:
        return [
            replace(each, position=min(each.position, self._ends[each.partition]))
            for each in self._log.heads()
        ]

    def page(self, partition: int, after: int, limit: int) -> list[Recorded]:
        return self._log.page(partition, after, max(0, min(limit, self._ends[partition] - after)))

    def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        return list(filter(self._is_in, self._log.stream(stream, after)))

    def history(self, stream: str) -> History:
        whole = self._log.history(stream)
        home = streams.partition(stream, self.partitions)
        end = bisect_right(whole.positions, self._ends[home])
        return History._make(column[:end] for column in whole)

    def streams(self, names: Collection[str]) -> list[Recorded]:
        return list(filter(self._is_in, self._log.streams(names)))

    def family(self, family: str) -> list[Recorded]:
        return list(filter(self._is_in, self._log.family(family)))

    def holder(self, kind: str, value: str) -> str | None:
        return self._log.holder(kind, value)

    def holders(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        return self._log.holders(claims)

    def keys(self, subjects: Sequence[str] | None = None) -> list[Key]:
        return self._log.keys(subjects)


# --- a table of the past beside those of now ------------------------------------------

LONGEST_NAME: Final = 63
"""Characters of a table's name: PostgreSQL cuts off what is longer."""

ROWS_AT_ONCE: Final = 1_000

_GENERATION: Final = re.compile(rf"({'|'.join(each.NAME for each in catalog.ALL)})_\d+(_.*)?")


class NameTaken(Refused):
    """A table cannot have this name: another one has it, or may come to have it."""


def keep(store: Store, past: Store, projection: Projection, name: str) -> int:
    """Keep a table of `past` as the plain table `name` of `store`; return how many rows it has.

    It has the same columns, key and comments, and stands beside the query tables; nothing changes
    it any more. Analysts who may read those may read it, too. It is there whole or not at all.
    Raises `BadInput` for what is no name, and
    `NameTaken`.
    """
    _check_name(name)
    table = store.tables.physical(projection, sa.quoted_name(name, quote=True))
    with past.tables.reading() as then, store.tables.writing() as now:
        if store.tables.rows.is_taken(now, name):
            raise NameTaken(f"there is a table, view, index or type {name} already")
        table.create(now)
        source = past.tables.current(then)[projection.NAME].table
        query = sa.select(*(source.c[column.name] for column in table.columns))
        rows = then.execution_options(yield_per=ROWS_AT_ONCE).execute(query).mappings()
        count = 0
        for some in rows.partitions():
            now.execute(table.insert(), list(map(dict, some)))
            count += len(some)
        store.tables.rows.let_read(now, name)
    return count


def _check_name(name: str) -> None:
    if not re.fullmatch("[a-z_][a-z0-9_]*", name) or len(name) > LONGEST_NAME:
        raise BadInput(
            f"{name!r} is no name for a table: up to {LONGEST_NAME} of a to z, 0 to 9 and _, not"
            " beginning with a digit"
        )
    own = {each.NAME for each in catalog.ALL} | {view.name for view in views.ALL}
    own |= {*LOG_TABLES, *REGISTRY}
    if name in own or _GENERATION.fullmatch(name) or name.startswith("sqlite_"):
        raise NameTaken(f"{name} is a name that refold or the database keeps for itself")
