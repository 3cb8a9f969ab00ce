"""What differs between the live rows of a table and those that are to replace them, by key.

The engine compares: no row has to leave it but the samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from refold.infrastructure.folding.generations import Generation
from refold.projections.catalog import LEFT_OUT
from refold.projections.projection import Key


@dataclass(frozen=True, slots=True)
class Change:
    """A row that differs: its key, and the cells that do, by column.

    A row that is added has nothing `before`, one that is removed nothing `after`.
    """

    key: Key
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two generations, counted in rows.

    `cells` counts the changed cells of each column. Columns that only one of both has are not
    compared: `dropped` ones of the live generation, `new` ones of the other.
    """

    added: int
    removed: int
    changed: int
    cells: Mapping[str, int]
    dropped: Sequence[str]
    new: Sequence[str]
    samples: Sequence[Change]

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.added or self.removed or self.changed or self.dropped or self.new)


def difference(
    connection: sa.Connection, live: Generation, shadow: Generation, samples: int
) -> Difference:
    """Compare two generations with the same key at one position.

    The result has up to so many `samples` of added, of removed and of changed rows each, without
    cells that are left out wherever rows are printed.
    """
    before, after = live.table.alias("before"), shadow.table.alias("after")
    key = [column.name for column in shadow.table.primary_key.columns]
    old, new = _names(live), _names(shadow)
    both = [name for name in new if name in old]
    cells = [name for name in both if name not in key]
    shown = [name for name in both if name not in LEFT_OUT.get(live.projection.NAME, ())]
    same = sa.and_(*(before.c[name] == after.c[name] for name in key))
    differs = [before.c[name].is_distinct_from(after.c[name]) for name in cells]

    is_added = ~sa.exists().select_from(before).where(same).correlate(after)
    is_removed = ~sa.exists().select_from(after).where(same).correlate(before)
    is_changed = sa.and_(same, sa.or_(sa.false(), *differs))

    def count(table: sa.FromClause, where: sa.ColumnElement[bool]) -> int:
        return connection.execute(
            sa.select(sa.func.count()).select_from(table).where(where)
        ).scalar_one()

    def first(where: sa.ColumnElement[bool], *sides: sa.FromClause) -> Iterator[Change]:
        query = sa.select(*(side.c[name] for side in sides for name in shown)).where(where)
        query = query.order_by(*(sides[-1].c[name] for name in key)).limit(samples)
        for row in connection.execute(query):
            yield _change(key, shown, sides[0] is before, sides[-1] is after, row)

    changed, *changes = connection.execute(
        sa.select(sa.func.count(), *(sa.func.count(sa.case((each, 1))) for each in differs))
        .select_from(before.join(after, same))
        .where(is_changed)
    ).one()
    return Difference(
        count(after, is_added),
        count(before, is_removed),
        changed,
        {name: number for name, number in zip(cells, changes, strict=True) if number},
        [name for name in old if name not in new],
        [name for name in new if name not in old],
        [
            *first(is_added, after),
            *first(is_removed, before),
            *first(is_changed, before, after),
        ],
    )


def _change(
    key: Sequence[str], names: Sequence[str], is_there: bool, stays: bool, row: sa.Row[Any]
) -> Change:
    before = dict(zip(names, row, strict=False)) if is_there else None
    after = dict(zip(names, row[-len(names) :], strict=True)) if stays else None
    known: Mapping[str, Any] = after or before or {}
    if before and after:
        differ = [name for name in names if before[name] != after[name]]
        before, after = ({name: side[name] for name in differ} for side in (before, after))
    return Change(tuple(known[name] for name in key), before, after)


def _names(generation: Generation) -> list[str]:
    return [column.name for column in generation.table.columns]
