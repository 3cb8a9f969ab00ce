"""One step of the daemon, where a store changes under it."""

from collections.abc import Iterator

import pytest

from refold.domain.errors import Unavailable
from refold.domain.ports import Command, NewEvent, State, Write
from refold.infrastructure import clock
from refold.infrastructure.commands import run
from refold.infrastructure.daemon import Daemon
from refold.infrastructure.folding.folder import Folder
from refold.infrastructure.open import open_store
from refold.infrastructure.status import status
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import register


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with a session that has expired."""
    with open_store("memory:") as store:
        fields = {"sid": "sid", "body": "body", "expires_at": "2020-01-01T00:00:00Z"}
        run(store, "session.set", fields, command_id="set", actor="web")
        yield store


def test_an_expired_session_is_ended(store: Store) -> None:
    said: list[str] = []

    did_something = Daemon(store, lambda what, _: said.append(what)).step()

    assert did_something
    assert said == ["folded", "purged"]
    assert clock.now(store.log) >= store.log.page(0, 1, 1)[0].recorded_at


def test_a_store_that_moves_away_meanwhile_is_left_alone(store: Store) -> None:
    def move_away(what: str, _: object) -> None:
        if what == "folded":
            store.log.change_state(State.SEALED, successor="sqlite:///there.db")

    Daemon(store, move_away).step()

    assert [head.position for head in store.log.heads()] == [1]


def test_a_table_of_sessions_that_cannot_go_on_ends_no_daemon(store: Store) -> None:
    unknown = NewEvent("session.from_the_future", 1, b"{}", b'{"actor":"ada"}')
    store.log.append([Command("1", (Write("session-1", None, (unknown,)),))])
    said: list[str] = []
    daemon = Daemon(store, lambda what, _: said.append(what))

    daemon.step()
    daemon.step()

    assert said == ["blocked"]


def test_a_table_that_cannot_go_on_is_told_once_and_the_others_go_on(store: Store) -> None:
    said: list[tuple[str, str]] = []
    daemon = Daemon(store, lambda what, facts: said.append((what, str(facts.get("reason")))))
    daemon.step()
    unknown = NewEvent("file.from_the_future", 1, b"{}", b'{"actor":"ada"}')
    for number in range(2):
        store.log.append([Command(f"{number}", (Write(f"file-{number}", None, (unknown,)),))])
        daemon.step()

    assert [what for what, _ in said] == ["folded", "purged", "blocked"]
    assert "file.from_the_future" in said[-1][1]
    assert {each.name: each.state for each in status(store).projections}["sessions"] == "current"


def test_what_could_not_be_folded_is_folded_once_the_store_is_there_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Folder) -> None:
        raise Unavailable("the server is away")

    daemon = Daemon(store, lambda *_: None)
    daemon.step()
    register(store, "one")
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "catch_up", away)
        with pytest.raises(Unavailable):
            daemon.step()

    daemon.step()

    assert {each.state for each in status(store).projections} == {"current"}
