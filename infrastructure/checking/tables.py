"""How far each query table is, and what stops those that are behind."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from refold.domain.errors import (
    Failure,
    NoVaultKey,
    StaleProjection,
    Undecodable,
    WrongVaultKey,
)
from refold.domain.positions import Positions
from refold.infrastructure.checking.finding import Finding
from refold.infrastructure.checking.mends import GIVE_KEY, UPGRADE, Mends, sentence
from refold.infrastructure.folding import pages
from refold.infrastructure.folding.generations import Generation, Standing
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Key, Parked, Projection

Behind = Mapping[Positions, Sequence[Projection]]
"""Tables by the positions that they stand at."""


def table_findings(store: Store, head: Positions, mends: Mends) -> Iterator[Finding]:
    """Yield what is wrong with the tables of a store whose log ends at `head`."""
    with store.tables.reading() as connection:
        lost = store.tables.lost(connection)
        current = {
            name: each
            for name, each in store.tables.current(connection).items()
            if each not in lost
        }
        standing = store.advance.standing(connection, current.values())
        parked = {
            name: store.tables.parked(connection, generation)
            for name, generation in current.items()
        }
    yield from _lost(lost, mends)
    gone = {each.projection.NAME for each in lost}
    missing = [each.NAME for each in catalog.ALL if each.NAME not in current.keys() | gone]
    if missing and head.total:
        what = f"{_tables(missing)} will be built when somebody asks first"
        yield Finding("tables", "warning", what, mends.rebuild(missing))
    tables = list(zip(current.values(), standing, strict=True))
    yield from _parked(store, current, parked, mends)
    yield from _stale(tables, mends)
    own = [each for each in tables if each[0].is_of_this_version]
    yield from _elsewhere(store, own, head, mends)
    behind = defaultdict[Positions, list[Projection]](list)
    for generation, there in own:
        if not there.positions.covers(head) and store.advance.fits(there):
            behind[there.positions].append(generation.projection)
    yield from _behind(store, behind, head, mends)


def _lost(lost: Sequence[Generation], mends: Mends) -> Iterator[Finding]:
    for generation in lost:
        what = f"the database does not have {generation.table.name} any more"
        yield Finding("tables", "problem", what, mends.rebuild([generation.projection.NAME]))


def _parked(
    store: Store,
    current: Mapping[str, Generation],
    parked: Mapping[str, Mapping[Key, Parked]],
    mends: Mends,
) -> Iterator[Finding]:
    for name, rows in parked.items():
        if rows:
            key, first = min(rows.items(), key=itemgetter(1))
            home = store.partition(current[name].projection.family(key))
            where = Positions((0,) * store.log.partitions).named(home, first.position)
            what = f"{len(rows)} rows of table {name} are parked, the first one at event"
            what += f" {where}: {first.error}"
            again = current[name].is_of_this_version
            mend = f"refold retry {name}{mends.at}" if again else mends.rebuild([name])
            yield Finding("parked", "problem", what, mend)


def _stale(tables: Iterable[tuple[Generation, Standing]], mends: Mends) -> Iterator[Finding]:
    for generation, _ in tables:
        try:
            generation.check_version()
        except StaleProjection as error:
            mend = mends.rebuild([generation.projection.NAME])
            yield Finding("version", "problem", sentence(error), mend)


def _elsewhere(
    store: Store, tables: Iterable[tuple[Generation, Standing]], head: Positions, mends: Mends
) -> Iterator[Finding]:
    """Yield tables that were folded from other events than those of the log."""
    gone = defaultdict[Positions, list[str]](list)
    for generation, there in tables:
        if not store.advance.fits(there):
            gone[there.positions].append(generation.projection.NAME)
    for positions, names in gone.items():
        what = f"{_tables(names)} went up to position {positions}, where the log, which ends at"
        what += f" {head}, now holds another event or none"
        yield Finding("position", "problem", what, mends.rebuild(names))


def _behind(store: Store, tables: Behind, head: Positions, mends: Mends) -> Iterator[Finding]:
    """Yield which tables are behind the log, and what stops them."""
    waiting = dict[str, int]()
    for positions, projections in sorted(tables.items(), key=lambda each: each[0].each):
        stops = _first_stops(store, positions, projections)
        stopped = defaultdict[_Stop, list[str]](list)
        for projection in projections:
            if stop := stops.get(projection.NAME):
                stopped[stop].append(projection.NAME)
            else:
                waiting[projection.NAME] = head.beyond(positions)
        for stop, names in stopped.items():
            what = f"{_tables(names)} stopped before event {stop.position}: {stop.why}"
            yield Finding("stopped", "problem", what, _past(stop, mends))
    if waiting:
        what = f"up to {max(waiting.values())} events are not yet in {_tables(waiting)}, and"
        what += " nothing is in the way: nobody folds"
        yield Finding("behind", "warning", what, f"refold run{mends.at}")


class _Stop(NamedTuple):
    """The event that a projection cannot go over, and why."""

    position: str
    error: type[Failure]
    why: str


def _first_stops(
    store: Store, positions: Positions, projections: Sequence[Projection]
) -> dict[str, _Stop]:
    """Return the first event of the next pages that each projection cannot go over."""
    first = dict[str, _Stop]()
    for partition, position in enumerate(positions.each):
        page = store.log.page(partition, position, pages.PAGE)
        for number, stops in store.advance.stops(page, projections):
            for name, error in stops.items():
                where = positions.named(partition, page[number].position)
                first.setdefault(name, _Stop(where, type(error), sentence(error)))
    return first


def _past(stop: _Stop, mends: Mends) -> str:
    """Return what lets tables go on where they stopped."""
    if issubclass(stop.error, NoVaultKey | WrongVaultKey):
        return GIVE_KEY
    if issubclass(stop.error, Undecodable):
        return mends.from_a_copy
    return UPGRADE


def _tables(names: Collection[str]) -> str:
    return f"{'table' if len(names) == 1 else 'tables'} {', '.join(names)}"
