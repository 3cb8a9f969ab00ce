"""Live rows of query tables, and how they differ from what the events make of their keys.

The events are read behind the snapshot of the rows: the log holds all that the rows were folded
from, and what came later is left out by position.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from refold.domain.ports import Event
from refold.domain.positions import Positions
from refold.domain.sealing import forgotten
from refold.domain.texts import IllFormedText
from refold.infrastructure.folding.advancing import UNREADABLE
from refold.infrastructure.store import Store
from refold.projections.catalog import LEFT_OUT
from refold.projections.projection import Key, Parked, Projection, Row, kinds

SEALED: Final = "(sealed)"
"""What is shown of a cell that is for the vault alone."""

Cells = Mapping[str, tuple[Any, Any]]
"""Cells that differ between two rows, by column; None on the side where there is no row."""


class Live(NamedTuple):
    """Rows of a table in one snapshot, in which the table stands at `positions`."""

    positions: Positions
    rows: Mapping[Key, Row]
    parked: Mapping[Key, Parked]


@dataclass(frozen=True, slots=True)
class Drifted:
    """A live row that is not what its events make; `cells` are (live, folded) by column.

    It is changed, missing, or unexplained: no event made it.
    """

    key: Key
    what: Literal["changed", "missing", "unexplained"]
    cells: Cells

    def document(self) -> dict[str, Any]:
        """Return the row as `--json` prints it."""
        return {
            "key": list(self.key),
            "row": self.what,
            "cells": {
                name: {"live": live, "folded": folded}
                for name, (live, folded) in self.cells.items()
            },
        }


def live_rows(store: Store, wanted: Mapping[str, Collection[Key]]) -> dict[str, Live]:
    """Return the live rows of those keys, by table, in one snapshot. Raises `StaleProjection`."""
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        found = {}
        for name, keys in wanted.items():
            generation = current[name]
            generation.check_version()
            [standing] = store.advance.standing(connection, [generation])
            rows = store.tables.load(connection, generation, list(keys)) if keys else {}
            parked = store.tables.parked(connection, generation)
            found[name] = Live(standing.positions, rows, parked)
        return found


def events(
    store: Store, family: str | None, projections: Iterable[Projection], until: int | None = None
) -> list[tuple[str, Event]]:
    """Return the events of a family that `projections` fold, with their kinds, up to `until`."""
    if family is None:
        return []
    records = (each for each in store.log.family(family) if until is None or each.position <= until)
    return store.codec.decode_kinds(records, kinds(projections))


def position(store: Store, family: str | None, positions: Positions) -> int:
    """Return the position in the partition that a family is in."""
    return positions[store.partition(family or "")]


def family(projection: Projection, key: Key) -> str | None:
    """Return the family of a row; None for a key that no stream can have."""
    try:
        return projection.family(key)
    except IllFormedText:
        return None


def is_forgotten_behind(
    store: Store, family: str | None, projections: Iterable[Projection], position: int
) -> bool:
    """Tell whether a subject of the family was forgotten behind `position`.

    Its events no longer make the rows that they made before: those can be compared once the
    tables are folded that far. An event that cannot be read forgets nobody.
    """
    wanted = kinds(projections)
    for record in store.log.family(family) if family else ():
        if record.position > position:
            with suppress(*UNREADABLE):
                if any(
                    forgotten(each.value) for _, each in store.codec.decode_kinds([record], wanted)
                ):
                    return True
    return False


def compare(
    projection: Projection, key: Key, live: Row | None, folded: Row | None
) -> Drifted | None:
    """Return how a live row differs from the folded one; None when it does not."""
    if live == folded:
        return None
    cells = difference(projection, live, folded)
    if live is None:
        return Drifted(key, "missing", cells)
    return Drifted(key, "unexplained" if folded is None else "changed", cells)


def difference(projection: Projection, before: Row | None, after: Row | None) -> Cells:
    """Return the cells that differ, but for those of the key; sealed ones as `SEALED`."""
    table = projection.TABLE
    sealed = LEFT_OUT.get(projection.NAME, ())
    cells = {}
    for number, column in enumerate(table.columns):
        old, new = (None if row is None else row[number] for row in (before, after))
        if not column.primary_key and old != new:
            if column.name in sealed:
                old, new = (None if each is None else SEALED for each in (old, new))
            cells[column.name] = old, new
    return cells
