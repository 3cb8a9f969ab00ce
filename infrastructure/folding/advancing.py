"""Brings generations of query tables forward, page by page, and keeps how far they are.

A page of the log is read once for all of them, grouped by key, folded in memory, and saved with the
checkpoints in one transaction, which also is the fence: two folders never apply an event twice.
Each partition of the log is folded for itself: all events of a row are in one of them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
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
from refold.domain.ports import Event, Log, Recorded, ends
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.codec import Codec
from refold.infrastructure.folding.building import Workers
from refold.infrastructure.folding.generations import Checkpoint, Generation, Standing
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.tables import Refolded, Tables
from refold.infrastructure.garbage import without_collection
from refold.infrastructure.progress import Progress, quietly
from refold.projections.projection import Folded, Key, Projection, fold, kinds, touched

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

    def head(self) -> Positions:
        """Return the positions of the last events in the log."""
        return ends(self.log.heads())

    def pages(self, partition: int) -> PageReader:
        """Return a reader of a partition of the log, for one run."""
        return PageReader(self.log, partition)

    # --- folding --------------------------------------------------------------------

    def fold_up(
        self,
        connection: sa.Connection,
        generations: Sequence[Generation],
        until: Positions,
        stops: Stops | None = None,
    ) -> None:
        """Fold all that is missing up to `until` in this transaction. Raises as `fold_page`.

        What stops a table in one partition stops it in no other.
        """
        for partition, goal in enumerate(until):
            here: Stops | None = None if stops is None else {}
            with self.pages(partition) as pages:
                while going := [g for g in generations if g.projection.NAME not in (here or ())]:
                    if self.fold_page(connection, pages, going, goal, here) >= goal:
                        break
            if stops is not None:
                stops.update(here or {})

    @without_collection()
    def fold_page(
        self,
        connection: sa.Connection,
        pages: PageReader,
        generations: Sequence[Generation],
        until: int,
        stops: Stops | None = None,
    ) -> int:
        """Fold one page of a partition, at most up to `until`, and return the position reached.

        At an event that cannot be read, the projections of its kind go into `stops`: the page ends
        before it, and the next one is without them. Without `stops`, it raises. Raises
        `LogWentBack` where the log holds another record than the one that was folded last into a
        generation that goes on here, or into any, where none does.
        """
        for generation in generations:
            generation.check_version()
        checkpoints = self.checkpoints(connection, generations, pages.partition)
        start = min((checkpoint.position for checkpoint in checkpoints), default=until)
        page = pages.read(start, until)
        if not page:
            self.check_fits(Standing((each,)) for each in checkpoints)
            return until
        self._check_goes_on(page, checkpoints)
        page, news, stopped = self._read(page[1:] if start else page, generations, checkpoints)
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
            if touching:
                self._fold_into(connection, touching, events, last.position)
        record_hash = chain.digest(last)
        self.tables.save_checkpoints(
            connection,
            [
                checkpoint._replace(position=last.position, record_hash=record_hash)
                for checkpoint in checkpoints
                if checkpoint.position < last.position
            ],
        )
        return last.position

    def _check_goes_on(self, page: Sequence[Recorded], checkpoints: Iterable[Checkpoint]) -> None:
        """Raise `LogWentBack` unless a page has the records at which checkpoints stand in it."""
        first, last = page[0].position, page[-1].position
        store_id, hashes = self.log.identity().store_id, dict[int, bytes]()
        for each in checkpoints:
            if first <= each.position <= last:
                if each.position not in hashes:
                    hashes[each.position] = chain.digest(page[each.position - first])
                if (each.store_id, each.record_hash) != (store_id, hashes[each.position]):
                    raise self._went_back(each)

    def _went_back(self, checkpoint: Checkpoint) -> LogWentBack:
        every = Positions((0,) * self.log.partitions)
        where = every.named(checkpoint.partition, checkpoint.position)
        return LogWentBack(checkpoint.projection, where)

    def _fold_into(
        self,
        connection: sa.Connection,
        touching: Sequence[tuple[Generation, Collection[Key]]],
        events: Sequence[KindAndEvent],
        position: int,
    ) -> None:
        """Fold events into generations, of each of which the rows of some keys are touched."""
        refolded = []
        waiting = self.tables.parked_of(connection, [generation for generation, _ in touching])
        for (generation, keys), parked in zip(touching, waiting, strict=True):
            rows = self.tables.load(connection, generation, list(keys))
            before = Folded(generation.projection, dict(rows), parked)
            after = Folded(generation.projection, dict(rows), dict(parked))
            refolded.append(Refolded(generation, before, after))
        fold((each.after for each in refolded), events)
        self.tables.keep(connection, refolded, position)

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
        if not page:
            return
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
        self, projections: Sequence[Projection], until: Positions, progress: Progress = quietly
    ) -> Iterator[tuple[Recorded, Stops]]:
        """Yield the events up to `until` that cannot be read, what each stops, and why."""
        done = 0
        for partition, end in enumerate(until.each):
            with self.pages(partition) as reader:
                for page in reader.pages(end):
                    for number, stopped in self.stops(page, projections):
                        yield page[number], stopped
                    done += len(page)
                    progress("read", done, until.total)

    def readable(self, projections: Sequence[Projection], until: Positions) -> Positions:
        """Return how far all of `projections` can read, at most up to `until`."""
        ends = list(until.each)
        for record, _ in self.unreadable(projections, until):
            ends[record.partition] = min(ends[record.partition], record.position - 1)
        return Positions(tuple(ends))

    def stop(self, projection: Projection, positions: Positions) -> Failure | None:
        """Return why `projection` cannot go on behind `positions`: a stop is right there."""
        for partition, position in enumerate(positions.each):
            for _, stopped in self.stops(self.log.page(partition, position, 1), [projection]):
                return stopped[projection.NAME]
        return None

    # --- checkpoints ----------------------------------------------------------------

    def checkpoints(
        self, connection: sa.Connection, generations: Iterable[Generation], partition: int
    ) -> list[Checkpoint]:
        """Return the checkpoints of generations in a partition, in order; each is 0 at first."""
        return self._checkpoints(connection, generations, [partition])

    def standing(
        self, connection: sa.Connection, generations: Iterable[Generation]
    ) -> list[Standing]:
        """Return how far generations are in all partitions, in order."""
        number = self.log.partitions
        found = iter(self._checkpoints(connection, generations, range(number)))
        return [Standing(row) for row in zip(*[found] * number, strict=True)]

    def _checkpoints(
        self,
        connection: sa.Connection,
        generations: Iterable[Generation],
        partitions: Iterable[int],
    ) -> list[Checkpoint]:
        kept = self.tables.checkpoints(connection)
        places = [
            (generation.projection.NAME, generation.number, partition)
            for generation in generations
            for partition in partitions
        ]
        store_id = "" if kept.keys() >= set(places) else self.log.identity().store_id
        return [kept.get(each) or Checkpoint(*each, 0, 1, store_id, 0, b"") for each in places]

    def check_fits(self, standing: Iterable[Standing]) -> None:
        """Raise `LogWentBack` unless the log holds what was folded."""
        different = {
            (each.partition, each.position, each.store_id, each.record_hash): each
            for row in standing
            for each in row.checkpoints
        }
        for checkpoint in different.values():
            if not self._fits(checkpoint):
                raise self._went_back(checkpoint)

    def fits(self, standing: Standing) -> bool:
        """Tell whether the log holds what a generation was folded from."""
        return all(map(self._fits, standing.checkpoints))

    def _fits(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.position == 0:
            return True
        is_there = self.holds(checkpoint.partition, checkpoint.position, checkpoint.record_hash)
        return is_there and checkpoint.store_id == self.log.identity().store_id

    def holds(self, partition: int, position: int, record_hash: bytes) -> bool:
        """Tell whether the record at a position is the one with that hash."""
        found = self.log.page(partition, position - 1, 1)
        return bool(found) and chain.digest(found[0]) == record_hash
