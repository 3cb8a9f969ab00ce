"""Folds the log into query tables: what is missing, a whole new generation, and its digest.

A page of the log is read once for all tables, grouped by key, folded in memory, and saved with the
checkpoints in one transaction, which also is the fence: two folders never apply an event twice.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import LogWentBack
from refold.domain.ports import Event, Log, Recorded
from refold.infrastructure import chain
from refold.infrastructure.codec import Codec
from refold.infrastructure.tables import BUILDING, CURRENT, Checkpoint, Generation, Tables
from refold.projections.projection import Key, Projection, Row, fold

PAGE: Final = 5_000
"""Events folded in one transaction."""

PARTITION: Final = 0
"""The partition that is folded: a store has one."""

Progress = Callable[[int, int], None]
"""Told how many positions are done, of how many."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a table holds: the number of its rows and the SHA-256 over all of them."""

    rows: int
    hex: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A new generation that is in place; `before` is the digest of the one it replaced."""

    name: str
    generation: int
    digest: Digest
    before: Digest | None

    @property
    def equal_to_previous(self) -> bool | None:
        """Tell whether the rows are the same as before; None when that cannot be compared."""
        return None if self.before is None else self.before == self.digest


class Folder:
    """Keeps the query tables of one store behind its log."""

    def __init__(
        self, log: Log, tables: Tables, codec: Codec, projections: Sequence[Projection]
    ) -> None:
        self._log = log
        self._tables = tables
        self._codec = codec
        self._projections = projections

    def catch_up(self, until: int | None = None) -> int:
        """Fold what is missing, at most up to `until`, and return the position reached.

        Builds tables that are not there. Raises `StaleProjection` for those of another version,
        `LogWentBack` when the log lost what was folded, `Undecodable` or `UnknownType` at an
        event that cannot be read: nothing is skipped.
        """
        until = self._head() if until is None else until
        with self._tables.reading() as connection:
            current = self._tables.current(connection)
            checkpoints = self._checkpoints(connection, current.values())
        for generation in current.values():
            generation.check_version()
        different = {(each.position, each.store_id, each.record_hash): each for each in checkpoints}
        for checkpoint in different.values():
            if not self._fits(checkpoint):
                raise LogWentBack(checkpoint.projection, checkpoint.position)
        reached = min((checkpoint.position for checkpoint in checkpoints), default=0)
        missing = [each for each in self._projections if each.NAME not in current]
        if missing:
            self.build(missing, until=until)
            return self.catch_up(until)
        if reached < until:
            while self._fold_next(CURRENT, until) < until:
                pass
        return max(reached, until)

    def build(
        self,
        projections: Sequence[Projection],
        until: int | None = None,
        progress: Progress | None = None,
    ) -> list[Rebuilt]:
        """Fill new generations of `projections` from the first event, and put them in place.

        A build that was broken off goes on where it was. At the end the generation that is
        replaced is folded to the same position, so that the digests can be compared; one that
        was folded from another log, or by another version, cannot be.
        """
        names = {projection.NAME for projection in projections}
        with self._tables.writing() as connection:
            for projection in projections:
                self._start(connection, projection)
        goal = self._head() if until is None else until
        with _without_garbage_collection():
            while (done := self._fold_next(BUILDING, goal, names)) < goal:
                if progress:
                    progress(done, goal)
        with self._tables.writing() as connection:
            filled = self._generations(connection, BUILDING, names)
            rebuilt = [self._finished(connection, generation, goal) for generation in filled]
            self._tables.switch(connection, filled)
            return rebuilt

    def digest(self, projection: Projection) -> tuple[int, Digest]:
        """Return the position of the current generation and the digest of its rows there."""
        with self._tables.reading() as connection:
            generation = self._tables.current(connection)[projection.NAME]
            [checkpoint] = self._checkpoints(connection, [generation])
            return checkpoint.position, digest(connection, generation.table, projection)

    # --- pages ----------------------------------------------------------------------

    def _fold_next(self, state: str, until: int, names: Iterable[str] | None = None) -> int:
        """Fold one page into the generations in `state` and return the position reached."""
        with self._tables.writing() as connection:
            generations = self._generations(connection, state, names)
            return self._fold_page(connection, generations, until)

    def _fold_page(
        self,
        connection: sa.Connection,
        generations: Sequence[Generation],
        until: int,
    ) -> int:
        for generation in generations:
            generation.check_version()
        checkpoints = self._checkpoints(connection, generations)
        start = min((checkpoint.position for checkpoint in checkpoints), default=until)
        page = self._log.page(PARTITION, start, min(PAGE, until - start)) if start < until else []
        if not page:
            return until
        events = self._decoded(page, generations)
        for generation, checkpoint in zip(generations, checkpoints, strict=True):
            self._fold_into(connection, generation, events, checkpoint.position)
            if checkpoint.position < page[-1].position:
                last = page[-1]
                self._tables.save_checkpoint(
                    connection,
                    replace(checkpoint, position=last.position, record_hash=chain.digest(last)),
                )
        return page[-1].position

    def _decoded(
        self, page: Sequence[Recorded], generations: Sequence[Generation]
    ) -> list[tuple[str, Event]]:
        wanted = frozenset[str]().union(*(each.projection.KINDS for each in generations))
        return [
            (kind, self._codec.decode(recorded))
            for recorded in page
            if (kind := streams.kind(recorded.stream)) in wanted
        ]

    def _fold_into(
        self,
        connection: sa.Connection,
        generation: Generation,
        events: Sequence[tuple[str, Event]],
        behind: int,
    ) -> None:
        projection = generation.projection
        own = [
            event
            for kind, event in events
            if kind in projection.KINDS and event.recorded.position > behind
        ]
        keys = {key for event in own for key in projection.keys(event)}
        before = self._tables.load(connection, generation, list(keys)) if keys else {}
        after: dict[Key, Row | None] = dict(before)
        fold(projection, own, after)
        self._tables.save(connection, generation, before, after)

    # --- generations ----------------------------------------------------------------

    def _start(self, connection: sa.Connection, projection: Projection) -> None:
        """Begin a generation of `projection`, unless one of this version is under way."""
        number = 1
        for generation in self._tables.generations(connection):
            if generation.projection.NAME == projection.NAME:
                number = generation.number + 1
                if generation.state == BUILDING:
                    [checkpoint] = self._checkpoints(connection, [generation])
                    if generation.is_of_this_version and self._fits(checkpoint):
                        return
                    self._tables.drop(connection, generation)
        self._tables.start(connection, projection, number)

    def _finished(self, connection: sa.Connection, generation: Generation, goal: int) -> Rebuilt:
        """Add what a filled generation lacks, and compare it with the one that is live."""
        self._tables.rows.create_indexes(connection, generation)
        live = self._tables.current(connection).get(generation.projection.NAME)
        before = self._digest_beside(connection, live, generation, goal) if live else None
        after = digest(connection, generation.table, generation.projection)
        return Rebuilt(generation.projection.NAME, generation.number, after, before)

    def _digest_beside(
        self, connection: sa.Connection, live: Generation, generation: Generation, goal: int
    ) -> Digest | None:
        """Return the digest of `live` at the position of `generation`, None if it has none."""
        both = [live, generation]
        checkpoints = self._checkpoints(connection, both)
        if not live.is_of_this_version or not self._fits(checkpoints[0]):
            return None
        goal = max(goal, *(checkpoint.position for checkpoint in checkpoints))
        while self._fold_page(connection, both, goal) < goal:
            pass
        return digest(connection, live.table, live.projection)

    def _generations(
        self, connection: sa.Connection, state: str, names: Iterable[str] | None
    ) -> list[Generation]:
        wanted = {each.NAME for each in self._projections} if names is None else names
        return [
            generation
            for generation in self._tables.generations(connection)
            if generation.state == state and generation.projection.NAME in wanted
        ]

    # --- checkpoints ----------------------------------------------------------------

    def _checkpoints(
        self, connection: sa.Connection, generations: Iterable[Generation]
    ) -> list[Checkpoint]:
        """Return the checkpoint of each generation, in order; one without any starts at 0."""
        kept = self._tables.checkpoints(connection, PARTITION)
        store_id = self._log.identity().store_id
        names = ((generation.projection.NAME, generation.number) for generation in generations)
        return [
            kept.get((name, number), Checkpoint(name, number, PARTITION, store_id, 0, b""))
            for name, number in names
        ]

    def _fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the log holds what a generation was folded from."""
        if checkpoint.position == 0:
            return True
        found = self._log.page(PARTITION, checkpoint.position - 1, 1)
        if not found or chain.digest(found[0]) != checkpoint.record_hash:
            return False
        return checkpoint.store_id == self._log.identity().store_id

    def _head(self) -> int:
        return self._log.heads()[PARTITION].position


