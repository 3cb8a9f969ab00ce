"""Query tables as they are kept: generations behind stable views, checkpoints, bulk rows.

The tables of a projection are named by generation (`files_7`); the view `files` shows the current
one, and table `projections` says which that is. Everything here is the same for every engine but
for `Rows`, which each engine brings along.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from time import time_ns
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.schema import SchemaConst

from refold.infrastructure.folding.generations import (
    BUILDING,
    CURRENT,
    DROPPED,
    PREVIOUS,
    Checkpoint,
    Generation,
    Plan,
    rows_of,
)
from refold.infrastructure.folding.registry import Registry
from refold.infrastructure.folding.rows import Rows
from refold.projections import catalog, views
from refold.projections.projection import (
    Folded,
    Key,
    Parked,
    Projection,
    Row,
    fingerprint,
)


class Refolded(NamedTuple):
    """Rows of a generation as they are kept, and as events have changed them."""

    generation: Generation
    before: Folded
    after: Folded


class Tables:
    """The query tables of one store."""

    def __init__(self, engine: sa.Engine, rows: Rows, schema: str | None = None) -> None:
        """Create the tables of the registry where they are missing."""
        self._engine = engine
        self.rows = rows
        self._by_row: dict[tuple[Any, ...], Generation] = {}
        self._schema = schema
        self._registry = Registry(engine, schema)
        with self.reading() as connection:
            there = sa.inspect(connection).has_table(self._registry.parked.name, schema)
        if not there:
            with self.writing(BUILDING, CURRENT) as connection:
                self._registry.metadata.create_all(connection)

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

    def make_way(self) -> None:
        """Prepare for a transaction that writes much. Raises `Unavailable`."""
        self.rows.make_way(self._engine)

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
        return [
            generation
            for row in _run(connection, self._registry.read_generations)
            if (generation := self._by_row.get(row) or self._generation(connection, row))
        ]

    def _generation(self, connection: sa.Connection, row: tuple[Any, ...]) -> Generation | None:
        """Return the generation that a row of the registry means."""
        name, number, version, filled_by, state = row
        projection = catalog.named(name)
        if projection is None:
            return None
        physical = f"{name}_{number}"
        if filled_by == fingerprint(projection):
            table = self.physical(projection, physical)
        else:  # another version declares other columns
            schema = self._schema
            table = sa.Table(physical, sa.MetaData(), schema=schema)
            with suppress(NoSuchTableError):  # see `lost`
                sa.inspect(connection).reflect_table(table, None)
        self._by_row[row] = Generation(projection, number, version, filled_by, state, table)
        return self._by_row[row]

    def physical(self, projection: Projection, name: str) -> sa.Table:
        """Return the table called `name` beside these that could keep the rows of `projection`."""
        return projection.TABLE.to_metadata(
            sa.MetaData(), schema=self._schema or SchemaConst.RETAIN_SCHEMA, name=name
        )

    def current(self, connection: sa.Connection) -> dict[str, Generation]:
        """Return the generation behind each view, by name."""
        return {
            generation.projection.NAME: generation
            for generation in self.generations(connection)
            if generation.state == CURRENT
        }

    def lost(self, connection: sa.Connection) -> list[Generation]:
        """Return the generations whose tables somebody has dropped."""
        there = sa.inspect(connection).get_table_names(self._schema)
        return [each for each in self.generations(connection) if each.table.name not in there]

    def start(
        self, connection: sa.Connection, projection: Projection, state: str = BUILDING
    ) -> Generation:
        """Create an empty generation of `projection`, to be filled; no number comes twice."""
        table = self._registry.generations
        named = table.c.name == projection.NAME
        last = connection.execute(sa.select(sa.func.max(table.c.generation)).where(named)).scalar()
        connection.execute(table.delete().where(named, table.c.state == DROPPED))
        number = 1 + (last or 0)
        generation = Generation(
            projection,
            number,
            projection.VERSION,
            fingerprint(projection),
            state,
            self.physical(projection, f"{projection.NAME}_{number}"),
        )
        self.rows.create(connection, generation)
        connection.execute(
            table.insert().values(
                name=projection.NAME,
                generation=number,
                version=generation.version,
                fingerprint=generation.fingerprint,
                state=state,
            )
        )
        return generation

    def switch(self, connection: sa.Connection, generations: Sequence[Generation]) -> None:
        """Put whole generations behind their views; those they replace are kept as previous."""
        names = [generation.projection.NAME for generation in generations]
        on_them = [view for view in views.ALL if not set(names).isdisjoint(view.tables)]
        outdated = [
            other
            for other in self.generations(connection)
            if other.projection.NAME in names
            and other.state == PREVIOUS
            and other not in generations
        ]
        self.rows.lock(connection, [*(view.name for view in on_them), *names], outdated)
        for other in outdated:
            self.drop(connection, other)
        replaced = self.current(connection)
        for generation in generations:
            self.rows.show(connection, generation)
            if generation.projection.NAME in replaced:
                self._set_state(connection, replaced[generation.projection.NAME], PREVIOUS)
            self._set_state(connection, generation, CURRENT)
        current = self.current(connection).keys()
        for view in on_them:
            if current >= set(view.tables):
                self.rows.view(connection, view)

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        """Forget a generation that no view shows, but for its number."""
        self.rows.drop(connection, generation)
        self._set_state(connection, generation, DROPPED)
        for table in (self._registry.checkpoints, self._registry.plans, self._registry.parked):
            connection.execute(table.delete().where(*_of(table, generation)))

    def _set_state(self, connection: sa.Connection, generation: Generation, state: str) -> None:
        table = self._registry.generations
        connection.execute(
            table.update()
            .where(
                table.c.name == generation.projection.NAME,
                table.c.generation == generation.number,
            )
            .values(state=state)
        )

    # --- checkpoints ----------------------------------------------------------------

    def checkpoints(self, connection: sa.Connection) -> Mapping[tuple[str, int, int], Checkpoint]:
        """Return the checkpoints of whole generations by projection, generation and partition."""
        rows = _run(connection, self._registry.read_checkpoints)
        return {row[:3]: row for row in map(Checkpoint._make, rows)}

    def plans(self, connection: sa.Connection, generation: Generation) -> dict[int, Plan]:
        """Return how the generation is filled, by partition, as far as that was begun."""
        table = self._registry.plans
        rows = connection.execute(sa.select(table).where(*_of(table, generation)))
        return {row[2]: Plan(*row[2:]) for row in rows}

    def save_plan(self, connection: sa.Connection, generation: Generation, plan: Plan) -> None:
        """Keep how the generation is filled, for all who fill it."""
        connection.execute(
            self._registry.plans.insert().values(
                projection=generation.projection.NAME,
                generation=generation.number,
                partition=plan.partition,
                parts=plan.parts,
                position=plan.position,
                record_hash=plan.record_hash,
            )
        )

    def parts(self, connection: sa.Connection, generation: Generation) -> list[Checkpoint]:
        """Return the checkpoints of a generation, one for each part that is in the table."""
        table = self._registry.checkpoints
        rows = connection.execute(sa.select(table).where(*_of(table, generation)))
        return [Checkpoint._make(row) for row in rows]

    def forget_parts(
        self, connection: sa.Connection, generation: Generation, partition: int
    ) -> None:
        """Remove the checkpoints of a partition, for one that stands for them all."""
        table = self._registry.checkpoints
        connection.execute(
            table.delete().where(*_of(table, generation), table.c.partition == partition)
        )

    def save_checkpoint(self, connection: sa.Connection, checkpoint: Checkpoint) -> None:
        """Keep how far a generation is folded, in the transaction that folded it."""
        table = self._registry.checkpoints
        values = {column.name: getattr(checkpoint, column.name) for column in table.columns}
        key = [column == values[column.name] for column in table.primary_key.columns]
        if not connection.execute(table.update().where(*key).values(**values)).rowcount:
            connection.execute(table.insert().values(**values))

    def save_checkpoints(self, connection: sa.Connection, checkpoints: list[Checkpoint]) -> None:
        """Keep how far whole generations are folded that all stand at the same record now."""
        if not checkpoints:
            return
        one = checkpoints[0]
        moving = rows_of((each.projection, each.generation) for each in checkpoints)
        values = {"store_id": one.store_id, "position": one.position}
        values |= {"record_hash": one.record_hash, "of_partition": one.partition}
        moved = _run(connection, f"{self._registry.move_checkpoints} AND {moving}", values)
        if moved.rowcount < len(checkpoints):  # some have none yet
            for each in checkpoints:
                self.save_checkpoint(connection, each)

    # --- rows -----------------------------------------------------------------------

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> dict[Key, Row]:
        """Return the rows of those `keys` that have one, as the projection's own `Row`."""
        make, width = generation.projection.Row, len(generation.table.primary_key.columns)
        return {
            values[:width]: make(*values) for values in self.rows.load(connection, generation, keys)
        }

    def keep(self, connection: sa.Connection, refolded: Sequence[Refolded], position: int) -> None:
        """Write the rows that are not as before, and park the keys that could not be folded.

        A row that the engine refuses stays as it was, and its key is parked at `position`, up to
        where the rows are folded.
        """
        changes = [
            (each, key)
            for each in refolded
            for key, row in each.after.rows.items()
            if row != each.before.rows.get(key)
        ]
        refused = self._save(connection, changes) if changes else []
        for each in refolded:
            parked = {
                key: why for key, why in each.after.parked.items() if key not in each.before.parked
            }
            parked |= {key: Parked(position, why) for one, key, why in refused if one is each}
            self._park(connection, each.generation, parked)

    def _save(
        self, connection: sa.Connection, changes: Sequence[tuple[Refolded, Key]]
    ) -> list[tuple[Refolded, Key, str]]:
        """Write rows, and return those that the engine refuses, with the reason."""
        try:
            _run(connection, "SAVEPOINT rows")
            for refolded, some in groupby(changes, key=itemgetter(0)):
                self._write(connection, refolded, [key for _, key in some])
            _run(connection, "RELEASE rows")
        except Exception as error:
            if not self.rows.refuses(error):
                raise
            _run(connection, "ROLLBACK TO rows")
            _run(connection, "RELEASE rows")
            if len(changes) == 1:
                return [(*changes[0], f"the database refuses its row: {type(error).__name__}")]
            half = len(changes) // 2
            return [
                *self._save(connection, changes[:half]),
                *self._save(connection, changes[half:]),
            ]
        return []

    def _write(self, connection: sa.Connection, refolded: Refolded, keys: Sequence[Key]) -> None:
        """Write in the order of the keys: that is the fastest way into an index."""
        gone, new, changed = list[Key](), list[Row](), list[Row]()
        generation, before, after = refolded.generation, refolded.before.rows, refolded.after.rows
        for key in keys:
            row = after[key]
            if row is None:
                gone.append(key)
            elif before.get(key) is None:
                new.append(row)
            else:
                changed.append(row)
        for write, rows in (
            (self.rows.remove, gone),
            (self.rows.insert, new),
            (self.rows.update, changed),
        ):
            if rows:
                rows.sort(key=itemgetter(0))
                write(connection, generation, rows)

    # --- parked keys ----------------------------------------------------------------

    def parked(self, connection: sa.Connection, generation: Generation) -> dict[Key, Parked]:
        """Return the keys of a generation that wait, and why."""
        [parked] = self.parked_of(connection, [generation])
        return parked

    def parked_of(
        self, connection: sa.Connection, generations: Sequence[Generation]
    ) -> list[dict[Key, Parked]]:
        """Return the same of several generations, in order."""
        found: dict[tuple[str, int], dict[Key, Parked]] = {
            (each.projection.NAME, each.number): {} for each in generations
        }
        rows = _run(connection, f"{self._registry.read_parked} WHERE {rows_of(found)}")
        for projection, generation, key, *why in rows:
            found[projection, generation][tuple(json.loads(key))] = Parked(*why)
        return list(found.values())

    def _park(
        self, connection: sa.Connection, generation: Generation, parked: Mapping[Key, Parked]
    ) -> None:
        if parked:
            connection.execute(
                self._registry.parked.insert(),
                [
                    {
                        "projection": generation.projection.NAME,
                        "generation": generation.number,
                        "key": json.dumps(key),
                        "position": why.position,
                        "error": why.error,
                        "since": time_ns() // 1_000,
                    }
                    for key, why in parked.items()
                ],
            )

    def unpark(self, connection: sa.Connection, generation: Generation, key: Key) -> None:
        """Let a key wait no longer."""
        table = self._registry.parked
        connection.execute(
            table.delete().where(*_of(table, generation), table.c.key == json.dumps(key))
        )


def _run(connection: sa.Connection, text: str, values: Mapping[str, Any] | None = None) -> Any:
    """Run a text with the driver's own cursor, and return that."""
    cursor = connection.connection.cursor()
    cursor.execute(text, values or ())
    return cursor


def _of(table: sa.Table, generation: Generation) -> list[sa.ColumnElement[bool]]:
    return [
        table.c.projection == generation.projection.NAME,
        table.c.generation == generation.number,
    ]
