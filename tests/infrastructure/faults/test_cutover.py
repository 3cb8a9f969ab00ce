"""Four services write while their store moves, there and back or into partitions, and go along."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import urlsplit

import pytest

from refold.domain.ports import Recorded, State
from refold.domain.positions import Positions
from refold.infrastructure.moving import cutover, renumbering
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.invariant import acknowledged, check, whole_log
from refold.tests.infrastructure.faults.processes import PATIENCE, started, succeed

BEFORE: Final = 6_000
"""Events that are there before the services begin, so that a move takes a while."""

WRITERS: Final = 4


@pytest.fixture
def urls(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses of no store yet, of one on SQLite and of one on PostgreSQL."""
    monkeypatch.setenv("PGPASSWORD", urlsplit(postgres_url).password or "")
    return [f"sqlite:///{tmp_path / 'store.db'}", postgres_url]


@pytest.mark.parametrize(
    ("origin", "partitions"), [("sqlite", 1), ("postgres", 1), ("postgres", 3)]
)
def test_no_command_is_lost_or_done_twice_by_a_move_and_the_way_back(
    origin: str, partitions: int, urls: list[str], tmp_path: Path
) -> None:
    source_url, target_url = urls if origin == "sqlite" else reversed(urls)
    with (
        open_store(source_url, create=True, partitions=partitions) as source,
        open_store(target_url, create=True, partitions=partitions) as target,
    ):
        filled = _fill(source)
        with _services(source_url, tmp_path) as end:
            _wait_for_more(source)
            there = cutover.move(source, target)
            at_target = _wait_for_more(target)
            back = cutover.move(target, source)
            _wait_for_more(source)
            done = end()

        kept = _behind(source, filled)
        states = [{head.state for head in store.log.heads()} for store in (source, target)]
        whole = verify(source)
    assert (there.equal, back.equal, whole.ok) == (True, True, True)
    assert there.pause is not None
    assert back.pause is not None
    assert there.positions.total < at_target <= back.positions.total < BEFORE + len(kept)
    assert states == [{State.OPEN}, {State.SEALED}]
    assert {record.command_id: record.position for record in kept} == done
    assert set(Counter(record.command_id for record in kept).values()) == {1}


@pytest.mark.parametrize("origin", ["sqlite", "postgres"])
def test_no_command_is_lost_or_done_twice_where_a_log_is_numbered_anew(
    origin: str, urls: list[str], tmp_path: Path
) -> None:
    source_url, target_url = urls if origin == "sqlite" else reversed(urls)
    with (
        open_store(source_url, create=True) as source,
        open_store(target_url, create=True, partitions=3) as target,
    ):
        filled = _fill(source)
        with _services(source_url, tmp_path) as end:
            begun = _wait_for_more(source)
            made = renumbering.move(source, target)
            _wait_for_all(target, made.positions)
            done = end()

        before, after = whole_log(source), check(target)
        states = [{head.state for head in store.log.heads()} for store in (source, target)]
    assert made.equal, made.differences
    assert made.pause is not None
    assert BEFORE < begun < len(before) == made.positions.total  # they wrote meanwhile
    assert states == [{State.SEALED}, {State.OPEN}]
    filled_ids = [record.command_id for record in before[: filled.total]]
    assert Counter(record.command_id for record in after) == Counter([*filled_ids, *done])
    places = {record.command_id: record.position for record in (*after, *before[filled.total :])}
    assert done.items() <= places.items()  # where it stood when it was acknowledged


# --- saying it briefly ----------------------------------------------------------------


@contextmanager
def _services(url: str, folder: Path) -> Iterator[Callable[[], dict[str, int]]]:
    """Start services; what is given ends them, and returns what was acknowledged to them."""
    notes = [folder / f"notes-{number}" for number in range(WRITERS)]
    with ExitStack() as stack:
        services = [
            stack.enter_context(
                started("moving_on", url, f"{number}", output=stack.enter_context(path.open("wb")))
            )
            for number, path in enumerate(notes)
        ]

        def end() -> dict[str, int]:
            for service in services:
                assert service.stdin
                service.stdin.close()
            succeed(services)
            return acknowledged("".join(path.read_text() for path in notes))

        yield end


def _fill(store: Store) -> Positions:
    commands = many(BEFORE)
    while batch := list(islice(commands, 1_000)):
        store.log.append(batch)
    return store.advance.head()


def _behind(store: Store, places: Positions) -> list[Recorded]:
    return [
        record
        for partition, position in enumerate(places.each)
        for record in store.log.page(partition, position, 1_000_000)
    ]


def _wait_for_more(store: Store) -> int:
    """Return how many events there are once every service has probably appended something here."""
    before, deadline = store.advance.head().total, monotonic() + PATIENCE
    while (events := store.advance.head().total) < before + 10 * WRITERS:
        assert monotonic() < deadline
        sleep(0.01)
    return events


def _wait_for_all(store: Store, places: Positions) -> None:
    """Wait until every service has appended something behind these positions."""
    deadline = monotonic() + PATIENCE
    while len({each.command_id.partition("-")[0] for each in _behind(store, places)}) < WRITERS:
        assert monotonic() < deadline
        sleep(0.05)
