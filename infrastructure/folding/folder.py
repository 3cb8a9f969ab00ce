"""Keeps the live query tables of a store behind its log, and tells what they hold."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import KeyParked, Refused, StaleProjection
from refold.domain.ports import Event
from refold.domain.positions import Positions
from refold.infrastructure.failpoints import reach
from refold.infrastructure.folding.advancing import UNREADABLE, Advance, Stops
from refold.infrastructure.folding.digests import Digest, digest
from refold.infrastructure.folding.generations import BUILDING, CURRENT, Generation
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.rebuilding import Rebuilder
from refold.infrastructure.folding.rounds import Rounds
from refold.infrastructure.folding.rows import Rows
from refold.infrastructure.folding.tables import Refolded, Tables
from refold.infrastructure.patience import patiently
from refold.infrastructure.progress import Progress, quietly
from refold.projections.projection import Folded, Key, Parked, Projection, Row, fold


@dataclass(frozen=True, slots=True)
class LiveTables:
    """What is behind the views, by name, open to be read at one instant by `rows`."""

    connection: sa.Connection
    rows: Rows
    current: Mapping[str, Generation]


@dataclass(frozen=True, slots=True)
class _Found:
    """The live tables: those that are missing, those of another version, and where others stand."""

    current: Mapping[str, Generation]
    missing: Sequence[Projection]
    stale: Stops
    standing: Sequence[Positions]

    def stands_at(self, goal: Positions, wanted: Iterable[Projection]) -> bool:
        """Tell whether all go on and are folded up to `goal`."""
        return (
            not self.missing
            and all(each.NAME not in self.stale for each in wanted)
            and all(each.covers(goal) for each in self.standing)
        )


class Folder:
    """Folds what happened into the live query tables of one store."""

    def __init__(
        self, advance: Advance, projections: Sequence[Projection], rounds: Rounds | None = None
    ) -> None:
        """Those that fold the same store in other threads have the same `rounds`."""
        self._advance = advance
        self._projections = projections
        self._rounds = rounds or Rounds()

    @property
    def _tables(self) -> Tables:
        return self._advance.tables

    def catch_up(
        self,
        until: Positions | None = None,
        wanted: Collection[Projection] | None = None,
        progress: Progress = quietly,
    ) -> Positions:
        """Fold what is missing, at most up to `until`, and return the positions reached.

        Builds tables that are not there. A table that cannot go on stops at that event, the others
        do not: when it is among those `wanted`, by default all, the reason is raised in the end.
        That is `StaleProjection` for one of another version, `UnknownType`, `Undecodable` or
        `Unfoldable` at an event that cannot be read, `NoVaultKey` or `WrongVaultKey`. Raises
        `LogWentBack` when the log lost what was folded, `Refused` when it ends before `until`.
        """
        head = self._head(until)
        until = head if until is None else until
        reached, stops = self._fold(until, until, progress)
        self._check(stops, wanted)
        return reached

    def reach(self, goal: Positions, wanted: Collection[Projection] | None = None) -> None:
        """Fold unless the tables stand at `goal` already; then as far as a page goes.

        So, of many who wait for what they have just appended, one folds for all. Otherwise as
        `catch_up`.
        """

        def fold(just_reached: Positions | None) -> Positions:
            until = self._head(goal)
            if just_reached is not None and len(just_reached.each) == 1:  # no other to look at
                found = _Found({}, [], {}, [just_reached])
                reached, stops = self._go_on(found, goal, until)
            else:
                reached, stops = self._fold(goal, until)
            self._check(stops, wanted)
            return Positions(()) if stops else reached  # others may want what is stopped

        self._rounds.reach(goal, fold)

    @contextmanager
    def reading(
        self, goal: Positions | None, wanted: Collection[Projection]
    ) -> Iterator[LiveTables]:
        """Open the live tables at one instant, folded up to `goal`, or all that is in the log.

        The transaction is that in which they were found to stand there, if they did. Of many who
        wait for positions, one folds for all: see `reach`. Raises as `catch_up`.
        """
        if goal and goal.each:
            self.reach(goal, wanted)
        else:
            until = self._head(None) if goal is None else goal
            with self._tables.reading() as connection:
                found = self._look(connection)
                if found.stands_at(until, wanted):
                    yield LiveTables(connection, self._tables.rows, found.current)
                    return
            _, stops = self._go_on(found, until, until)
            self._check(stops, wanted)
        with self._tables.reading() as connection:
            yield LiveTables(connection, self._tables.rows, self._tables.current(connection))

    def _head(self, until: Positions | None) -> Positions:
        head = self._advance.head()
        if until and not head.covers(until):
            raise Refused(f"position {until} is beyond the end of the log at {head}")
        return head

    def _check(self, stops: Stops, wanted: Collection[Projection] | None) -> None:
        for projection in self._projections if wanted is None else wanted:
            if projection.NAME in stops:
                raise stops[projection.NAME]

    def _fold(
        self, enough: Positions, until: Positions, progress: Progress = quietly
    ) -> tuple[Positions, Stops]:
        """Fold up to `until`, page by page till there is `enough`; return how far, and stops."""
        with self._tables.reading() as connection:
            found = self._look(connection)
        return self._go_on(found, enough, until, progress)

    def _look(self, connection: sa.Connection) -> _Found:
        """Return which tables there are and how far they are. Raises `LogWentBack`."""
        current = self._tables.current(connection)
        standing = self._advance.standing(connection, current.values())
        self._advance.check_fits(standing)
        stale = _stale(current.values())
        return _Found(
            current,
            [each for each in self._projections if each.NAME not in current],
            stale,
            [
                each.positions
                for name, each in zip(current, standing, strict=True)
                if name not in stale
            ],
        )

    def _go_on(
        self,
        found: _Found,
        enough: Positions,
        until: Positions,
        progress: Progress = quietly,
    ) -> tuple[Positions, Stops]:
        if found.missing:
            self._build(found.missing, enough, progress)
            return self._fold(enough, until, progress)
        stops = dict(found.stale)
        done = list(Positions.lowest([until, *found.standing]).each)
        for partition, end in enumerate(until.each):
            if done[partition] < enough[partition]:
                here = dict(found.stale)  # what stops a table in a partition stops it in no other
                with self._advance.pages(partition) as pages:
                    fold_next = partial(self._fold_next, pages, end, here)
                    while (reached_here := patiently(fold_next)) < enough[partition]:
                        done[partition] = reached_here
                        progress("fold", sum(done), enough.total)
                    done[partition] = reached_here
                stops |= here
        return Positions(tuple(done)), stops

    def _fold_next(self, pages: PageReader, until: int, stops: Stops) -> int:
        """Fold one page into the live tables that are not stopped; return the position reached."""
        with self._tables.writing(CURRENT) as connection:
            current = self._tables.current(connection)
            stops.update(_stale(current.values()))
            going = [current[each.NAME] for each in self._projections if each.NAME not in stops]
            position = self._advance.fold_page(connection, pages, going, until, stops)
            reach("fold: page folded")
        reach("fold: page saved")
        return position

    def _build(
        self, projections: Sequence[Projection], until: Positions, progress: Progress
    ) -> None:
        """Build tables up to `until`, or to before the first event that cannot be read."""
        rebuilder = Rebuilder(self._advance)
        try:
            rebuilder.build(projections, until, progress)
        except UNREADABLE:
            readable = self._advance.readable(projections, until)
            if readable == until:
                raise
            rebuilder.drop(projections, BUILDING)
            rebuilder.build(projections, readable, progress)

    def retry(self, projections: Sequence[Projection]) -> dict[str, tuple[list[Key], list[Key]]]:
        """Fold parked keys again, and return by table which go on now, and which still wait.

        Raises `StaleProjection` where keys wait in a table of another version: all stay parked.
        """
        with self._tables.writing(CURRENT) as connection:
            current = self._tables.current(connection)
            tried = {}
            for projection in projections:
                generation = current[projection.NAME]
                [standing] = self._advance.standing(connection, [generation])
                keys = list(self._tables.parked(connection, generation))
                if keys:
                    generation.check_version()
                waiting = [
                    key
                    for key in keys
                    if not self._fold_again(connection, generation, key, standing.positions)
                ]
                tried[projection.NAME] = [each for each in keys if each not in waiting], waiting
            return tried

    def _fold_again(
        self, connection: sa.Connection, generation: Generation, key: Key, goal: Positions
    ) -> bool:
        projection = generation.projection
        family = projection.family(key)
        until = goal[streams.partition(family, self._advance.log.partitions)]
        events = self._advance.codec.decode_all(
            record for record in self._advance.log.family(family) if record.position <= until
        )
        row, parked = fold_key(projection, key, events)
        if parked:
            return False
        before = self._tables.load(connection, generation, [key])
        self._tables.unpark(connection, generation, key)
        was, now = Folded(projection, dict(before), {}), Folded(projection, {key: row}, {})
        self._tables.keep(connection, [Refolded(generation, was, now)], until)
        return key not in self._tables.parked(connection, generation)

    def digest(self, projection: Projection) -> tuple[Positions, Digest]:
        """Return the positions of the current generation and the digest of its rows there."""
        with self._tables.reading() as connection:
            generation = self._tables.current(connection)[projection.NAME]
            [standing] = self._advance.standing(connection, [generation])
            rows = self._tables.rows.scan(connection, generation)
            return standing.positions, digest(rows)


def _stale(generations: Iterable[Generation]) -> Stops:
    """Return those that another version fills."""
    stops: Stops = {}
    for generation in generations:
        try:
            generation.check_version()
        except StaleProjection as error:
            stops[generation.projection.NAME] = error
    return stops


def fold_key(
    projection: Projection, key: Key, events: Iterable[Event]
) -> tuple[Row | None, Parked | None]:
    """Return the row that the events of a family make of `key`, and why it could not be folded."""
    folded = Folded(projection, {}, {})
    fold([folded], ((streams.kind(each.recorded.stream), each) for each in events))
    return folded.rows.get(key), folded.parked.get(key)


def fold_family(
    events: Sequence[Event], projections: Iterable[Projection]
) -> dict[str, dict[Key, Row]]:
    """Return the rows that the events of one family make, by table: the same fold, no database.

    Raises `KeyParked` for a row that cannot be folded.
    """
    tables = [Folded(each, {}, {}) for each in projections]
    fold(tables, ((streams.kind(each.recorded.stream), each) for each in events))
    for projection, _, parked in tables:
        for key, why in parked.items():
            raise KeyParked(projection.NAME, key, why.position, why.error)
    return {
        projection.NAME: {key: row for key, row in rows.items() if row is not None}
        for projection, rows, _ in tables
    }
