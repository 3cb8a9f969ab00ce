"""kill -9 of a copy, a rebuild, a daemon or a writer: run again, it is as if nothing had been."""

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from time import sleep
from typing import Final

import pytest
import sqlalchemy as sa

from refold.domain import streams
from refold.infrastructure.folding.generations import BUILDING
from refold.infrastructure.moving import copying
from refold.infrastructure.open import open_store
from refold.infrastructure.status import status
from refold.infrastructure.store import Store
from refold.projections import catalog, files
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.grouping import COMMANDS as GROUPED
from refold.tests.infrastructure.faults.invariant import whole_log
from refold.tests.infrastructure.faults.lengths import LONG
from refold.tests.infrastructure.faults.processes import PATIENCE, start_refold, started

EVENTS: Final = 20_000
FAMILIES: Final = {streams.family(command.writes[0].stream) for command in many(EVENTS)}
KILLS: Final = 10 if LONG else 4
"""Of each direction or engine; of both together that makes 20."""
DELAYS: Final = (0.0, 0.005, 0.02, 0.01, 0.04)
"""Seconds from the first progress to the kill, in turn: so it strikes at all points of a page."""


@dataclass(frozen=True)
class Work:
    """A `refold` command, and how to see how far it is."""

    arguments: Sequence[str]
    progress: Callable[[], int]


@dataclass(frozen=True)
class Kill:
    """Where the work stood when the process began, and when it was killed."""

    before: int
    after: int

    @property
    def was_inside(self) -> bool:
        return self.before < self.after < EVENTS


def test_a_copy_killed_anywhere_goes_on_and_ends_equal(tmp_path: Path, postgres_url: str) -> None:
    sqlite = f"sqlite:///{tmp_path / 'source.db'}"
    postgres = f"{postgres_url}?schema=straight"
    with _filled(sqlite) as source, open_store(postgres, create=True) as target:
        straight = copying.copy(source, target).document()
    there = _copies(sqlite, (f"{postgres_url}?schema=target_{n}" for n in count()))
    back = _copies(postgres, (f"sqlite:///{tmp_path / f'target-{n}.db'}" for n in count()))

    kills, certificates = _kill_often([there, back], tmp_path / "printed")

    assert len(kills) == 2 * KILLS
    assert sum(kill.was_inside for kill in kills) >= 3 * KILLS // 2, kills
    for certificate in map(json.loads, certificates):
        assert certificate["equal"]
        assert certificate["partitions"] == straight["partitions"]
        assert certificate["tables"] == straight["tables"]


def test_a_rebuild_killed_anywhere_goes_on_and_ends_equal(
    tmp_path: Path, postgres_url: str
) -> None:
    sqlite, postgres = f"sqlite:///{tmp_path / 'source.db'}", postgres_url
    with _filled(sqlite) as source, open_store(postgres, create=True) as target:
        certificate = copying.copy(source, target)
    straight = {table.name: table.target.hex for table in certificate.tables}

    rebuilds = [_rebuilds(sqlite), _rebuilds(postgres)]
    kills, reports = _kill_often(rebuilds, tmp_path / "printed")
    ended = []
    for url in sqlite, postgres:
        with open_store(url) as store:
            ended.append({each.NAME: store.folder.digest(each)[1].hex for each in catalog.ALL})

    assert len(kills) == 2 * KILLS
    assert sum(kill.was_inside for kill in kills) >= 3 * KILLS // 2, kills
    assert ended == [straight, straight]
    for report in map(json.loads, reports):
        assert report["switched"]
        assert all(each["equal_to_previous"] for each in report["tables"])


def test_a_daemon_killed_anywhere_goes_on_and_applies_nothing_twice(
    tmp_path: Path, postgres_url: str
) -> None:
    sqlite = (f"sqlite:///{tmp_path / f'store-{n}.db'}" for n in count())
    postgres = (f"{postgres_url}?schema=store_{n}" for n in count())

    kills, _ = _kill_often([_foldings(sqlite), _foldings(postgres)], tmp_path / "printed")

    assert len(kills) == 2 * KILLS
    assert sum(kill.was_inside for kill in kills) >= 3 * KILLS // 2, kills


