"""Explains one row of a query table: which events made it, and whether it is what they make."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from refold.domain import streams, times
from refold.domain.errors import Failure, Refused, Unfoldable
from refold.domain.ports import Event, Recorded
from refold.domain.positions import Positions
from refold.domain.texts import check_text
from refold.infrastructure.checking import live
from refold.infrastructure.checking.live import Cells, Drifted
from refold.infrastructure.codec import decode_metadata
from refold.infrastructure.folding.advancing import UNREADABLE
from refold.infrastructure.requests.pushes import OfPush
from refold.infrastructure.store import Store
from refold.projections import push_aliases, pushes
from refold.projections.projection import (
    Folded,
    Key,
    Parked,
    Projection,
    Row,
    fold,
    kinds,
    touched,
)

OF_PUSHES: Final[tuple[Projection, ...]] = (pushes, push_aliases)
"""Tables whose key begins with the stream of a push."""


class UnknownRow(Refused):
    """A table has no row with a key, and had none."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one event did to a row; `cells` are (before, after) by column, `at` is RFC 3339."""

    position: int
    at: str
    actor: str
    type: str
    what: Literal["appears", "changes", "goes", "stays", "parked"]
    cells: Cells

    def document(self) -> dict[str, Any]:
        """Return the step as `--json` prints it."""
        return {
            "position": self.position,
            "at": self.at,
            "actor": self.actor,
            "type": self.type,
            "row": self.what,
            "cells": {
                name: {"before": before, "after": after}
                for name, (before, after) in self.cells.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Stop:
    """The first event of the family that cannot be read, and why: it may have touched the row."""

    position: int
    type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The events that touched a row, and what is wrong with the live one at `position`.

    All of these are in one `partition`; the table stands at `positions`. It ends before the event
    that it is `stopped` at. A row is not `compared` when it is parked, when that event is in it, or
    when its subject was forgotten behind that.
    """

    table: str
    key: Key
    partition: int
    positions: Positions
    steps: Sequence[Step]
    stopped: Stop | None
    parked: Parked | None
    compared: bool
    drifted: Drifted | None

    @property
    def position(self) -> int:
        """Return up to where the row is folded."""
        return self.positions[self.partition]

    def named(self, position: int) -> str:
        """Return how a position of the row's partition is told."""
        return self.positions.named(self.partition, position)

    @property
    def is_well(self) -> bool:
        """Tell whether all events can be read, and the live row is what those up to there make."""
        return self.compared and self.stopped is None and self.drifted is None

    def document(self) -> dict[str, Any]:
        """Return the explanation as `--json` prints it."""
        return {
            "table": self.table,
            "key": list(self.key),
            "partition": self.partition,
            "position": self.position,
            "events": [each.document() for each in self.steps],
            "stopped": asdict(self.stopped) if self.stopped else None,
            "parked": self.parked._asdict() if self.parked else None,
            "compared": self.compared,
            "drifted": self.drifted.document() if self.drifted else None,
        }


def explain(store: Store, projection: Projection, key: Key) -> Explanation:
    """Return which events touched the row of `key`, and how the live one differs from them.

    For the stream of a push, any id that it ever had will do, unless a stream is called so.
    Only the family of the key is read, up to before an event that cannot be. A table that was never
    built is made, empty; nothing else is folded. Raises `UnknownRow`, `StaleProjection` and
    `LogWentBack`.
    """
    for column, part in zip(projection.TABLE.primary_key.columns, key, strict=True):
        check_text(column.name, part)
    if projection in OF_PUSHES:
        key = _stream(store, key[0]), *key[1:]
    family = projection.family(key)
    store.folder.reach(Positions(()), [projection])
    while True:
        found = _explained(store, projection, key, family)
        if not found.drifted or not live.is_forgotten_behind(
            store, family, [projection], found.position
        ):
            return found
        if found.stopped:  # the table cannot be folded that far
            return replace(found, compared=False, drifted=None)
        store.folder.catch_up(wanted=[projection])


def _stream(store: Store, given: str) -> str:
    """Return the stream of a push, which is `given` by its own name or by an id."""
    if streams.kind(given) == "push" and store.log.stream(given):
        return given
    return store.log.holder(*OfPush(id=given).found_by()) or given


def _explained(store: Store, projection: Projection, key: Key, family: str) -> Explanation:
    name = projection.NAME
    there = live.live_rows(store, {name: [key]})[name]
    position = live.position(store, family, there.positions)
    row, made = there.rows.get(key), None
    folded = Folded(projection, {}, {})
    steps = list[Step]()
    events, stopped = _readable(store, family, projection)
    for kind, event in events:
        try:
            [keys] = touched([projection], [(kind, event)])
        except Unfoldable as error:
            stopped = _stop(event.recorded, error)
            break
        if key in keys:
            before = folded.rows.get(key)
            fold([folded], [(kind, event)])
            steps.append(_step(folded, key, before, event))
            if event.recorded.position <= position:
                made = folded.rows.get(key)
    if row is None and not steps and not stopped:
        columns = ", ".join(projection.TABLE.primary_key.columns.keys())
        raise UnknownRow(
            f"table {name} has no row whose {columns} is {' '.join(key)}, and no event ever touched"
            " one"
        )
    parked = there.parked.get(key) or folded.parked.get(key)
    if parked and parked.position > position:
        parked = None  # not yet: the table is not folded that far
    compared = parked is None and (stopped is None or stopped.position > position)
    drifted = live.compare(projection, key, row, made) if compared else None
    home = store.partition(family)
    return Explanation(name, key, home, there.positions, steps, stopped, parked, compared, drifted)


def _readable(
    store: Store, family: str, projection: Projection
) -> tuple[list[tuple[str, Event]], Stop | None]:
    """Return the events of a family up to before the first that cannot be read, and that one."""
    records, wanted = store.log.family(family), kinds([projection])
    try:
        return store.codec.decode_kinds(records, wanted), None
    except UNREADABLE:
        pass  # one by one, then
    found = list[tuple[str, Event]]()
    for record in records:
        try:
            found += store.codec.decode_kinds([record], wanted)
        except UNREADABLE as error:
            return found, _stop(record, error)
    return found, None


def _stop(record: Recorded, error: Failure) -> Stop:
    return Stop(record.position, record.type, str(error))


def _step(folded: Folded, key: Key, before: Row | None, event: Event) -> Step:
    record, after = event.recorded, folded.rows.get(key)
    what: Literal["appears", "changes", "goes", "stays", "parked"]
    if key in folded.parked:
        what = "parked"
    elif before == after:
        what = "stays"
    else:
        what = "appears" if before is None else "goes" if after is None else "changes"
    return Step(
        record.position,
        times.text(record.recorded_at),
        decode_metadata(record.metadata).actor,
        record.type,
        what,
        live.difference(folded.projection, before, after),
    )
