"""Drift: live rows that are no longer what the log makes, found by folding samples again.

Keys are drawn from both sides: those that events at random positions touched, which finds rows
that were changed or are missing, and those of random live rows, which finds rows that no event
made. The same seed draws the same keys from a store that has not changed since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Any

import sqlalchemy as sa

from refold.domain.errors import Failure, StaleProjection
from refold.domain.ports import Event
from refold.domain.positions import Positions
from refold.infrastructure.checking import live
from refold.infrastructure.checking.live import Drifted
from refold.infrastructure.store import Store
from refold.projections.projection import Folded, Key, Projection, fold, kinds, touched


@dataclass(frozen=True, slots=True)
class Checked:
    """How the sampled rows of a table compare at `positions`: `rows` of them, and `drifted` ones.

    `parked` counts sampled keys that wait for their projection: they are not compared. Nothing is
    of a table that is `blocked`: that text tells why it cannot go on.
    """

    table: str
    positions: Positions
    rows: int = 0
    parked: int = 0
    drifted: Sequence[Drifted] = ()
    blocked: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the comparison as `--json` prints it."""
        return {
            "table": self.table,
            "position": self.positions.document(),
            "rows": self.rows,
            "parked": self.parked,
            "drifted": [each.document() for each in self.drifted],
            "blocked": self.blocked,
        }


def find_drift(
    store: Store, projections: Sequence[Projection], sample: int, seed: int
) -> list[Checked]:
    """Compare live rows with what their events make: up to `sample` keys from either side a table.

    All rows are read in one snapshot, which ends before the events are read: they are folded up to
    where the tables stood in it. Nothing is folded but a table that was never built, and those in
    which somebody was forgotten meanwhile. Drawing live rows reads the keys of each whole table
    once, inside the engine. Raises `LogWentBack`, and `StaleProjection` when another version
    switches a table meanwhile.
    """
    store.folder.reach(Positions(()), wanted=())
    blocked = _blocked(store, projections)
    going = [each for each in projections if each.NAME not in blocked]
    chance = Random(seed)  # noqa: S311 - a sample is to be drawn again
    keys = _touched_keys(store, going, sample, chance)
    for projection in going:
        keys[projection.NAME].update(_live_keys(store, projection, sample, chance))
    while (checked := _compare(store, going, keys)) is None:
        store.folder.catch_up(wanted=())
        blocked |= _blocked(store, going)
        going = [each for each in going if each.NAME not in blocked]
    found = blocked | {each.table: each for each in checked}
    return [found[each.NAME] for each in projections]


def _blocked(store: Store, projections: Iterable[Projection]) -> dict[str, Checked]:
    """Return those of `projections` that cannot go on."""
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        generations = [current[each.NAME] for each in projections]
        standing = [each.positions for each in store.advance.standing(connection, generations)]
    found = {}
    stop: Failure | None
    for generation, positions in zip(generations, standing, strict=True):
        try:
            generation.check_version()
            stop = store.advance.stop(generation.projection, positions)
        except StaleProjection as stale:
            stop = stale
        if stop:
            name = generation.projection.NAME
            found[name] = Checked(name, positions, blocked=str(stop))
    return found


# --- drawing --------------------------------------------------------------------------


def _touched_keys(
    store: Store, projections: Sequence[Projection], sample: int, chance: Random
) -> dict[str, set[Key]]:
    """Return the keys that events at random positions of the log touched, up to each table's."""
    found: dict[str, set[Key]] = {projection.NAME: set() for projection in projections}
    standing = live.live_rows(store, dict.fromkeys(found, ()))
    furthest = Positions((0,) * store.log.partitions)
    for each in standing.values():
        furthest = furthest.joined(each.positions)
    drawn = chance.sample(range(furthest.total), min(sample, furthest.total))
    for partition, after in sorted(furthest.place(number) for number in drawn):
        there = [p for p in projections if standing[p.NAME].positions[partition] > after]
        events = store.codec.decode_kinds(store.log.page(partition, after, 1), kinds(there))
        for projection, keys in zip(there, touched(there, events), strict=True):
            found[projection.NAME] |= keys
    return found


def _live_keys(store: Store, projection: Projection, sample: int, chance: Random) -> list[Key]:
    """Return the keys of live rows: each n-th in their order, from a random one of the first n."""
    with store.tables.reading() as connection:
        table = store.tables.current(connection)[projection.NAME].table
        count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        every = max(1, ceil(count / sample))
        first = chance.randrange(every)
        key = list(table.primary_key.columns)
        number = sa.func.row_number().over(order_by=key).label("number")
        numbered = sa.select(*key, number).subquery()
        names = [numbered.c[column.name] for column in key]
        drawn = sa.select(*names).where(numbered.c.number % every == first)
        return [tuple(row) for row in connection.execute(drawn)]


# --- comparing ------------------------------------------------------------------------


def _compare(
    store: Store, projections: Sequence[Projection], keys: Mapping[str, set[Key]]
) -> list[Checked] | None:
    """Compare the rows of `keys`; None when rows differ of which somebody was forgotten since."""
    there = live.live_rows(store, {each.NAME: keys[each.NAME] for each in projections})
    drifted: dict[str, list[Drifted]] = {name: [] for name in there}
    parked = dict.fromkeys(there, 0)
    for family, tables in _by_family(projections, keys).items():
        ends = {each: live.position(store, family, there[each.NAME].positions) for each in tables}
        events = live.events(store, family, tables, max(ends.values()))
        for projection, some in tables.items():
            at = there[projection.NAME]
            folded = _folded(projection, events, ends[projection])
            waiting = {key for key in some if key in at.parked or key in folded.parked}
            parked[projection.NAME] += len(waiting)
            compared = (
                live.compare(projection, key, at.rows.get(key), folded.rows.get(key))
                for key in some - waiting
            )
            found = [each for each in compared if each]
            if found and live.is_forgotten_behind(store, family, tables, ends[projection]):
                return None
            drifted[projection.NAME] += found
    return [
        Checked(
            name,
            there[name].positions,
            len(keys[name]) - parked[name],
            parked[name],
            sorted(found, key=lambda each: each.key),
        )
        for name, found in drifted.items()
    ]


def _by_family(
    projections: Iterable[Projection], keys: Mapping[str, set[Key]]
) -> dict[str | None, dict[Projection, set[Key]]]:
    """Return the keys by family, those of each by table: a family is read once."""
    found: dict[str | None, dict[Projection, set[Key]]] = {}
    for projection in projections:
        for key in keys[projection.NAME]:
            tables = found.setdefault(live.family(projection, key), {})
            tables.setdefault(projection, set()).add(key)
    return found


def _folded(projection: Projection, events: Iterable[tuple[str, Event]], until: int) -> Folded:
    folded = Folded(projection, {}, {})
    fold([folded], (each for each in events if each[1].recorded.position <= until))
    return folded
