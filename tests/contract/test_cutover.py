"""A move in steps: a target that follows its source, the cutover, calling it off, the way back."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest

from refold.domain.errors import ForeignTarget, Moved, Refused
from refold.domain.ports import State
from refold.infrastructure.commands import run
from refold.infrastructure.moving import cutover
from refold.infrastructure.moving.carrying import Carrier, head
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.open import open_store
from refold.infrastructure.patience import Passing
from refold.infrastructure.queries import refresh
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import digests, forge, found, register, vote
from refold.tests.contract.two_stores import states


@pytest.fixture(autouse=True)
def password(contract_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that stores tell have no password: a client that goes along has it from here."""
    monkeypatch.setenv("PGPASSWORD", urlsplit(contract_database).password or "")


def test_a_follower_carries_what_is_appended_until_it_is_stopped(
    source: Store, target: Store
) -> None:
    stopped, said = Event(), list[tuple[int, bool]]()
    following = Thread(target=lambda: said.append(cutover.follow(source, target, stopped)))
    following.start()
    register(source, "three")

    until(lambda: head(target).position == 3)
    stopped.set()
    following.join()

    assert said == [(3, False)]
    assert states(source, target) == [State.OPEN, State.FILLING]


def test_a_cutover_ends_what_a_follower_began(source: Store, target: Store) -> None:
    said = list[tuple[int, bool]]()
    following = Thread(target=lambda: said.append(cutover.follow(source, target, Event())))
    following.start()
    until(lambda: head(target).position == 2)

    certificate = cutover.move(source, target)
    following.join()
    register(target, "four")

    assert certificate.equal
    assert certificate.pause is not None
    assert said == [(2, True)]
    assert states(source, target) == [State.SEALED, State.OPEN]
    assert found(target, "now") == {"one found.pdf", "two found.pdf", "four"}


def test_a_follower_never_closes_a_target_that_was_opened(source: Store, target: Store) -> None:
    carrier = Carrier(source, target)
    carrier.carry(2)
    carrier.closes = False
    target.log.change_state(State.OPEN)
    register(source, "three")

    with pytest.raises(ForeignTarget, match="was opened meanwhile"):
        carrier.carry(3)

    assert states(target) == [State.OPEN]


def test_rows_that_change_while_a_move_compares_are_compared_one_by_one(
    source: Store, target: Store
) -> None:
    vote(source, voters=3)
    late = [True]

    def progress(what: str, done: int, total: int) -> None:
        if what == "fold" and late:
            late.pop()
            register(source, "late")

    certificate = cutover.move(source, target, progress)

    assert certificate.equal
    assert (certificate.tables_at, certificate.position) == (10, 11)
    assert certificate.touched == 2  # a row of files and one of file_counts
    assert digests(source) == digests(target)


def test_a_row_that_differs_after_the_comparison_is_found(source: Store, target: Store) -> None:
    carrier = Carrier(source, target)
    comparison = Comparison(carrier)
    comparison.compare_whole()
    forge(target, "file_counts_1", ("sha256", "one"), moderation_votes=7)
    run(source, "file.ban", {"sha256": "one", "code": 9}, command_id="ban", actor="ada")

    comparison.compare_touched()

    assert carrier.differences == ["table file_counts differs"]


def test_a_source_is_opened_again_when_rows_differ_behind_the_seal(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = Comparison.compare_touched

    def forged(self: Comparison) -> None:
        assert states(source) == [State.SEALED]
        forge(target, "files_1", ("key", "late"), name="forged")
        compare(self)

    monkeypatch.setattr(Comparison, "compare_touched", forged)
    refresh(source, "now")
    with pytest.raises(AssertionError):  # nothing is late: there is no such row to forge
        cutover.move(source, target)

    assert states(source, target) == [State.OPEN, State.FILLING]


def test_a_cutover_that_was_killed_is_called_off(source: Store, target: Store) -> None:
    cutover._prepare(*(lambda carrier: (carrier, Comparison(carrier)))(Carrier(source, target)))
    source.log.change_state(State.SEALED, successor=target.address.public)

    cutover.abort(source, target)
    register(source, "three")

    assert states(source, target) == [State.OPEN, State.FILLING]
    assert cutover.move(source, target).position == 3


def test_what_was_not_begun_or_is_over_is_not_called_off(source: Store, target: Store) -> None:
    with pytest.raises(Refused, match="is not sealed for a move"):
        cutover.abort(source, target)
    cutover.move(source, target)

    with pytest.raises(Refused, match="has taken over"):
        cutover.abort(source, target)

    assert states(source, target) == [State.SEALED, State.OPEN]


# --- clients ----------------------------------------------------------------------------


def test_a_client_goes_along_and_comes_back(source: Store, target: Store) -> None:
    with open_store(source.address.public, follow_moves=True) as client:
        ban(client, "first", "one")
        cutover.move(source, target)
        ban(client, "second", "two")
        there = client.address.public
        again = ban(client, "first", "one")
        cutover.move(target, source)
        ban(client, "third", "one", 3)
        back = client.address.public

    assert (there, back) == (target.address.public, source.address.public)
    assert again == "duplicate"
    assert states(source, target) == [State.OPEN, State.SEALED]
    assert head(source).position == 5


def test_a_client_waits_while_its_store_is_on_its_way(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Carrier(source, target).carry(2)
    source.log.change_state(State.SEALED, successor=target.address.public)
    with open_store(source.address.public, follow_moves=True) as client:
        with pytest.raises(Passing):
            client.follow(target.address.public)
        asking = Thread(target=lambda: ban(client, "first", "one"))
        asking.start()
        sleep(0.1)
        cutover.abort(source, target)  # the move is called off: the command goes in here
        asking.join()

    assert client.address.public == source.address.public
    assert (head(source).position, head(target).position) == (3, 2)


def test_other_clients_are_told_where_it_went(source: Store, target: Store) -> None:
    cutover.move(source, target)

    with pytest.raises(Moved) as refusal:
        ban(source, "first", "one")

    assert refusal.value.successor == target.address.public


def ban(store: Store, id: str, name: str, code: int = 9) -> str:
    done = run(store, "file.ban", {"sha256": name, "code": code}, command_id=id, actor="ada")
    return done.outcome


def until(happens: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not happens():
        assert monotonic() < deadline
        sleep(0.01)
