"""Query tables as they are kept: generations behind stable views, checkpoints, bulk rows.

The tables of a projection are named by generation (`files_7`); the view `files` shows the current
one, and table `projections` says which that is. Everything here is the same for every engine but
for `Rows`, which each engine brings along.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import sqlalchemy as sa

from refold.domain.errors import StaleProjection
from refold.projections import catalog, views
from refold.projections.columns import integer, text
from refold.projections.projection import Key, Projection, Row, fingerprint
from refold.projections.query import Query
from refold.projections.views import View

BUILDING: Final = "building"
CURRENT: Final = "current"
PREVIOUS: Final = "previous"


@dataclass(frozen=True, slots=True)
class Generation:
    """One filling of a projection's table; `table` is what it is in this engine."""

    projection: Projection
    number: int
    version: int
    fingerprint: str
    state: str
    table: sa.Table

    @property
    def is_of_this_version(self) -> bool:
        """Tell whether the projection that fills this table is the one at hand."""
        return self.fingerprint == fingerprint(self.projection)

    def check_version(self) -> None:
        """Raise `StaleProjection` when another version of the projection fills this table."""
        if not self.is_of_this_version:
            raise StaleProjection(self.projection.NAME, self.version, self.projection.VERSION)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a generation is folded: `record_hash` is that of the record at `position`.

    A generation that is being built has one for each of its `parts` that is there, counted from 0;
    afterwards it is whole, part 0 of 1.
    """

    projection: str
    generation: int
    partition: int
    part: int
    parts: int
    store_id: str
    position: int
    record_hash: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """How a generation is filled: with the log up to `position`, in so many parts."""

    parts: int
    position: int
    record_hash: bytes


@dataclass(frozen=True, slots=True)
class Hits:
    """The answer of a search: `total` is at most 10 000, `more` tells that there are others.

    Each of `rows` is (key, name) of a file, in order.
    """

    MOST: ClassVar[int] = 10_000

    total: int
    more: bool
    rows: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, candidates: int, rows: Iterable[Sequence[Any]]) -> "Hits":
        """Return the hits in `rows`; `candidates` are counted up to one more than `MOST`."""
        return cls(min(candidates, cls.MOST), candidates > cls.MOST, [(*row,) for row in rows])


class Rows(Protocol):
    """What an engine does its own way."""

    events_a_part: ClassVar[int]
    """Events that are folded in memory and saved at once when tables are built."""

    def writing(self, engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that may write. Raises `Unavailable`."""
        ...

    def exclude(self, connection: sa.Connection, fence: str) -> None:
        """Wait until this transaction, to its end, is the only one behind that fence."""
        ...

    def reading(self, engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that sees one instant. Raises `Unavailable`."""
        ...

    def physical(self, projection: Projection, name: str) -> sa.Table:
        """Return the table called `name` that keeps the rows of `projection` in this engine."""
        ...

    def create(self, connection: sa.Connection, generation: Generation) -> None:
        """Create the table, and what a search of it needs but indexes."""
        ...

    def create_indexes(self, connection: sa.Connection, generation: Generation) -> None:
        """Create the indexes of a filled table."""
        ...

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        """Drop what was created."""
        ...

    def lock(
        self, connection: sa.Connection, views: Sequence[str], tables: Sequence[sa.Table]
    ) -> None:
        """Wait for the readers of `views` and `tables`, and keep new ones waiting, all at once.

        A reader of two views must never hold one while this transaction holds the other.
        """
        ...

    def show(self, connection: sa.Connection, generation: Generation) -> None:
        """Make the projection's view show this generation."""
        ...

    def view(self, connection: sa.Connection, view: View) -> None:
        """Make a view over query tables, or replace it."""
        ...

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> Iterable[Row]:
        """Return the rows of those `keys` that have one."""
        ...

    def scan(self, connection: sa.Connection, generation: Generation) -> Iterable[Row]:
        """Return all rows in the order of their keys, a page at a time: the declared columns."""
        ...

    def insert(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        """Insert `rows`, which are not there, and what a search finds of them."""
        ...

    def update(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        """Replace `rows`, which are there, and what a search finds of them."""
        ...

    def remove(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> None:
        """Remove the rows of `keys`, and what a search finds of them."""
        ...

    def search(
        self,
        connection: sa.Connection,
        generation: Generation,
        query: Query,
        limit: int,
        offset: int,
    ) -> Hits:
        """Return what `query` finds: by name first, then by tags, then by type, newest first."""
        ...


class Tables:
    """The query tables of one store."""

    def __init__(self, engine: sa.Engine, rows: Rows, schema: str | None = None) -> None:
        """Create the two tables of the registry where they are missing."""
        self._engine = engine
        self.rows = rows
        self._physical: dict[str, sa.Table] = {}
        metadata = sa.MetaData(schema=schema)
        self._generations = sa.Table(
            "projections",
            metadata,
            text("name", "the query table, as its view is called", key=True),
            _part_of_key("generation", "counts the fillings of the table"),
            integer("version", "version of the projection that fills it"),
            text("fingerprint", "SHA-256 of the projection's name, version and columns"),
            text("state", "building, current or previous"),
            comment="Which table (name_generation) is behind the view of each projection.",
            sqlite_strict=True,
        )
        self._checkpoints = sa.Table(
            "checkpoints",
            metadata,
            text("projection", "the query table", key=True),
            _part_of_key("generation", "its generation"),
            _part_of_key("partition", "partition of the log"),
            _part_of_key("part", "part of the families, 0 when they are all in the table"),
            integer("parts", "how many parts there are, 1 when they are all in the table"),
            text("store_id", "the store whose log was folded"),
            integer("position", "the last position that is in the table"),
            sa.Column("record_hash", sa.LargeBinary, comment="SHA-256 of the record there"),
            comment="How far each generation is folded.",
            sqlite_strict=True,
        )
        self._plans = sa.Table(
            "plans",
            metadata,
            text("projection", "the query table", key=True),
            _part_of_key("generation", "its generation"),
            _part_of_key("partition", "partition of the log"),
            integer("parts", "how many parts it is filled in, split by family"),
            integer("position", "up to where the log is folded by that"),
            sa.Column("record_hash", sa.LargeBinary, comment="SHA-256 of the record there"),
            comment="How each generation is filled, whoever does it.",
            sqlite_strict=True,
        )
        with self.reading() as connection:
            there = sa.inspect(connection).has_table(self._checkpoints.name, schema)
        if not there:
            with self.writing(BUILDING, CURRENT) as connection:
                metadata.create_all(connection)

    @contextmanager
    def writing(self, *fences: str) -> Iterator[sa.Connection]:
        """Open a transaction that is the only one behind those fences; its end commits.

        Who folds into the generations of a state stands behind the fence of that name. Raises
        `Unavailable`.
        """
        with self.rows.writing(self._engine) as connection:
            for fence in sorted(fences):
                self.exclude(connection, fence)
            yield connection

    def exclude(self, connection: sa.Connection, fence: str) -> None:
        """Wait until this transaction, to its end, is the only one behind that fence too."""
        self.rows.exclude(connection, fence)

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that sees one instant. Raises `Unavailable`."""
        return self.rows.reading(self._engine)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    # --- generations ----------------------------------------------------------------

    def generations(self, connection: sa.Connection) -> list[Generation]:
        """Return all generations of the projections of this refold, oldest first."""
        query = sa.select(self._generations).order_by("name", "generation")
        return [
            self._generation(projection, *values)
            for name, *values in connection.execute(query)
            for projection in [catalog.named(name)]
            if projection
        ]

    def _generation(
        self, projection: Projection, number: int, version: int, fingerprint: str, state: str
    ) -> Generation:
        name = f"{projection.NAME}_{number}"
        if name not in self._physical:
            self._physical[name] = self.rows.physical(projection, name)
        table = self._physical[name]
        return Generation(projection, number, version, fingerprint, state, table)

    def current(self, connection: sa.Connection) -> dict[str, Generation]:
        """Return the generation behind each view, by name."""
        return {
            generation.projection.NAME: generation
            for generation in self.generations(connection)
            if generation.state == CURRENT
        }

    def start(self, connection: sa.Connection, projection: Projection, number: int) -> Generation:
        """Create an empty generation of `projection`, to be filled."""
        generation = self._generation(
            projection, number, projection.VERSION, fingerprint(projection), BUILDING
        )
        self.rows.create(connection, generation)
        connection.execute(
            self._generations.insert().values(
                name=projection.NAME,
                generation=number,
                version=generation.version,
                fingerprint=generation.fingerprint,
                state=BUILDING,
            )
        )
        return generation

    def switch(self, connection: sa.Connection, generations: Sequence[Generation]) -> None:
        """Put filled generations behind their views; those they replace are kept as previous."""
        names = [generation.projection.NAME for generation in generations]
        on_them = [view for view in views.ALL if not set(names).isdisjoint(view.tables)]
        outdated = [
            other
            for other in self.generations(connection)
            if other.projection.NAME in names and other.state == PREVIOUS
        ]
        self.rows.lock(
            connection,
            [*(view.name for view in on_them), *names],
            [other.table for other in outdated],
        )
        for other in outdated:
            self.drop(connection, other)
        for generation in generations:
            self.rows.show(connection, generation)
            self._set_state(connection, generation.projection.NAME, CURRENT, PREVIOUS)
            self._set_state(connection, generation.projection.NAME, BUILDING, CURRENT)
        current = self.current(connection).keys()
        for view in on_them:
            if current >= set(view.tables):
                self.rows.view(connection, view)

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        """Forget a generation that no view shows."""
        self.rows.drop(connection, generation)
        for table, column in (
            (self._generations, self._generations.c.name),
            (self._checkpoints, self._checkpoints.c.projection),
            (self._plans, self._plans.c.projection),
        ):
            connection.execute(
                table.delete().where(
                    column == generation.projection.NAME,
                    table.c.generation == generation.number,
                )
            )

    def _set_state(self, connection: sa.Connection, name: str, before: str, after: str) -> None:
        table = self._generations
        connection.execute(
            table.update().where(table.c.name == name, table.c.state == before).values(state=after)
        )

    # --- checkpoints ----------------------------------------------------------------

    def checkpoints(
        self, connection: sa.Connection, partition: int
    ) -> Mapping[tuple[str, int], Checkpoint]:
        """Return the checkpoints of whole generations by projection and generation."""
        table = self._checkpoints
        rows = connection.execute(
            sa.select(table).where(table.c.partition == partition, table.c.parts == 1)
        )
        return {(row[0], row[1]): Checkpoint(*row) for row in rows}

    def plan(
        self, connection: sa.Connection, generation: Generation, partition: int
    ) -> Plan | None:
        """Return how the generation is filled, None when that was not begun."""
        row = connection.execute(
            sa.select(self._plans).where(*_of(self._plans, generation, partition))
        ).first()
        return Plan(*row[3:]) if row else None

    def save_plan(
        self, connection: sa.Connection, generation: Generation, partition: int, plan: Plan
    ) -> None:
        """Keep how the generation is filled, for all who fill it."""
        connection.execute(
            self._plans.insert().values(
                projection=generation.projection.NAME,
                generation=generation.number,
                partition=partition,
                parts=plan.parts,
                position=plan.position,
                record_hash=plan.record_hash,
            )
        )

    def parts(
        self, connection: sa.Connection, generation: Generation, partition: int
    ) -> list[Checkpoint]:
        """Return the checkpoints of a generation, one for each part that is in the table."""
        rows = connection.execute(
            sa.select(self._checkpoints).where(*_of(self._checkpoints, generation, partition))
        )
        return [Checkpoint(*row) for row in rows]

    def forget_parts(
        self, connection: sa.Connection, generation: Generation, partition: int
    ) -> None:
        """Remove the checkpoints of a generation, for one that stands for them all."""
        connection.execute(
            self._checkpoints.delete().where(*_of(self._checkpoints, generation, partition))
        )

    def save_checkpoint(self, connection: sa.Connection, checkpoint: Checkpoint) -> None:
        """Keep how far a generation is folded, in the transaction that folded it."""
        table = self._checkpoints
        values = {column.name: getattr(checkpoint, column.name) for column in table.columns}
        key = [column == values[column.name] for column in table.primary_key.columns]
        if not connection.execute(table.update().where(*key).values(**values)).rowcount:
            connection.execute(table.insert().values(**values))

    # --- rows -----------------------------------------------------------------------

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> dict[Key, Row]:
        """Return the rows of those `keys` that have one, as the projection's own `Row`."""
        make, width = generation.projection.Row, len(generation.table.primary_key.columns)
        return {
            values[:width]: make(*values) for values in self.rows.load(connection, generation, keys)
        }

    def save(
        self,
        connection: sa.Connection,
        generation: Generation,
        before: Mapping[Key, Row | None],
        after: Mapping[Key, Row | None],
    ) -> None:
        """Write what differs, in the order of the keys: that is the fastest way into an index."""
        gone, new, changed = list[Key](), list[Row](), list[Row]()
        for key, row in after.items():
            old = before.get(key)
            if row == old:
                continue
            if row is None:
                gone.append(key)
            elif old is None:
                new.append(row)
            else:
                changed.append(row)
        for write, rows in (
            (self.rows.remove, gone),
            (self.rows.insert, new),
            (self.rows.update, changed),
        ):
            if rows:
                rows.sort()
                write(connection, generation, rows)


def _part_of_key(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False, comment=comment)


def _of(table: sa.Table, generation: Generation, partition: int) -> list[sa.ColumnElement[bool]]:
    return [
        table.c.projection == generation.projection.NAME,
        table.c.generation == generation.number,
        table.c.partition == partition,
    ]
