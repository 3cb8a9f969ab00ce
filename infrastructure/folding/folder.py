"""Folds the log into query tables: what is missing, a whole new generation, and its digest.

A page of the log is read once for all tables, grouped by key, folded in memory, and saved with the
checkpoints in one transaction, which also is the fence: two folders never apply an event twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import LogWentBack, Refused
from refold.domain.ports import Event, Log
from refold.infrastructure import chain
from refold.infrastructure.codec import Codec
from refold.infrastructure.folding.building import Builder, Progress, Workers
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.tables import BUILDING, CURRENT, Checkpoint, Generation, Tables
from refold.projections.projection import Key, Projection, Row, fold, kinds

PARTITION: Final = 0
"""The partition that is folded: a store has one."""


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
        event that cannot be read: nothing is skipped; `Refused` when the log ends before `until`.
        """
        head = self._head()
        if until is not None and until > head:
            raise Refused(f"position {until} is behind the end of the log at {head}")
        until = head if until is None else until
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
            with self._pages() as pages:
                while self._fold_next(pages, CURRENT, until, self._projections) < until:
                    pass
        return max(reached, until)

    def build(
        self,
        projections: Sequence[Projection],
        until: int | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Fill new generations of `projections` from the first event, and put them in place.

        One that was broken off goes on where it was.
        """
        self._fill(projections, self._head() if until is None else until, _quietly, workers)
        with self._tables.writing(BUILDING, CURRENT) as connection:
            filled = self._filled(connection, projections)
            self._tables.switch(connection, filled)

    def rebuild(
        self,
        projections: Sequence[Projection],
        progress: Progress | None = None,
        workers: Workers | None = None,
    ) -> list[Rebuilt]:
        """Build new generations, and compare them with those that they replace.

        Those are folded to the same position, so that the digests can be compared; one that was
        folded from another log, or by another version, cannot be.
        """
        goal = self._head()
        self._fill(projections, goal, progress or _quietly, workers)
        with self._tables.writing(BUILDING, CURRENT) as connection:
            filled = self._filled(connection, projections)
            rebuilt = [self._compared(connection, generation, goal) for generation in filled]
            self._tables.switch(connection, filled)
            return rebuilt

    def digest(self, projection: Projection) -> tuple[int, Digest]:
        """Return the position of the current generation and the digest of its rows there."""
        with self._tables.reading() as connection:
            generation = self._tables.current(connection)[projection.NAME]
            [checkpoint] = self._checkpoints(connection, [generation])
            return checkpoint.position, self._digest(connection, generation)

    @property
    def builder(self) -> Builder:
        """Return what fills new generations."""
        return Builder(self._log, self._tables, self._codec, PARTITION)

    # --- pages ----------------------------------------------------------------------

    def _fill(
        self,
        projections: Sequence[Projection],
        goal: int,
        progress: Progress,
        workers: Workers | None,
    ) -> None:
        """Bring generations that are being built up to `goal`."""
        with self._tables.writing(BUILDING) as connection:
            for projection in projections:
                self._start(connection, projection)
            generations = self._generations(connection, BUILDING, projections)
        if not goal:
            return
        self.builder.fill(generations, goal, progress, workers)
        with self._pages() as pages:
            while self._fold_next(pages, BUILDING, goal, projections) < goal:
                pass

    def _pages(self) -> PageReader:
        return PageReader(self._log, PARTITION)

    def _fold_next(
        self, pages: PageReader, state: str, until: int, projections: Sequence[Projection]
    ) -> int:
        """Fold one page into the generations in `state` and return the position reached."""
        with self._tables.writing(state) as connection:
            generations = self._generations(connection, state, projections)
            return self._fold_page(connection, pages, generations, until)

    def _fold_page(
        self,
        connection: sa.Connection,
        pages: PageReader,
        generations: Sequence[Generation],
        until: int,
    ) -> int:
        for generation in generations:
            generation.check_version()
        checkpoints = self._checkpoints(connection, generations)
        start = min((checkpoint.position for checkpoint in checkpoints), default=until)
        page = pages.read(start, until)
        if not page:
            return until
        wanted = kinds(each.projection for each in generations)
        events, last = self._codec.decode_kinds(page, wanted), page[-1]
        for generation, checkpoint in zip(generations, checkpoints, strict=True):
            own = [
                (kind, event)
                for kind, event in events
                if kind in generation.projection.KINDS
                and event.recorded.position > checkpoint.position
            ]
            self._fold_into(connection, generation, own)
            if checkpoint.position < last.position:
                self._tables.save_checkpoint(
                    connection,
                    replace(checkpoint, position=last.position, record_hash=chain.digest(last)),
                )
        return last.position

    def _fold_into(
        self, connection: sa.Connection, generation: Generation, events: Sequence[tuple[str, Event]]
    ) -> None:
        projection = generation.projection
        keys = {key for _, event in events for key in projection.keys(event)}
        before = self._tables.load(connection, generation, list(keys)) if keys else {}
        after: dict[Key, Row | None] = dict(before)
        fold([(projection, after)], events)
        self._tables.save(connection, generation, before, after)

    # --- generations ----------------------------------------------------------------

    def _start(self, connection: sa.Connection, projection: Projection) -> None:
        """Begin a generation of `projection`, unless one of this version is under way."""
        number = 1
        for generation in self._tables.generations(connection):
            if generation.projection.NAME == projection.NAME:
                number = generation.number + 1
                if generation.state == BUILDING:
                    if generation.is_of_this_version and self._goes_on(connection, generation):
                        return
                    self._tables.drop(connection, generation)
        self._tables.start(connection, projection, number)

    def _goes_on(self, connection: sa.Connection, generation: Generation) -> bool:
        """Tell whether the log still holds what the generation is being filled from."""
        plan = self._tables.plan(connection, generation, PARTITION)
        parts = self._tables.parts(connection, generation, PARTITION)
        return all(map(self._fits, parts)) and (
            plan is None or self._holds(plan.position, plan.record_hash)
        )

    def _filled(
        self, connection: sa.Connection, projections: Sequence[Projection]
    ) -> list[Generation]:
        """Return the generations that are filled, now with their indexes."""
        filled = self._generations(connection, BUILDING, projections)
        for generation in filled:
            self._tables.rows.create_indexes(connection, generation)
        return filled

    def _compared(self, connection: sa.Connection, generation: Generation, goal: int) -> Rebuilt:
        live = self._tables.current(connection).get(generation.projection.NAME)
        before = self._digest_beside(connection, live, generation, goal) if live else None
        after = self._digest(connection, generation)
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
        with self._pages() as pages:
            while self._fold_page(connection, pages, both, goal) < goal:
                pass
        return self._digest(connection, live)

    def _digest(self, connection: sa.Connection, generation: Generation) -> Digest:
        return digest(self._tables.rows.scan(connection, generation))

    def _generations(
        self, connection: sa.Connection, state: str, projections: Sequence[Projection]
    ) -> list[Generation]:
        names = {projection.NAME for projection in projections}
        return [
            generation
            for generation in self._tables.generations(connection)
            if generation.state == state and generation.projection.NAME in names
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
            kept.get((name, number), Checkpoint(name, number, PARTITION, 0, 1, store_id, 0, b""))
            for name, number in names
        ]

    def _fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the log holds what a generation was folded from."""
        if checkpoint.position == 0:
            return True
        is_there = self._holds(checkpoint.position, checkpoint.record_hash)
        return is_there and checkpoint.store_id == self._log.identity().store_id

    def _holds(self, position: int, record_hash: bytes) -> bool:
        found = self._log.page(PARTITION, position - 1, 1)
        return bool(found) and chain.digest(found[0]) == record_hash

    def _head(self) -> int:
        return self._log.heads()[PARTITION].position


def fold_family(
    events: Sequence[Event], projections: Iterable[Projection]
) -> dict[str, dict[Key, Row]]:
    """Return the rows that the events of one family make, by table: the same fold, no database."""
    tables: list[tuple[Projection, dict[Key, Row | None]]] = [(each, {}) for each in projections]
    fold(tables, ((streams.kind(each.recorded.stream), each) for each in events))
    return {
        projection.NAME: {key: row for key, row in rows.items() if row is not None}
        for projection, rows in tables
    }


def digest(rows: Iterable[Row]) -> Digest:
    """Return the digest of rows that come in the order of their keys; equal on all engines.

    It is the SHA-256 of JSON lines: a row is an array of its declared columns, in order, in UTF-8
    without white space, and ends with a newline.
    """
    total, count = sha256(), 0
    for row in rows:
        total.update(msgspec.json.encode(row) + b"\n")
        count += 1
    return Digest(count, total.hexdigest())


def _quietly(what: str, done: int, total: int) -> None:
    """Report nothing."""
