"""Builds query tables again beside the live ones, tells what differs, switches, and goes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

import sqlalchemy as sa

from refold.domain.errors import Refused
from refold.domain.positions import Positions
from refold.infrastructure.failpoints import reach
from refold.infrastructure.folding.advancing import Advance
from refold.infrastructure.folding.building import Builder
from refold.infrastructure.folding.difference import Difference, difference
from refold.infrastructure.folding.digests import Digest, digest
from refold.infrastructure.folding.generations import (
    BUILDING,
    CURRENT,
    PREVIOUS,
    Generation,
    Standing,
)
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.patience import patiently
from refold.infrastructure.progress import Progress, quietly
from refold.projections.projection import Projection


class KeysParked(Refused):
    """A new generation has rows that could not be folded; the live one stays."""


class NoSuchGeneration(Refused):
    """There is no generation of a table to switch to."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new generation beside the live one, which both stand at `positions`.

    `difference` is None where there is nothing that it can be compared with, and `why` says so.
    `parked` counts the rows that could not be folded. `digest` is that of the rows, if it was
    asked for.
    """

    name: str
    generation: int
    positions: Positions
    rows: int
    parked: int
    difference: Difference | None
    why: str = ""
    digest: Digest | None = None

    @property
    def is_equal(self) -> bool | None:
        """Tell whether the rows are the same; None when they cannot be compared."""
        return None if self.difference is None else not self.difference


class Rebuilder:
    """Makes new generations of the query tables of one store."""

    def __init__(self, advance: Advance, state: str = BUILDING) -> None:
        """What it makes is in `state`, building or rehearsing, until it is switched or dropped."""
        self._advance, self._state = advance, state

    @property
    def builder(self) -> Builder:
        """Return what fills new generations."""
        advance = self._advance
        return Builder(advance.log, advance.tables, advance.codec, advance.workers)

    @property
    def _tables(self) -> Tables:
        return self._advance.tables

    def rebuild(
        self, projections: Sequence[Projection], progress: Progress = quietly
    ) -> list[Comparison]:
        """Fill new generations, compare them with the live ones, and put them in place."""
        shadows = self.fill(projections, progress)
        compared = self.compare(shadows)
        self.switch(shadows)
        return compared

    def build(
        self,
        projections: Sequence[Projection],
        until: Positions | None = None,
        progress: Progress = quietly,
    ) -> None:
        """Fill new generations and put them in place, whatever they hold. Raises as `fill`.

        Those that somebody else has put in place meanwhile stay.
        """
        patiently(partial(self._put, self.fill(projections, progress, until)))

    def _put(self, shadows: Sequence[Generation]) -> None:
        with self._tables.writing(BUILDING, CURRENT) as connection:
            self._tables.switch(connection, self._left(connection, shadows))

    def fill(
        self,
        projections: Sequence[Projection],
        progress: Progress = quietly,
        until: Positions | None = None,
    ) -> list[Generation]:
        """Fold `projections` from the first event beside the live tables; return what was made.

        That goes up to `until`, or to where it can be compared with the live tables. A filling
        that was broken off goes on where it was. Raises `UnknownType`, `Undecodable` or
        `Unfoldable` at an event that cannot be read, and `Unavailable`.
        """
        shadows, goal = patiently(partial(self._begin, projections, until))
        if goal.total:
            self.builder.fill(shadows, goal, progress)
        patiently(partial(self._end, shadows, goal))
        return shadows

    def _begin(
        self, projections: Sequence[Projection], until: Positions | None
    ) -> tuple[list[Generation], Positions]:
        """Return the generations that are to be filled, and up to where."""
        with self._tables.writing(BUILDING) as connection:
            self._forget_lost(connection, projections)
            for projection in projections:
                self._start(connection, projection)
            shadows = self._some(connection, projections, self._state)
            return shadows, self._goal(connection, projections) if until is None else until

    def _end(self, shadows: Sequence[Generation], goal: Positions) -> None:
        """Fold what a filling that was begun earlier has not seen, and make the indexes."""
        with self._tables.writing(BUILDING) as connection:
            left = self._left(connection, shadows)
            self._advance.fold_up(connection, left, goal)
            for generation in left:
                self._tables.rows.create_indexes(connection, generation)

    def compare(
        self,
        shadows: Sequence[Generation],
        samples: int = 0,
        *,
        folds_live: bool = True,
        digests: bool = False,
    ) -> list[Comparison]:
        """Compare what `fill` made with the live tables, at one position; nobody waits meanwhile.

        Up to so many `samples` of added, removed and changed rows each are given, and `digests` of
        the new tables, for which all their rows are read. Appends,
        readers and folders go on: the rows are compared in a snapshot that all of them reached.
        Unless it `folds_live` tables, they are compared where they stand. Raises
        `NoSuchGeneration` when another rebuild has switched or dropped one of `shadows`.
        """
        while True:
            self._level(shadows, folds_live=folds_live)
            with self._tables.reading() as connection:  # others may have gone on since
                compared = [
                    self._compared(connection, shadow, samples, digests=digests)
                    for shadow in self._whole(connection, shadows)
                ]
            if None not in compared:
                return [each for each in compared if each]

    def switch(self, shadows: Sequence[Generation]) -> float:
        """Put what `fill` made in place, in one transaction, and return the seconds it took.

        Nobody folds meanwhile; readers see the one or the other. What was live is kept for
        `roll_back`. Raises `KeysParked` rather than replacing a table by one with rows missing,
        `NoSuchGeneration` as `compare`, and `Unavailable` when readers hold the tables for long.
        """
        self._level(shadows, folds_live=False)
        return patiently(partial(self._switch, shadows))

    def _switch(self, shadows: Sequence[Generation]) -> float:
        with self._tables.writing(BUILDING, CURRENT) as connection:
            began = monotonic()
            whole = self._whole(connection, shadows)
            self._advance.fold_up(connection, whole, self._advance.head())
            live = self._tables.current(connection)
            for shadow in whole:
                waiting = len(self._tables.parked(connection, shadow))
                if waiting and shadow.projection.NAME in live:
                    raise KeysParked(
                        f"{waiting} rows of the new {shadow.projection.NAME} could not be folded;"
                        " the live one stays"
                    )
            reach("rebuild: compared")
            self._tables.switch(connection, whole)
        reach("rebuild: switched")
        return monotonic() - began

    def roll_back(self, projections: Sequence[Projection]) -> list[Generation]:
        """Put the previous generations in place again, and return them as they stand then.

        Those of the version at hand are folded first, as far as events can be read, so that no
        reader sees a table go back.
        Raises `NoSuchGeneration`, and `LogWentBack` for one that is not of this log.
        """
        return patiently(partial(self._roll_back, projections))

    def _roll_back(self, projections: Sequence[Projection]) -> list[Generation]:
        with self._tables.writing(BUILDING, CURRENT) as connection:
            self._forget_lost(connection, projections)
            previous = self._all(connection, projections, PREVIOUS)
            self._advance.check_fits(self._advance.standing(connection, previous))
            own = [each for each in previous if each.is_of_this_version]
            self._advance.fold_up(connection, own, self._advance.head(), stops={})
            self._tables.switch(connection, previous)
            return self._all(connection, projections, CURRENT)

    def drop(self, projections: Sequence[Projection], state: str) -> list[Generation]:
        """Remove the generations in `state` that no view shows, and return them."""
        return patiently(partial(self._drop, projections, state))

    def remove(self, shadows: Sequence[Generation]) -> None:
        """Remove what `fill` made, unless another has already, or has switched to it."""
        patiently(partial(self._remove, shadows))

    def _remove(self, shadows: Sequence[Generation]) -> None:
        with self._tables.writing(BUILDING, CURRENT) as connection:
            for generation in self._tables.generations(connection):
                if generation in shadows:
                    self._tables.drop(connection, generation)

    def _drop(self, projections: Sequence[Projection], state: str) -> list[Generation]:
        with self._tables.writing(BUILDING, CURRENT) as connection:
            found = self._some(connection, projections, state)
            self._tables.rows.lock(connection, [], found)
            for generation in found:
                self._tables.drop(connection, generation)
            return found

    # --- generations ----------------------------------------------------------------

    def _start(self, connection: sa.Connection, projection: Projection) -> None:
        """Begin a generation of `projection`, unless one of this version is being built."""
        for generation in self._some(connection, [projection], self._state):
            if self._state == BUILDING and self._goes_on(connection, generation):
                return
            self._tables.drop(connection, generation)
        self._tables.start(connection, projection, self._state)

    def _forget_lost(self, connection: sa.Connection, projections: Sequence[Projection]) -> None:
        """Drop generations whose tables somebody has dropped: what is left of them goes, too."""
        lost = [each for each in self._tables.lost(connection) if each.projection in projections]
        if lost:
            self._tables.exclude(connection, CURRENT)
        for generation in lost:
            self._tables.drop(connection, generation)

    def _goes_on(self, connection: sa.Connection, generation: Generation) -> bool:
        """Tell whether a generation can be filled further as it was begun."""
        if not generation.is_of_this_version or self._tables.parked(connection, generation):
            return False
        plans = self._tables.plans(connection, generation).values()
        parts = Standing(tuple(self._tables.parts(connection, generation)))
        return self._advance.fits(parts) and all(
            self._advance.holds(each.partition, each.position, each.record_hash) for each in plans
        )

    def _some(
        self, connection: sa.Connection, projections: Sequence[Projection], state: str
    ) -> list[Generation]:
        names = {projection.NAME for projection in projections}
        return [
            generation
            for generation in self._tables.generations(connection)
            if generation.state == state and generation.projection.NAME in names
        ]

    def _all(
        self, connection: sa.Connection, projections: Sequence[Projection], state: str
    ) -> list[Generation]:
        """Return one generation of each of `projections`. Raises `NoSuchGeneration`."""
        found = self._some(connection, projections, state)
        there = {generation.projection.NAME for generation in found}
        for projection in projections:
            if projection.NAME not in there:
                raise NoSuchGeneration(f"there is no {state} generation of table {projection.NAME}")
        return found

    def _left(self, connection: sa.Connection, shadows: Sequence[Generation]) -> list[Generation]:
        """Return those of `shadows` that are whole, and that nobody has switched or dropped."""
        return [
            each
            for each in self._tables.generations(connection)
            if each in shadows and self._is_whole(connection, each)
        ]

    def _is_whole(self, connection: sa.Connection, generation: Generation) -> bool:
        """Tell whether all parts of a generation are filled that were planned."""
        parts = self._tables.parts(connection, generation)
        filled = {each.partition for each in parts if each.parts == 1}
        return filled >= self._tables.plans(connection, generation).keys()

    def _whole(self, connection: sa.Connection, shadows: Sequence[Generation]) -> list[Generation]:
        """Return `shadows`. Raises `NoSuchGeneration` unless all of them are left."""
        left = self._left(connection, shadows)
        for shadow in shadows:
            if shadow not in left:
                raise self._lost(connection, shadow)
        return left

    def _lost(self, connection: sa.Connection, shadow: Generation) -> NoSuchGeneration:
        """Return what is told of a new generation that another rebuild has taken."""
        which = f"generation {shadow.number} of table {shadow.projection.NAME}"
        for each in self._tables.generations(connection):
            is_it = (each.projection.NAME, each.number) == (shadow.projection.NAME, shadow.number)
            if is_it and each.state != self._state:
                return NoSuchGeneration(
                    f"another rebuild has switched to {which} meanwhile: there is nothing to do"
                )
        return NoSuchGeneration(
            f"{which} is not there any more, or not whole: another rebuild or rehearsal has"
            " begun anew or dropped it"
        )

    # --- positions ------------------------------------------------------------------

    def _goal(self, connection: sa.Connection, projections: Sequence[Projection]) -> Positions:
        """Return up to where to fold: the end, or where live tables of another version stand."""
        live = self._some(connection, projections, CURRENT)
        stale = [
            standing.positions
            for generation, standing in zip(
                live, self._advance.standing(connection, live), strict=True
            )
            if not generation.is_of_this_version and self._advance.fits(standing)
        ]
        return Positions.lowest(stale) if stale else self._advance.head()

    def _level(self, shadows: Sequence[Generation], *, folds_live: bool) -> None:
        """Bring each new generation and the live one to the same position, where that can be.

        That is done page by page, so that others who fold never wait for long.
        """
        for partition in range(self._advance.log.partitions):
            with self._advance.pages(partition) as pages:
                while not patiently(partial(self._level_page, pages, shadows, folds_live)):
                    pass

    def _level_page(
        self, pages: PageReader, shadows: Sequence[Generation], folds_live: bool
    ) -> bool:
        """Fold a page into what is behind, and tell whether nothing was."""
        goal, done = self._advance.head()[pages.partition], True
        with self._tables.writing(BUILDING, CURRENT) as connection:
            current = self._tables.current(connection)
            together: list[Generation] = []
            for shadow in self._whole(connection, shadows):
                live = current.get(shadow.projection.NAME)
                [standing] = self._advance.standing(connection, [live]) if live else [None]
                if not live or not standing or not self._advance.fits(standing):
                    continue
                position = standing.positions[pages.partition]
                if folds_live and live.is_of_this_version:
                    together += [shadow, live]
                elif position > self._positions(connection, shadow)[pages.partition]:
                    reached = self._advance.fold_page(connection, pages, [shadow], position)
                    done = done and reached >= position
            if together:
                reached = self._advance.fold_page(connection, pages, together, goal)
                done = done and reached >= goal
        return done

    def _positions(self, connection: sa.Connection, generation: Generation) -> Positions:
        return self._advance.standing(connection, [generation])[0].positions

    def _compared(
        self, connection: sa.Connection, shadow: Generation, samples: int, *, digests: bool
    ) -> Comparison | None:
        """Compare a new generation with the live one; None when they stand elsewhere by now."""
        live = self._tables.current(connection).get(shadow.projection.NAME)
        there = self._positions(connection, shadow)
        rows = connection.execute(sa.select(sa.func.count()).select_from(shadow.table)).scalar_one()
        parked = len(self._tables.parked(connection, shadow))
        name = shadow.projection.NAME

        def comparison(difference: Difference | None, why: str = "") -> Comparison:
            told = digest(self._tables.rows.scan(connection, shadow)) if digests else None
            return Comparison(name, shadow.number, there, rows, parked, difference, why, told)

        if live is None:
            return comparison(None, "there is no live table")
        [standing] = self._advance.standing(connection, [live])
        if not self._advance.fits(standing):
            return comparison(None, "the live table was folded from another log")
        if _key(live) != _key(shadow):
            return comparison(None, "the live table has another key")
        here = standing.positions
        if not there.covers(here) or (here != there and live.is_of_this_version):
            return None
        if here != there:
            return comparison(None, f"the live table stands at position {here}")
        return comparison(difference(connection, live, shadow, samples))


def _key(generation: Generation) -> list[str]:
    return [column.name for column in generation.table.primary_key.columns]
