"""Four services write while their store moves to the other engine and back, and go along."""

from collections import Counter
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import urlsplit

import pytest

from refold.domain.ports import State
from refold.infrastructure.folding.advancing import PARTITION
from refold.infrastructure.moving import cutover
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.processes import PATIENCE, started, succeed

BEFORE: Final = 6_000
"""Events that are there before the services begin, so that a move takes a while."""

WRITERS: Final = 4


@pytest.mark.parametrize("origin", ["sqlite", "postgres"])
def test_no_command_is_lost_or_done_twice_by_a_move_and_the_way_back(
    origin: str, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", urlsplit(postgres_url).password or "")
    urls = [f"sqlite:///{tmp_path / 'store.db'}", postgres_url]
    source_url, target_url = urls if origin == "sqlite" else reversed(urls)
    with ExitStack() as stack:
        source = stack.enter_context(open_store(source_url, create=True))
        target = stack.enter_context(open_store(target_url, create=True))
        _fill(source)
        services = []
        for number in range(WRITERS):
            notes = stack.enter_context((tmp_path / f"notes-{number}").open("wb"))
            services.append(
                stack.enter_context(started("moving_on", source_url, f"{number}", output=notes))
            )

        _wait_for_more(source)
        there = cutover.move(source, target)
        at_target = _wait_for_more(target)
        back = cutover.move(target, source)
        _wait_for_more(source)
        for service in services:
            assert service.stdin
            service.stdin.close()
        succeed(services)

        lines = [
            line.split()
            for number in range(WRITERS)
            for line in (tmp_path / f"notes-{number}").read_text().splitlines()
        ]
        kept = source.log.page(PARTITION, BEFORE, 1_000_000)
        states = [store.log.heads()[PARTITION].state for store in (source, target)]
        whole = verify(source)
    acknowledged = {id: int(position) for _, id, position in lines}
    assert (there.equal, back.equal, whole.ok) == (True, True, True)
    assert there.pause is not None
    assert back.pause is not None
    assert there.position < at_target <= back.position < BEFORE + len(kept)
    assert states == [State.OPEN, State.SEALED]
    assert {record.command_id: record.position for record in kept} == acknowledged
    assert set(Counter(record.command_id for record in kept).values()) == {1}


def _fill(store: Store) -> None:
    commands = many(BEFORE)
    while batch := list(islice(commands, 1_000)):
        store.log.append(batch)


def _wait_for_more(store: Store) -> int:
    """Return the head once every service has probably appended something here."""
    before, deadline = store.log.heads()[PARTITION].position, monotonic() + PATIENCE
    while (position := store.log.heads()[PARTITION].position) < before + 10 * WRITERS:
        assert monotonic() < deadline
        sleep(0.01)
    return position
