"""Parked rows of query tables: how many wait, since when, and which of those that were found."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from refold.domain import streams, times
from refold.infrastructure.folding.generations import Generation, rows_of
from refold.projections.projection import Key

FIRST: Final = 5
"""Rows of each table that are told of one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A row that waits: its fold broke off at the event at `position`; `since` is RFC 3339."""

    key: Key
    partition: int
    position: int
    error: str
    since: str


class Waiting(NamedTuple):
    """How many rows of a table wait, and the first of them: those of the earliest events."""

    total: int
    first: tuple[ParkedRow, ...]


NONE: Final = Waiting(0, ())


def count(connection: sa.Connection, generation: Generation) -> int:
    """Return how many rows of a generation are parked: what a list shows of them is old."""
    # As text: each search asks it, and a fifth of its time would go into compiling this.
    parked = connection.dialect.identifier_preparer.format_table(_parked(generation))
    one = rows_of([(generation.projection.NAME, generation.number)])
    counted = f"SELECT count(*) FROM {parked} WHERE {one}"
    return int(connection.exec_driver_sql(counted).scalar_one())


def among(
    connection: sa.Connection, generation: Generation, keys: Collection[Key]
) -> frozenset[Key]:
    """Return those of `keys` whose rows are parked."""
    parked = _parked(generation)
    query = sa.select(parked.c.key).where(
        *_of(parked, generation), parked.c.key.in_([json.dumps(key) for key in keys])
    )
    return frozenset(map(_key, connection.execute(query).scalars()))


def waiting(
    connection: sa.Connection, generations: Iterable[Generation], partitions: int
) -> Mapping[str, Waiting]:
    """Return which rows of those generations are parked, by table; tables without any are not.

    The log has so many `partitions`.
    """
    live = {each.projection.NAME: each for each in generations}
    if not live:
        return {}
    parked = _parked(next(iter(live.values())))
    one, first = (parked.c.projection, parked.c.generation), (parked.c.position, parked.c.key)
    total = sa.func.count().over(partition_by=one).label("total")
    number = sa.func.row_number().over(partition_by=one, order_by=first).label("number")
    numbered = sa.select(*parked.columns, total, number).subquery()
    found: dict[str, Waiting] = {}
    query = sa.select(numbered).where(numbered.c.number <= FIRST)
    for row in connection.execute(query.order_by(numbered.c.projection, numbered.c.number)):
        if row.projection in live and live[row.projection].number == row.generation:
            key = _key(row.key)
            home = streams.partition(live[row.projection].projection.family(key), partitions)
            told = ParkedRow(key, home, row.position, row.error, times.text(row.since))
            before = found.get(row.projection, NONE)
            found[row.projection] = Waiting(row.total, (*before.first, told))
    return found


def _parked(generation: Generation) -> sa.TableClause:
    """Return the registry of parked rows that is beside a generation."""
    names = ("projection", "generation", "key", "position", "error", "since")
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    return sa.table("parked", *columns, schema=generation.table.schema)


def _of(parked: sa.TableClause, generation: Generation) -> list[sa.ColumnElement[bool]]:
    return [
        parked.c.projection == generation.projection.NAME,
        parked.c.generation == generation.number,
    ]


def _key(text: str) -> Key:
    return tuple(json.loads(text))
