"""What a copy and a move promise, from SQLite to PostgreSQL and back.

At most one store of a history takes commands, and nothing that is refused changes anything.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from refold.domain.errors import (
    BrokenLog,
    EndsElsewhere,
    Filling,
    ForeignTarget,
    LogWentBack,
    Moved,
    Refused,
)
from refold.domain.ports import Claim, State
from refold.domain.positions import Positions
from refold.infrastructure.address import Postgres
from refold.infrastructure.commands import run
from refold.infrastructure.erasing import person
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.moving import cutover
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.cutover import move
from refold.infrastructure.moving.heads import head
from refold.infrastructure.open import open_store
from refold.infrastructure.progress import Progress
from refold.infrastructure.services import media
from refold.infrastructure.services.files import search
from refold.infrastructure.services.users import find_user
from refold.infrastructure.store import Store
from refold.infrastructure.systems.express_sessions import SessionStore
from refold.projections import users
from refold.tests.contract.query_tables import refresh
from refold.tests.contract.two_stores import register, states

Carry = Callable[[Store, Store], Certificate]

both_ways = pytest.mark.parametrize("carry", [copy, move])


# --- what comes along -------------------------------------------------------------------


def test_a_copy_has_everything_and_both_take_commands(source: Store, target: Store) -> None:
    certificate = copy(source, target)

    assert certificate.equal
    assert (certificate.positions, certificate.claims) == (Positions((2,)), 1)
    assert kept(target) == kept(source)
    assert target.log.claims()[1] == [Claim("name", "first", "file-one")]
    assert target.log.identity().store_id != source.log.identity().store_id
    assert found(target) == {"one", "two"}
    assert states(source, target) == [State.OPEN, State.OPEN]


def test_a_move_has_everything_and_leaves_the_source_sealed(source: Store, target: Store) -> None:
    certificate = move(source, target)

    assert certificate.equal
    assert kept(target) == kept(source)
    assert found(target) == {"one", "two"}
    assert states(source, target) == [State.SEALED, State.OPEN]
    assert source.log.heads()[0].successor == target.address.public


@both_ways
def test_an_empty_store_is_copied_with_the_name_of_its_history(
    engines: tuple[str, str], new_at: Callable[[str], Store], target: Store, carry: Carry
) -> None:
    empty = new_at(engines[0])

    certificate = carry(empty, target)

    assert certificate.equal
    assert certificate.positions == Positions((0,))
    assert target.log.identity().log_id == empty.log.identity().log_id
    assert states(target) == [State.OPEN]


def test_a_second_copy_does_nothing(source: Store, target: Store) -> None:
    first = copy(source, target)
    before = (kept(target), target.log.heads(), target.log.identity())
    seen = set()

    second = copy(source, target, lambda *_: seen.update(states(target)))

    assert second.equal
    assert second.ends == first.ends
    assert seen == {State.OPEN}
    assert (kept(target), target.log.heads(), target.log.identity()) == before


def test_a_later_copy_goes_on_with_what_is_new(source: Store, target: Store) -> None:
    copy(source, target)
    register(source, "three", claim="second")
    seen = set()

    certificate = copy(source, target, lambda *_: seen.update(states(target)))

    assert certificate.equal
    assert certificate.positions == Positions((3,))
    assert State.FILLING in seen
    assert kept(target) == kept(source)
    assert found(target) == {"one", "two", "three"}
    assert states(source, target) == [State.OPEN, State.OPEN]


# --- one history, one open store ------------------------------------------------------------


def test_a_second_move_to_another_place_is_refused(
    source: Store, target: Store, third: Store
) -> None:
    move(source, target)
    before = (third.log.heads(), third.log.identity())

    with pytest.raises(Moved) as refusal:
        move(source, third)

    assert refusal.value.successor == target.address.public
    assert states(source, target) == [State.SEALED, State.OPEN]
    assert (third.log.heads(), third.log.identity()) == before


def test_of_two_moves_at_once_one_is_refused(source: Store, target: Store, third: Store) -> None:
    with pytest.raises(Moved) as refusal:
        move(source, target, once(lambda: move(source, third)))

    assert refusal.value.successor == third.address.public
    assert states(source, third) == [State.SEALED, State.OPEN]
    assert states(target) == [State.FILLING]


def test_a_move_that_was_killed_behind_the_seal_is_run_again(source: Store, target: Store) -> None:
    copy(source, target)
    target.log.change_state(State.FILLING)
    source.log.change_state(State.SEALED, successor=target.address.public)

    certificate = move(source, target)

    assert certificate.equal
    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_finished_move_is_run_again_without_effect(source: Store, target: Store) -> None:
    move(source, target)
    register(target, "three", claim="second")
    before = (kept(target), target.log.heads(), source.log.heads())

    certificate = move(source, target)

    assert certificate.equal
    assert (kept(target), target.log.heads(), source.log.heads()) == before


def test_the_way_back_is_a_move_into_the_sealed_store(source: Store, target: Store) -> None:
    move(source, target)
    register(target, "three", claim="second")

    certificate = move(target, source)

    assert certificate.equal
    assert kept(source) == kept(target)
    assert states(source, target) == [State.OPEN, State.SEALED]
    register(source, "four")
    assert found(source) == {"one", "two", "three", "four"}


@both_ways
def test_a_sealed_store_takes_nothing_from_another_than_its_successor(
    source: Store, target: Store, third: Store, carry: Carry
) -> None:
    copy(source, third)
    move(source, target)
    register(third, "three")
    before = (kept(source), source.log.heads())

    with pytest.raises(Moved):
        carry(third, source)

    assert (kept(source), source.log.heads()) == before
    assert states(target, third) == [State.OPEN, State.OPEN]


def test_a_sealed_store_is_not_copied_into(source: Store, target: Store) -> None:
    move(source, target)
    register(target, "three")
    before = (kept(source), source.log.heads())

    with pytest.raises(Moved):
        copy(target, source)

    assert (kept(source), source.log.heads()) == before
    assert states(target) == [State.OPEN]


# --- what is refused ------------------------------------------------------------------------


@both_ways
def test_a_target_that_went_on_by_itself_is_refused(
    source: Store, target: Store, carry: Carry
) -> None:
    copy(source, target)
    register(target, "three", claim="second")
    before = (kept(source), source.log.heads(), kept(target), target.log.heads())

    with pytest.raises(ForeignTarget, match="goes on to position 3, the source ends at 2"):
        carry(source, target)

    assert (kept(source), source.log.heads(), kept(target), target.log.heads()) == before
    assert states(source, target) == [State.OPEN, State.OPEN]


@both_ways
def test_a_target_that_went_another_way_is_told_as_a_difference(
    source: Store, target: Store, carry: Carry
) -> None:
    copy(source, target)
    register(target, "three")
    register(source, "another three")
    register(source, "four")
    before = (kept(source), source.log.heads(), kept(target), target.log.heads())

    certificate = carry(source, target)

    assert certificate.differences == ["the logs differ from position 3 on"]
    assert (kept(source), source.log.heads(), kept(target), target.log.heads()) == before


@both_ways
@pytest.mark.usefixtures("settings_of_stores")
def test_no_key_goes_to_a_target_that_went_another_way(
    engines: tuple[str, str], new_at: Callable[[str], Store], carry: Carry
) -> None:
    source, target = map(new_at, engines)
    user = {"id": "u", "profile": {"username": "bo", "email": "bo@example.org"}}
    run(source, "user.register", user, command_id="1", actor="ada")
    copy(source, target)
    register(target, "there")
    run(source, "user.erase", {"id": "u"}, command_id="2", actor="ada")
    register(source, "here")
    before = target.log.keys()

    certificate = carry(source, target)

    assert certificate.differences[0] == "the logs differ from position 2 on"
    assert (target.log.keys(), states(target)) == (before, [State.OPEN])


def test_a_target_that_another_fills_further_is_not_opened_without_its_claims(
    source: Store, target: Store
) -> None:
    def begin_another(what: str, done: int, total: int | None) -> None:
        if what == "blobs" or head(source).positions.total > 2:
            return
        if target.log.claims().claims:  # the first one is about to compare and to open
            register(source, "three", claim="third")
            Carrier(source, target).carry(head(source).positions)

    with pytest.raises(ForeignTarget, match="was filled further meanwhile"):
        copy(source, target, begin_another)

    assert states(target) == [State.FILLING]
    assert copy(source, target).equal
    assert target.log.claims().claims == source.log.claims().claims
    assert states(target) == [State.OPEN]


@both_ways
def test_a_target_with_another_history_is_refused(
    source: Store, target: Store, carry: Carry
) -> None:
    register(target, "other")
    before = (kept(source), source.log.heads(), kept(target), target.log.heads())

    with pytest.raises(ForeignTarget, match="holds 1 events of another history"):
        carry(source, target)

    assert (kept(source), source.log.heads(), kept(target), target.log.heads()) == before


def test_a_target_that_takes_a_command_just_before_it_is_closed_is_refused(
    source: Store, target: Store
) -> None:
    with pytest.raises(ForeignTarget, match="took a command at position 1"):
        copy(source, target, once(lambda: register(target, "other")))

    assert states(source, target) == [State.OPEN, State.OPEN]
    assert found(target) == {"other"}
    assert target.log.identity().log_id != source.log.identity().log_id


def test_a_target_is_closed_before_a_move_begins(source: Store, target: Store) -> None:
    with pytest.raises(AssertionError, match="has moved to"):  # commands belong at the source
        move(source, target, once(lambda: register(target, "other")))

    assert states(source, target) == [State.OPEN, State.OPEN]


@both_ways
def test_a_store_that_is_being_filled_is_not_copied(
    source: Store, target: Store, carry: Carry
) -> None:
    source.log.change_state(State.FILLING)
    before = (target.log.heads(), target.log.identity())

    with pytest.raises(Filling):
        carry(source, target)

    assert states(source) == [State.FILLING]
    assert (target.log.heads(), target.log.identity()) == before


@both_ways
def test_a_store_is_not_copied_into_itself(source: Store, carry: Carry) -> None:
    with pytest.raises(Refused, match="is the source itself"):
        carry(source, source)

    assert states(source) == [State.OPEN]


def test_a_store_does_not_move_to_memory(source: Store) -> None:
    with (
        open_store("memory:") as memory,
        pytest.raises(Refused, match="cannot move to memory"),
    ):
        move(source, memory)

    assert states(source) == [State.OPEN]
    register(source, "three")


# --- errors on the way ------------------------------------------------------------------------


def test_a_source_whose_tables_do_not_fit_its_log_stays_open(source: Store, target: Store) -> None:
    refresh(source, "now")
    forge_checkpoint(source)

    with pytest.raises(LogWentBack):
        move(source, target)

    assert states(source) == [State.OPEN]
    assert states(target) != [State.OPEN]
    register(source, "three")


@pytest.mark.parametrize("copied_before", [False, True])
@pytest.mark.parametrize("step", ["copy", "fold"])
def test_a_move_that_breaks_off_behind_the_seal_opens_the_source_again(
    source: Store, target: Store, step: str, copied_before: bool
) -> None:
    if copied_before:
        copy(source, target)

    with pytest.raises(KeyboardInterrupt):
        move(source, target, interrupt_when_sealed(source, step))

    assert states(source) == [State.OPEN]
    register(source, "three")
    assert move(source, target).equal
    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_target_whose_tables_do_not_fit_its_log_opens_the_source_again(
    source: Store, target: Store
) -> None:
    copy(source, target)
    register(source, "three")
    forge_checkpoint(target)

    with pytest.raises(LogWentBack):
        move(source, target)

    assert states(source, target) == [State.OPEN, State.FILLING]
    register(source, "four")


# --- saying it briefly --------------------------------------------------------------------


def test_a_target_that_another_fills_keeps_the_name_of_its_history(
    source: Store, target: Store, third: Store
) -> None:
    register(third, "other")
    late = Carrier(third, target)
    Carrier(source, target).carry(Positions((2,)))

    with pytest.raises(EndsElsewhere):
        late.carry(Positions((1,)))

    assert target.log.identity().log_id == source.log.identity().log_id


# --- what goes on meanwhile ---------------------------------------------------------------


def test_a_source_that_went_back_meanwhile_is_not_moved(
    source: Store, target: Store, third: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = promoted(source, third)
    prepare = cutover._prepare

    def then_fail_over(*given: Any) -> None:
        prepare(*given)
        monkeypatch.setattr(source, "log", replica.log)

    monkeypatch.setattr(cutover, "_prepare", then_fail_over)
    with pytest.raises(BrokenLog, match="went back meanwhile"):
        move(source, target)

    assert states(replica, target)[0] is State.OPEN
    assert states(target) != [State.OPEN]


def test_a_source_that_went_back_meanwhile_is_not_copied(
    source: Store, target: Store, third: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = promoted(source, third)

    def fail_over(*_: object) -> None:
        monkeypatch.setattr(source, "log", replica.log)

    monkeypatch.setattr(Carrier, "check_blobs", fail_over)
    with pytest.raises(BrokenLog, match="went back meanwhile"):
        copy(source, target)

    assert states(target) == [State.FILLING]


def test_a_source_that_went_back_is_not_followed(
    source: Store, target: Store, third: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands = promoted(source, third, ahead=False)

    def fail_over(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("copy", 3):
            monkeypatch.setattr(source, "log", stands.log)

    with pytest.raises(BrokenLog, match="went back meanwhile"):
        cutover.follow(source, target, Event(), fail_over)


@pytest.mark.usefixtures("settings_of_stores")
def test_a_finished_move_that_is_run_again_removes_no_content_that_is_used_since(
    engines: tuple[str, str],
    new_at: Callable[[str], Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = new_at(engines[0])
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "other"))
    target = new_at(engines[1])
    upload_and_erase(source)
    assert move(source, target).equal
    again = put(target, "his", "bo")

    assert move(source, target).equal

    assert target.blobs.head(again)


@both_ways
@pytest.mark.usefixtures("settings_of_stores")
def test_what_is_looked_for_at_a_target_keeps_no_copy_from_it(
    source: Store, target: Store, carry: Carry
) -> None:
    user = {"id": "1", "profile": {"username": "ada", "email": "ada@example.org"}}
    run(source, "user.register", user, command_id="u", actor="x")
    assert find_user(target, email="ada@example.org") is None
    sessions = SessionStore(target)
    assert sessions.get("unknown") is None

    assert carry(source, target).equal

    assert find_user(target, email="ada@example.org")


@pytest.mark.usefixtures("settings_of_stores")
def test_a_finished_move_is_equal_whatever_keys_came_and_went_since(
    source: Store, target: Store
) -> None:
    for id, name in ("1", "ada"), ("2", "bo"):
        user = {"id": id, "profile": {"username": name}}
        run(source, "user.register", user, command_id=id, actor="x")
    move(source, target)
    run(target, "user.register", {"id": "3", "profile": {}}, command_id="3", actor="x")
    erase(target, person.find(target, "bo"), actor="dpo")

    again = move(source, target)

    assert again.equal, again.differences


@pytest.mark.usefixtures("settings_of_stores")
def test_a_copy_leaves_a_content_in_a_place_that_both_share(source: Store, target: Store) -> None:
    upload_and_erase(source)
    again = source.blobs.put([CONTENT]).sha256  # and its event is about to come

    assert copy(source, target).equal

    assert source.blobs.head(again)


@both_ways
@pytest.mark.usefixtures("settings_of_stores")
def test_who_is_erased_goes_from_tables_that_a_target_keeps_for_a_rollback(
    source: Store, target: Store, carry: Carry
) -> None:
    register_ada(source)
    copy(source, target)
    target.rebuilder.rebuild([users])
    assert kept_names(target) == [["ada"], ["ada"]]

    erase(source, person.find(source, "ada"), actor="dpo")
    assert carry(source, target).equal

    assert kept_names(target) == [[], []]


@pytest.mark.usefixtures("settings_of_stores")
def test_who_is_erased_goes_from_them_though_a_copy_is_broken_off_before(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_ada(source)
    copy(source, target)
    target.rebuilder.rebuild([users])
    erase(source, person.find(source, "ada"), actor="dpo")
    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "compare_whole", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            copy(source, target)

    assert copy(source, target).equal

    assert kept_names(target) == [[], []]


def kept_names(store: Store) -> list[list[str]]:
    """Return the names in each generation of the table of users."""
    with store.tables.reading() as connection:
        return [
            list(connection.scalars(sa.select(generation.table.c.username)))
            for generation in store.tables.generations(connection)
            if generation.projection is users
        ]


CONTENT = b"content"


def register_ada(store: Store) -> None:
    user = {"id": "1", "profile": {"username": "ada"}}
    run(store, "user.register", user, command_id="u", actor="x")


def upload_and_erase(store: Store) -> None:
    """Put a content that is of one person alone, and erase her."""
    register_ada(store)
    put(store, "hers", "ada")
    erase(store, person.find(store, "ada"), actor="dpo")


def put(store: Store, id: str, uploader: str) -> str:
    stored = media.put(store, [CONTENT], id=id, mime_type="a/b", uploader=uploader)
    return stored.content_hash


def promoted(source: Store, replica: Store, *, ahead: bool = True) -> Store:
    """Return what is promoted: a copy of `source` before its last event, which may have others."""
    copy(source, replica)
    register(source, "three")
    if ahead:
        for name in "other", "more":
            register(replica, name)
    return replica


def kept(store: Store) -> tuple[Any, ...]:
    log = store.log
    return log.page(0, 0, 1_000), log.seals(0), log.claims()[1], log.identity().log_id


def found(store: Store) -> set[str]:
    return {key for key, _ in search(store, "found").rows}


def once(action: Callable[[], object]) -> Progress:
    """Do `action` when a copy first tells that it began."""
    left = [action]

    def progress(what: str, done: int, total: int | None) -> None:
        if left:
            left.pop()()

    return progress


def interrupt_when_sealed(source: Store, step: str) -> Progress:
    def progress(what: str, done: int, total: int | None) -> None:
        if what == step and states(source) == [State.SEALED]:
            raise KeyboardInterrupt

    return progress


def forge_checkpoint(store: Store) -> None:
    """Make it look as if the tables had been folded from another event."""
    schema = store.address.schema if isinstance(store.address, Postgres) else None
    table = sa.table("checkpoints", sa.column("record_hash"), schema=schema)
    with store.tables.writing() as connection:
        assert connection.execute(table.update().values(record_hash=b"x")).rowcount
