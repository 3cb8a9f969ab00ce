"""Brings generations of query tables forward, page by page, and keeps how far they are.

A page of the log is read once for all of them, grouped by key, folded in memory, and saved with the
checkpoints in one transaction, which also is the fence: two folders never apply an event twice.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import (
    Failure,
    LogWentBack,
    NoVaultKey,
    Undecodable,
    Unfoldable,
    UnknownType,
    WrongVaultKey,
)
from refold.domain.ports import Event, Log, Recorded
from refold.infrastructure import chain
from refold.infrastructure.codec import Codec
from refold.infrastructure.folding.building import Progress, Workers
from refold.infrastructure.folding.generations import Checkpoint, Generation
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.tables import Tables
from refold.projections.projection import Folded, Key, Projection, fold, kinds, touched

PARTITION: Final = 0
"""The partition that is folded: a store has one."""

UNREADABLE: Final = (UnknownType, Undecodable, Unfoldable, NoVaultKey, WrongVaultKey)
"""What stops a projection at an event: nothing is skipped."""

Stops = dict[str, Failure]
"""Why projections, by name, do not go on."""

KindAndEvent = tuple[str, Event]
News = tuple[list[KindAndEvent], list[set[Key]]]
"""Events that are new to projections, and for each of those the keys of the rows they touch."""


class Advance:
    """What brings the generations of one store behind its log."""

    def __init__(
        self, log: Log, tables: Tables, codec: Codec, workers: Workers | None = None
    ) -> None:
        self.log, self.tables, self.codec, self.workers = log, tables, codec, workers

    def head(self) -> int:
        """Return the position of the last event in the log."""
        return self.log.heads()[PARTITION].position

    def pages(self) -> PageReader:
        """Return a reader of the log, for one run."""
        return PageReader(self.log, PARTITION)

    # --- folding --------------------------------------------------------------------

    def fold_up(
        self,
        connection: sa.Connection,
        generations: Sequence[Generation],
        until: int,
        stops: Stops | None = None,
    ) -> None:
        """Fold all that is missing up to `until` in this transaction. Raises as `fold_page`."""
        with self.pages() as pages:
            while generations:
                if self.fold_page(connection, pages, generations, until, stops) >= until:
                    return
                generations = [g for g in generations if g.projection.NAME not in (stops or ())]

    def fold_page(
        self,
        connection: sa.Connection,
        pages: PageReader,
        generations: Sequence[Generation],
        until: int,
        stops: Stops | None = None,
    ) -> int:
        """Fold one page, at most up to `until`, and return the position reached.

        At an event that cannot be read, the projections of its kind go into `stops`: the page ends
        before it, and the next one is without them. Without `stops`, it raises.
        """
        for generation in generations:
            generation.check_version()
        checkpoints = self.checkpoints(connection, generations)
        start = min((checkpoint.position for checkpoint in checkpoints), default=until)
        page = pages.read(start, until)
        if not page:
            return until
        page, news, stopped = self._read(page, generations, checkpoints)
        if stopped:
            if stops is None:
                raise next(iter(stopped.values()))
            stops.update(stopped)
            return start
        last = page[-1]
        for position, (events, keys) in news.items():
            together = [
                generation
                for generation, checkpoint in zip(generations, checkpoints, strict=True)
                if checkpoint.position == position
            ]
            touching = [each for each in zip(together, keys, strict=True) if each[1]]
            self._fold_into(connection, touching, events, last.position)
        record_hash = chain.digest(last)
        self.tables.save_checkpoints(
            connection,
            [
                replace(checkpoint, position=last.position, record_hash=record_hash)
                for checkpoint in checkpoints
                if checkpoint.position < last.position
            ],
        )
        return last.position

    def _fold_into(
        self,
        connection: sa.Connection,
        touching: Sequence[tuple[Generation, Collection[Key]]],
        events: Sequence[KindAndEvent],
        position: int,
    ) -> None:
        """Fold events into generations, of each of which the rows of some keys are touched."""
        before, after = [], []
        for generation, keys in touching:
            parked = self.tables.parked(connection, generation)
            rows = self.tables.load(connection, generation, list(keys))
            before.append(Folded(generation.projection, dict(rows), parked))
            after.append(Folded(generation.projection, dict(rows), dict(parked)))
        fold(after, events)
        for (generation, _), was, now in zip(touching, before, after, strict=True):
            self.tables.keep(connection, generation, was, now, position)

    # --- what can be read -----------------------------------------------------------

    def _read(
        self,
        page: list[Recorded],
        generations: Sequence[Generation],
        checkpoints: Sequence[Checkpoint],
    ) -> tuple[list[Recorded], dict[int, News], Stops]:
        """Return the page, up to before an event that cannot be read, and what is new of it.

        When that is its first one, return what it stops, and why.
        """
        asked = [
            (generation.projection, checkpoint.position)
            for generation, checkpoint in zip(generations, checkpoints, strict=True)
        ]
        try:
            return page, self._news(page, asked), {}
        except UNREADABLE:
            last = page[-1].position
            behind = [projection for projection, position in asked if position < last]
            number, stopped = next(self.stops(page, behind))
        if number:
            return page[:number], self._news(page[:number], asked), {}
        return [], {}, stopped

    def _news(
        self, page: Sequence[Recorded], asked: Sequence[tuple[Projection, int]]
    ) -> dict[int, News]:
        """Return what is new to projections that stand before the end of a page, by position."""
        behind: dict[int, list[Projection]] = {}
        for projection, position in asked:
            if position < page[-1].position:
                behind.setdefault(position, []).append(projection)
        found = {}
        for position, projections in behind.items():
            new = page[max(0, position + 1 - page[0].position) :]
            events = self.codec.decode_kinds(new, kinds(projections))
            found[position] = events, touched(projections, events)
        return found

    def stops(
        self, page: Sequence[Recorded], projections: Sequence[Projection]
    ) -> Iterator[tuple[int, Stops]]:
        """Yield the number in the page of each event that cannot be read, and what it stops."""
        try:
            self._news(page, [(projection, 0) for projection in projections])
            return
        except UNREADABLE:
            pass  # one by one, then
        for number, record in enumerate(page):
            kind = streams.kind(record.stream)
            stopped: Stops = {}
            for projection in projections:
                try:
                    if kind in projection.KINDS:
                        self._news([record], [(projection, 0)])
                except UNREADABLE as error:
                    stopped[projection.NAME] = error
            if stopped:
                yield number, stopped

    def unreadable(
        self, projections: Sequence[Projection], until: int, progress: Progress | None = None
    ) -> Iterator[tuple[Recorded, Stops]]:
        """Yield the events up to `until` that cannot be read, what each stops, and why."""
        with self.pages() as reader:
            for page in reader.pages(until):
                for number, stopped in self.stops(page, projections):
                    yield page[number], stopped
                if progress:
                    progress("read", page[-1].position, until)

    def stop(self, projection: Projection, position: int) -> Failure | None:
        """Return why `projection` cannot go on behind `position`: a stop is right there."""
        page = self.log.page(PARTITION, position, 1)
        found = next(self.stops(page, [projection]), None) if page else None
        return found[1][projection.NAME] if found else None

    # --- checkpoints ----------------------------------------------------------------

    def checkpoints(
        self, connection: sa.Connection, generations: Iterable[Generation]
    ) -> list[Checkpoint]:
        """Return the checkpoint of each generation, in order; one without any starts at 0."""
        kept = self.tables.checkpoints(connection, PARTITION)
        store_id = self.log.identity().store_id
        names = ((generation.projection.NAME, generation.number) for generation in generations)
        return [
            kept.get((name, number), Checkpoint(name, number, PARTITION, 0, 1, store_id, 0, b""))
            for name, number in names
        ]

    def check_fits(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Raise `LogWentBack` unless the log holds what was folded."""
        different = {(each.position, each.store_id, each.record_hash): each for each in checkpoints}
        for checkpoint in different.values():
            if not self.fits(checkpoint):
                raise LogWentBack(checkpoint.projection, checkpoint.position)

    def fits(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the log holds what a generation was folded from."""
        if checkpoint.position == 0:
            return True
        is_there = self.holds(checkpoint.position, checkpoint.record_hash)
        return is_there and checkpoint.store_id == self.log.identity().store_id

    def holds(self, position: int, record_hash: bytes) -> bool:
        """Tell whether the record at `position` is the one with that hash."""
        found = self.log.page(PARTITION, position - 1, 1)
        return bool(found) and chain.digest(found[0]) == record_hash
