"""A store moves while a service writes to it: nothing acknowledged is lost, and the way is told."""

from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import urlsplit

import pytest

from refold.domain.ports import State
from refold.domain.positions import PARTITION, Positions
from refold.infrastructure.moving import cutover
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.processes import PATIENCE, started, succeed

BEFORE: Final = 6_000
"""Events that are there before the service begins, so that the move takes a while."""


@pytest.mark.parametrize("origin", ["sqlite", "postgres"])
def test_what_was_acknowledged_is_in_the_target_and_the_rest_is_told_where_it_went(
    origin: str, tmp_path: Path, postgres_url: str
) -> None:
    urls = [f"sqlite:///{tmp_path / 'store.db'}", postgres_url]
    source_url, target_url = urls if origin == "sqlite" else reversed(urls)
    notes = tmp_path / "notes"
    with (
        open_store(source_url, create=True) as source,
        open_store(target_url, create=True) as target,
        notes.open("wb") as output,
    ):
        _fill(source)
        with started("commanding", source_url, output=output) as service:
            begun = _when_it_writes(source)

            certificate = cutover.move(source, target)
            succeed([service])

        address = target.address.public
        moved_ids = {record.command_id for record in target.log.page(PARTITION, BEFORE, 100_000)}
        [head] = source.log.heads()
        lines = [line.split(" ", 2) for line in notes.read_text().splitlines()]
    acknowledged = {id: int(position) for what, id, position in lines if what == "done"}
    sent_on = {id: message for what, id, message in lines if what == "moved"}
    assert certificate.equal
    assert certificate.positions == Positions((head.position,))
    assert head.position == BEFORE + len(acknowledged)
    assert (head.state, head.successor) == (State.SEALED, address)
    assert moved_ids == acknowledged.keys()
    assert max(acknowledged.values()) > begun  # it wrote while the move was under way
    assert set(sent_on.values()) == {f"this store has moved to {address}"}
    assert str(urlsplit(postgres_url).password) not in address


def _fill(store: Store) -> None:
    commands = many(BEFORE)
    while batch := list(islice(commands, 1_000)):
        store.log.append(batch)


def _when_it_writes(store: Store) -> int:
    """Return the head once the service has appended some events."""
    deadline = monotonic() + PATIENCE
    while (position := store.log.heads()[PARTITION].position) < BEFORE + 5:
        assert monotonic() < deadline
        sleep(0.01)
    return position
