"""Compares the query tables of two stores at one position, and then the rows that events touch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from refold.domain.errors import Unavailable
from refold.domain.ports import Recorded
from refold.domain.positions import Positions
from refold.infrastructure.chain import pages
from refold.infrastructure.folding.digests import Digest, digest
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.certificate import TableProof
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Key, Projection, Row, kinds, touched

TRIES: Final = 20
"""How often two stores are brought to one position while others fold them."""


class Comparison:
    """Compares the tables of the two stores that a log is carried between.

    Nobody is kept waiting: the source is read in a snapshot, and the target is folded to where
    that stands. `proofs` are those of the whole tables at `compared_at`; rows that were touched
    behind that are compared up to `positions`, and `touched` counts them. What differs is added to
    the carrier's differences.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.proofs: Sequence[TableProof] = ()
        self.compared_at = self.positions = Positions((0,) * carrier.source.log.partitions)
        self.touched = 0

    def compare_whole(self, at: Positions | None = None) -> None:
        """Compare all rows, by their digests, where the source stands, or at a position.

        A table of the source that others have folded beyond that position is not compared.
        """
        with self._sides(at) as (ours, theirs):
            if theirs.positions:
                self.compared_at = self.positions = theirs.positions
            comparable = ours.positions == theirs.positions is not None
            self.proofs = [
                TableProof(
                    projection.NAME,
                    theirs.digest(projection),
                    ours.digest(projection) if comparable else None,
                )
                for projection in catalog.ALL
            ]
        self._carrier.differences += [
            f"table {proof.name} differs"
            for proof in self.proofs
            if proof.source not in (None, proof.target)
        ]

    def compare_touched(self) -> None:
        """Compare the rows that were touched since, up to where the source stands now."""
        with self._sides(None) as (ours, theirs):
            until = ours.positions or self.positions
            for partition, end in enumerate(until.each):
                log = self._carrier.source.log
                for page in pages(log, partition, self.positions[partition], end):
                    self._compare_page(page, ours, theirs)
            self.positions = until

    def _compare_page(self, page: Sequence[Recorded], ours: "_Side", theirs: "_Side") -> None:
        events = self._carrier.source.codec.decode_kinds(page, kinds(catalog.ALL))
        found = touched(catalog.ALL, events)
        for projection, keys in zip(catalog.ALL, found, strict=True):
            if keys and ours.load(projection, keys) != theirs.load(projection, keys):
                self._carrier.differences.append(f"table {projection.NAME} differs")
            self.touched += len(keys)

    @contextmanager
    def _sides(self, at: Positions | None) -> Iterator[tuple["_Side", "_Side"]]:
        """Give both stores at one position; with `at`, the target there and the source as it is."""
        carrier = self._carrier
        for _ in range(TRIES):
            carrier.source.folder.catch_up(at)
            with carrier.source.tables.reading() as here:
                ours = _Side.of(carrier.source, here)
                goal = ours.positions if at is None else at
                if goal is None:
                    continue
                carrier.carry(goal)
                carrier.progress("fold", 0, goal.total)
                carrier.target.folder.catch_up(goal)
                with carrier.target.tables.reading() as there:
                    theirs = _Side.of(carrier.target, there)
                    if at is not None or theirs.positions == goal:
                        yield ours, theirs
                        return
        raise Unavailable("the tables of both stores come to no position: others keep folding them")


@dataclass(frozen=True, slots=True)
class _Side:
    """The tables of a store in a snapshot; `positions` are None when they stand apart."""

    store: Store
    connection: sa.Connection
    current: dict[str, Generation]
    positions: Positions | None

    @classmethod
    def of(cls, store: Store, connection: sa.Connection) -> "_Side":
        current = store.tables.current(connection)
        standing = store.advance.standing(connection, current.values())
        positions = {each.positions for each in standing}
        return cls(store, connection, current, positions.pop() if len(positions) == 1 else None)

    def digest(self, projection: Projection) -> Digest:
        generation = self.current[projection.NAME]
        return digest(self.store.tables.rows.scan(self.connection, generation))

    def load(self, projection: Projection, keys: Iterable[Key]) -> dict[Key, Row]:
        generation = self.current[projection.NAME]
        return self.store.tables.load(self.connection, generation, list(keys))
