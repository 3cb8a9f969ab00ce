"""Where a store stands: its log, each of its query tables, and the rows that wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from refold.domain.ports import ends
from refold.domain.positions import Positions
from refold.infrastructure.folding import parked
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.folding.parked import ParkedRow, Waiting
from refold.infrastructure.store import Store
from refold.projections import catalog


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """Where a query table stands: `lag` counts the events that it is behind.

    `state` is current, behind, stopped (at an event that cannot be read; `why` says what), stale
    (another version fills it: rebuild) or missing. `parked` counts the rows that wait: see retry;
    `parked_rows` are the first of them.
    """

    name: str
    generation: int | None
    positions: Positions
    lag: int
    state: Literal["current", "behind", "stopped", "stale", "missing"]
    parked: int = 0
    parked_rows: Sequence[ParkedRow] = ()
    why: str = ""

    @property
    def is_well(self) -> bool:
        """Tell whether the table is whole up to its position, and goes on."""
        return not self.parked and self.goes_on

    @property
    def goes_on(self) -> bool:
        """Tell whether the table is folded on; rows of it may be parked."""
        return self.state in ("current", "behind", "missing")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a store stands. `successor` is where it moved to."""

    store_id: str
    log_id: str
    engine: str
    state: str
    successor: str | None
    partitions: Sequence[tuple[int, int]]
    projections: Sequence[ProjectionStatus]


def status(store: Store) -> Status:
    """Return where the store stands; folds nothing."""
    identity, heads = store.log.identity(), store.log.heads()
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        standing = store.advance.standing(connection, current.values())
        positions = {name: each.positions for name, each in zip(current, standing, strict=True)}
        waiting = parked.waiting(connection, current.values(), len(heads))
    head = ends(heads)
    projections = [
        _status(
            store,
            current[each.NAME],
            positions[each.NAME],
            head,
            waiting.get(each.NAME, parked.NONE),
        )
        if each.NAME in current
        else ProjectionStatus(each.NAME, None, Positions((0,) * len(heads)), head.total, "missing")
        for each in catalog.ALL
    ]
    return Status(
        identity.store_id,
        identity.log_id,
        store.address.engine,
        heads[0].state.value,
        heads[0].successor,
        [(each.partition, each.position) for each in heads],
        projections,
    )


def _status(
    store: Store, generation: Generation, there: Positions, head: Positions, waiting: Waiting
) -> ProjectionStatus:
    name, number = generation.projection.NAME, generation.number
    lag = head.beyond(there)
    if not generation.is_of_this_version:
        return ProjectionStatus(name, number, there, lag, "stale", *waiting)
    stop = store.advance.stop(generation.projection, there) if lag else None
    if stop:
        return ProjectionStatus(name, number, there, lag, "stopped", *waiting, str(stop))
    return ProjectionStatus(name, number, there, lag, "behind" if lag else "current", *waiting)
