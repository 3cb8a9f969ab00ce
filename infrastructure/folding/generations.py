"""Fillings of query tables: what fills them, how far they are, and how they are built."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import sqlalchemy as sa

from refold.domain.errors import StaleProjection
from refold.domain.positions import Positions
from refold.projections.projection import Projection, fingerprint

BUILDING: Final = "building"
REHEARSING: Final = "rehearsing"
CURRENT: Final = "current"
PREVIOUS: Final = "previous"
DROPPED: Final = "dropped"


@dataclass(frozen=True, slots=True)
class Generation:
    """One filling of a projection's table; `table` is what it is in this engine."""

    projection: Projection
    number: int
    version: int
    fingerprint: str
    state: str
    table: sa.Table = field(compare=False)

    @property
    def is_of_this_version(self) -> bool:
        """Tell whether the projection that fills this table is the one at hand."""
        return self.fingerprint == fingerprint(self.projection)

    def indexes(self) -> list[sa.Index]:
        """Return the indexes beside the key that its projection declares; `table` has them, too."""
        table = self.table
        return [
            sa.Index(f"{table.name}_{'_'.join(columns)}", *(table.c[each] for each in columns))
            for columns in self.projection.INDEXES
        ]

    def check_version(self) -> None:
        """Raise `StaleProjection` when another version of the projection fills this table."""
        if not self.is_of_this_version:
            raise StaleProjection(self.projection.NAME, self.version, self.projection.VERSION)


class Checkpoint(NamedTuple):
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
class Standing:
    """How far a whole generation is folded: a checkpoint for each partition, in order."""

    checkpoints: tuple[Checkpoint, ...]

    @property
    def positions(self) -> Positions:
        """Return the last positions that are in the table."""
        return Positions(tuple(each.position for each in self.checkpoints))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a generation is filled with a partition: up to `position`, in so many parts."""

    partition: int
    parts: int
    position: int
    record_hash: bytes


def rows_of(generations: Iterable[tuple[str, int]]) -> str:
    """Return the condition for the rows of the registry on those generations, one or more."""
    names = ", ".join(f"('{name}', {number})" for name, number in generations)
    return f"(projection, generation) IN (VALUES {names})"
