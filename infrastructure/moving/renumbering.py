"""Moves a store to one with another number of partitions, whose events have other positions.

All events go over in the order of their times, those of a partition in their order: so each family
keeps its order, and time goes back in no partition. What was recorded before the last event of
every partition keeps its place in that order, whatever is appended later: it is carried before the
source is sealed. A run that was broken off is found again at the target, event by event.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain
from math import inf
from time import monotonic
from typing import Final
from uuid import uuid4

from refold.domain.errors import ForeignTarget, Refused
from refold.domain.ports import Recorded, State, Tracked
from refold.domain.positions import Positions
from refold.infrastructure import lots
from refold.infrastructure.address import Memory
from refold.infrastructure.chain import FamilyChains, Walk, page, pages, read
from refold.infrastructure.failpoints import reach
from refold.infrastructure.folding.digests import Digest, digest
from refold.infrastructure.moving import cutover
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.certificate import Certificate, End, Renumbered, TableProof
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.copying import certificate
from refold.infrastructure.moving.delivering import first_difference
from refold.infrastructure.moving.heads import LogHead, head
from refold.infrastructure.past import positions_by
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.columns import is_position
from refold.projections.projection import Projection

PAGE: Final = 5_000
"""Events that are carried at once."""


def move(source: Store, target: Store, progress: Progress = quietly) -> Certificate:
    """Number the log of `source` anew at `target`, seal the source, compare, and open the target.

    Services write to the source meanwhile, but for the time between its seal and the opening: the
    certificate's pause, in which whole tables are compared. The target, which has to be empty or
    left by such a move, begins a history of its own: it keeps its log id. Commands are known there
    again, so what follows the move goes on. Raises as `cutover.move`, and `Refused` for events
    that name positions themselves, or a command whose streams would lie in two partitions.
    """
    began = monotonic()
    before = head(target)
    _check(source, target, before)
    work = _Renumbering(source, target, progress)
    work.carrier.close(before)
    if not before.positions.total:
        work.begin_log()
    sealed, done = None, False
    try:
        work.prepare()
        if not work.carrier.differences:
            sealed = monotonic()
            cutover.seal(source, target.address.public)
            reach("renumbering: sealed")
            work.finish()
        done = not work.carrier.differences
    finally:
        if not done:
            cutover.call_off(source, target, before)
    now = monotonic()
    return work.certificate(now - began, now - sealed if sealed else None)


def _check(source: Store, target: Store, before: LogHead) -> None:
    address, there = target.address.public, head(source)
    if isinstance(target.address, Memory):
        raise Refused("a store cannot move to memory: it would be gone with the process")
    _check_trackings(source, source.log.claims().trackings)
    if before.state is State.OPEN and there.state is State.SEALED and there.successor == address:
        raise Refused(
            f"{source.address.public} has moved to {address} already; refold verify {address}"
            " checks what is there"
        )
    if before.state is State.OPEN and before.positions.total:
        raise ForeignTarget(f"{address} holds {before.positions.total} events already")
    if before.positions.total and before.successor != source.address.public:
        raise ForeignTarget(f"{address} was filled from elsewhere: take an empty one")
    if before.successor not in (None, source.address.public):
        raise Refused(f"{address} is {before.state.value} for {before.successor}")
    if there.state is not State.OPEN and (there.state, there.successor) != (State.SEALED, address):
        raise Refused(f"{source.address.public} is {there.state.value}")
    if source.log.keys():
        target.vault.take_over(source.vault)


def _check_trackings(source: Store, trackings: Sequence[Tracked]) -> None:
    if trackings:
        raise Refused(
            f"{source.address.public} keeps up to where other applications' events are processed,"
            " and those count positions: it cannot be numbered anew"
        )


class _Renumbering:
    """One run over the whole log of the source, and over the same events at the target."""

    def __init__(self, source: Store, target: Store, progress: Progress) -> None:
        self.source, self.target = source, target
        self.carrier = Carrier(source, target, progress)
        self._walks = [Walk(partition, ()) for partition in range(target.log.partitions)]
        self._families = FamilyChains()
        self._last = "", 0
        self._comparison = Comparison(self.carrier)
        self._comparison.compared_at = self._ends

    def begin_log(self) -> None:
        """Give an empty target an id of its own for its log, whatever began to fill it before."""
        holder = self.source.address.public
        self.target.log.change_state(
            State.FILLING,
            expected=(State.FILLING, holder),
            successor=holder,
            log_id=uuid4().hex,
        )

    def prepare(self) -> None:
        """Carry what keeps its place until little of that is left, or no less each time, and fold.

        That is nothing where a partition is empty, and ends where one has been quiet since.
        """
        before = inf
        while not self.carrier.differences:
            until = _settled(self.source)
            left = until.beyond(self.carrier.positions)
            if not cutover.is_worth_a_round(left, before):
                break
            before = left
            self._carry(until)
        self.carrier.check_blobs()
        if not self.carrier.differences:
            self.source.folder.catch_up()
            self.target.folder.catch_up()

    def finish(self) -> None:
        """Carry the rest of a sealed source, compare all, and open the target."""
        carrier, there = self.carrier, self.source.log.claims()
        _check_trackings(self.source, there.trackings)
        self._carry(there.positions)
        carrier.check_blobs()
        carrier.carry_keys()
        carrier.check_keys()
        if not carrier.differences:
            self._compare_tables(there.positions)
        carrier.give_claims(there.claims, self._ends)
        reach("renumbering: compared")
        if not carrier.differences:
            for walk in self._walks:
                self.target.log.add_seals(walk.seals)
            carrier.open()

    @property
    def _ends(self) -> Positions:
        return Positions(tuple(walk.position for walk in self._walks))

    # --- events ---------------------------------------------------------------------

    def _carry(self, until: Positions) -> None:
        """Carry all events up to `until` in the order of their times."""
        carrier, total = self.carrier, until.total
        carrier.check_source()
        carrier.carry_keys()
        for records in lots.lots(self._merged(until), PAGE):
            self._check_page(records)
            carrier.over(records)
            for lot in self._renumbered(records):
                self._write(lot)
            if carrier.differences:
                return
            carrier.progress("copy", carrier.positions.total, total)
        self.target.log.create_indexes()

    def _merged(self, until: Positions) -> Iterator[Recorded]:
        log, after = self.source.log, self.carrier.positions
        partitions = [
            chain.from_iterable(pages(log, partition, after[partition], end))
            for partition, end in enumerate(until.each)
        ]
        return merge(*partitions, key=lambda record: (record.recorded_at, record.partition))

    def _check_page(self, records: Sequence[Recorded]) -> None:
        for record in records:
            if self.source.codec.removed_blobs(record):
                raise Refused(
                    f"event {record.partition}:{record.position}, {record.type}, names positions:"
                    " this log cannot be numbered anew"
                )
            last, self._last = self._last, (record.command_id, self.target.partition(record.stream))
            if last[0] == record.command_id and last != self._last:
                raise Refused(
                    f"command {record.command_id} wrote to streams that would lie in two partitions"
                )

    def _renumbered(self, records: Sequence[Recorded]) -> Iterator[list[Recorded]]:
        """Yield the events of a page by partition of the target, at their new positions."""
        lots: list[list[Recorded]] = [[] for _ in self._walks]
        for record in records:
            home = self.target.partition(record.stream)
            position = self._walks[home].position + len(lots[home]) + 1
            lots[home].append(record._replace(partition=home, position=position))
        yield from filter(None, lots)

    def _write(self, lot: list[Recorded]) -> None:
        """Append what the target lacks of a partition's events, and read all of them back."""
        first, walk = lot[0], self._walks[lot[0].partition]
        log = self.target.log
        there = read(log, first.partition, first.position - 1, len(lot))
        if there == lot[: len(there)] and len(there) < len(lot):
            log.receive(lot[len(there) :])
            reach("renumbering: page carried")
            there = read(log, first.partition, first.position - 1, len(lot))
        walk.over(there)
        self._families.over(there)
        if there != lot:
            where = f"{first.partition}:{first_difference(lot, there)}"
            self.carrier.differences.append(
                f"the target differs from position {where} on: begin again with an empty one"
            )

    # --- tables -----------------------------------------------------------------------

    def _compare_tables(self, end: Positions) -> None:
        """Compare all rows but for the positions in them."""
        self.source.folder.catch_up(end)
        self.target.folder.catch_up(self._ends)
        proofs, differences = list[TableProof](), self.carrier.differences
        for projection in catalog.ALL:
            ours, theirs = (_digest(each, projection) for each in (self.source, self.target))
            whole = theirs
            if any(map(is_position, projection.TABLE.columns)):
                whole = self.target.folder.digest(projection)[1]
            proofs.append(TableProof(projection.NAME, whole, whole if ours == theirs else ours))
            if ours != theirs:
                differences.append(f"table {projection.NAME} differs")
        self._comparison.proofs, self._comparison.compared_at = proofs, self._ends

    def certificate(self, seconds: float, pause: float | None) -> Certificate:
        """Return what was found out, of the log as the target numbers it."""
        made = certificate(self.carrier, self._comparison, seconds, pause)
        families, chains = self._families.proof()
        made.renumbered = Renumbered(made.log_id, made.ends, families, chains)
        made.log_id = self.target.log.identity().log_id
        made.ends = [End(each.partition, each.position, each.chain) for each in self._walks]
        return made


def _settled(source: Store) -> Positions:
    """Return up to where no event can come in between: before the last one of any partition.

    Time goes back in no partition, but there may be several events of one time.
    """
    last = [
        page(source.log, partition, end - 1, end, 1)[0].recorded_at if end else 0
        for partition, end in enumerate(head(source).positions.each)
    ]
    return positions_by(source, min(last) - 1)


def _digest(store: Store, projection: Projection) -> Digest:
    """Return the digest of a table without its columns of positions."""
    columns = enumerate(projection.TABLE.columns)
    kept = [number for number, column in columns if not is_position(column)]
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[projection.NAME]
        rows = store.tables.rows.scan(connection, generation)
        return digest(tuple(row[number] for number in kept) for row in rows)