def fold_family(
    events: Sequence[Event], projections: Iterable[Projection]
) -> dict[str, dict[Key, Row]]:
    """Return the rows that the events of one family make, by table: the same fold, no database."""
    tables: dict[str, dict[Key, Row]] = {}
    for projection in projections:
        rows: dict[Key, Row | None] = {}
        own = [each for each in events if streams.kind(each.recorded.stream) in projection.KINDS]
        fold(projection, own, rows)
        tables[projection.NAME] = {key: row for key, row in rows.items() if row is not None}
    return tables


def digest(connection: sa.Connection, table: sa.Table, projection: Projection) -> Digest:
    """Return the digest of all rows of `table` in the order of their keys, equal on all engines.

    A row enters as its declared columns in order, each as its length in bytes (8 bytes,
    big-endian) and its bytes: n for null, i and the digits of a number, t and the UTF-8 of a text.
    """
    columns = [table.c[column.name] for column in projection.TABLE.columns]
    query = sa.select(*columns).order_by(*table.primary_key.columns)
    total, count = sha256(), 0
    for row in connection.execute(query, execution_options={"yield_per": PAGE}):
        total.update(b"".join(map(_canonical, row)))
        count += 1
    return Digest(count, total.hexdigest())


def _canonical(value: object) -> bytes:
    match value:
        case None:
            tagged = b"n"
        case int():
            tagged = b"i%d" % value
        case _:
            tagged = b"t" + str(value).encode()
    return len(tagged).to_bytes(8, "big") + tagged


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Spare a long fold the collector: its rows are many and hold no cycles."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