@pytest.mark.parametrize("url", ["sqlite", "postgres", "postgres-3"], indirect=True)
def test_a_writer_killed_anywhere_leaves_whole_commands_and_all_that_were_acknowledged(
    url: str, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    inside = 0
    with open_store(url) as store:
        for number, delay in zip(range(KILLS), cycle(DELAYS)):
            notes = tmp_path / f"notes-{number}"
            before = _head(store)
            with notes.open("wb") as output, started("grouping", url, f"{number}", output=output):
                while len(notes.read_bytes()) < 200:
                    sleep(0.005)
                sleep(delay)  # the end of the block kills it
            ids = notes.read_text().split("\n")[:-1]
            acknowledged += ids
            inside += before < _head(store) < before + 2 * GROUPED
        records = whole_log(store)

    assert inside >= KILLS - 2
    kept = {record.command_id for record in records}
    assert kept.issuperset(acknowledged)
    assert len(records) == 2 * len(kept)  # each has two events: none was torn
    assert [record.command_no for record in records] == [0, 1] * len(kept)


# --- killing ----------------------------------------------------------------------


def _kill_often(works: Sequence[Iterator[Work]], output: Path) -> tuple[list[Kill], list[str]]:
    """Carry out one work after the other, each to its end, until each kind was killed enough.

    Returns the kills, and what the runs printed that came to their end.
    """
    kills: list[Kill] = []
    documents: list[str] = []
    delays = cycle(DELAYS)
    for number, kind in enumerate(works, 1):
        while len(kills) < number * KILLS:
            work = next(kind)
            while kill := _killed(work, next(delays), output, last=len(kills) == number * KILLS):
                kills.append(kill)
            documents.append(output.read_text())
    return kills, documents


def _killed(work: Work, delay: float, output: Path, *, last: bool) -> Kill | None:
    """Run the command and kill it `delay` seconds after its first progress.

    Returns None when it came to its end before, or was to be left alone because it is the `last`.
    """
    before = work.progress()
    process = start_refold(*work.arguments, output=output)
    if not last:
        while process.is_alive() and work.progress() <= before:
            sleep(0.005)
        process.join(delay)
        process.kill()
    process.join(PATIENCE)
    if process.exitcode == -signal.SIGKILL:
        return Kill(before, work.progress())
    assert process.exitcode == 0
    return None


# --- what is killed ---------------------------------------------------------------


def _copies(source: str, targets: Iterable[str]) -> Iterator[Work]:
    """Yield a copy to each target."""
    for url in targets:
        with open_store(url, create=True) as target:
            yield Work(("copy", source, url, "--json"), lambda: _head(target))


def _rebuilds(url: str) -> Iterator[Work]:
    """Yield a rebuild of all tables, again and again, by one process and by three."""
    with open_store(url) as store:
        for workers in cycle(("1", "2")):
            rebuild = ("rebuild", "--store", url, "--workers", workers, "--json")
            yield Work(rebuild, lambda: _built(store))


def _foldings(urls: Iterable[str]) -> Iterator[Work]:
    """Yield a daemon on each store, whose tables are empty and whose log is not.

    Afterwards they are what a rebuild makes of them.
    """
    for url in urls:
        with open_store(url, create=True) as store:
            store.folder.catch_up()
            _fill(store)
            yield Work(("run", "--once", "--store", url), lambda: _folded(store))
            assert all(each.is_equal for each in store.rebuilder.rebuild(catalog.ALL))


def _folded(store: Store) -> int:
    return min(each.positions.total for each in status(store).projections)


def _head(store: Store) -> int:
    return store.advance.head().total


def _built(store: Store) -> int:
    """Return how far the generations are that are being built; 0 when there are none.

    Rows and checkpoints are committed together: at any instant the one tell the other.
    """
    with store.tables.reading() as connection:
        for each in store.tables.generations(connection):
            if (each.projection.NAME, each.state) == (files.NAME, BUILDING):
                saved = store.tables.parts(connection, each)
                parts = saved[0].parts if saved else 1
                there = {part.part for part in saved}
                expected = sum(streams.share(family, 1, parts) in there for family in FAMILIES)
                rows = sa.select(sa.func.count()).select_from(each.table)
                assert connection.scalar(rows) == expected
                return EVENTS * len(there) // parts
    return 0


def _filled(url: str) -> Store:
    store = open_store(url, create=True)
    _fill(store)
    return store


def _fill(store: Store) -> None:
    commands = many(EVENTS)
    while batch := list(islice(commands, 1_000)):
        store.log.append(batch)
