"""The server crashes under writers: nothing acknowledged is lost, and they go on by themselves."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic, sleep
from typing import Final

from refold.domain.ports import Appended, Log
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.tests.infrastructure.faults.events import registration
from refold.tests.infrastructure.faults.processes import PATIENCE

WRITERS: Final = 4
CRASHES: Final = 3


def test_writers_go_on_after_a_crash_and_nothing_acknowledged_is_lost() -> None:
    acknowledged: list[dict[str, int]] = [{} for _ in range(WRITERS)]
    enough = Event()
    with (
        throwaway() as cluster,
        open_store(cluster.url, create=True) as store,
        ThreadPoolExecutor(WRITERS) as pool,
    ):
        writers = [
            pool.submit(_write, store.log, f"writer-{number}", own, enough)
            for number, own in enumerate(acknowledged)
        ]
        try:
            for _ in range(CRASHES):
                _wait_for_more(acknowledged, writers)
                cluster.restart("immediate")
            _wait_for_more(acknowledged, writers)
        finally:
            enough.set()
        for writer in writers:
            writer.result(PATIENCE)
        records = store.log.page(0, 0, 1_000_000)

    assert [record.position for record in records] == list(range(1, len(records) + 1))
    places = {record.command_id: record.position for record in records}
    assert max(Counter(record.command_id for record in records).values()) == 1
    for own in acknowledged:
        assert own.items() <= places.items()


def _write(log: Log, writer: str, acknowledged: dict[str, int], enough: Event) -> None:
    """Append on both paths until it is enough; nobody here tries again."""
    number = 0
    while not enough.is_set():
        id = f"{writer}-{number}"
        [outcome] = log.append([registration(id, id, expected=0 if number % 2 else None)])
        assert isinstance(outcome, Appended)
        acknowledged[id] = outcome.position
        number += 1


def _wait_for_more(acknowledged: list[dict[str, int]], writers: "list[Future[None]]") -> None:
    """Wait until every writer has been acknowledged some more; raise what one has raised."""
    goals = [len(own) + 20 for own in acknowledged]
    deadline = monotonic() + PATIENCE
    while any(len(own) < goal for own, goal in zip(acknowledged, goals, strict=True)):
        assert monotonic() < deadline
        for writer in writers:
            if writer.done():
                writer.result()
        sleep(0.01)
