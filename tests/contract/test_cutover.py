"""A move in steps: a target that follows its source, the cutover, calling it off, the way back."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time_ns
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from refold.domain import times
from refold.domain.errors import ForeignTarget, Moved, Refused
from refold.domain.ports import State
from refold.domain.positions import Positions
from refold.infrastructure import commands
from refold.infrastructure.address import Postgres
from refold.infrastructure.commands import run
from refold.infrastructure.moving import cutover, verifying
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.heads import head
from refold.infrastructure.open import open_store
from refold.infrastructure.patience import Passing
from refold.infrastructure.services import attachments, media
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import at, digests, forge, found, refresh, register, vote
from refold.tests.contract.two_stores import states


@pytest.fixture(autouse=True)
def password(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that stores tell have no password: a client that goes along has it from here."""
    monkeypatch.setenv("PGPASSWORD", urlsplit(shared_database).password or "")
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)


def test_a_follower_carries_what_is_appended_until_it_is_stopped(
    source: Store, target: Store
) -> None:
    stopped, said = Event(), list[tuple[Positions, bool]]()
    following = Thread(target=lambda: said.append(cutover.follow(source, target, stopped)))
    following.start()
    register(source, "three")

    until(lambda: head(target).positions == at(3))
    stopped.set()
    following.join()

    assert said == [(at(3), False)]
    assert states(source, target) == [State.OPEN, State.FILLING]


def test_a_cutover_ends_what_a_follower_began(source: Store, target: Store) -> None:
    said = list[tuple[Positions, bool]]()
    following = Thread(target=lambda: said.append(cutover.follow(source, target, Event())))
    following.start()
    until(lambda: head(target).positions == at(2))

    certificate = cutover.move(source, target)
    following.join()
    register(target, "four")

    assert certificate.equal
    assert certificate.pause is not None
    assert said == [(at(2), True)]
    assert states(source, target) == [State.SEALED, State.OPEN]
    assert found(target, "now") == {"one found.pdf", "two found.pdf", "four"}


def test_a_follower_never_closes_a_target_that_was_opened(source: Store, target: Store) -> None:
    carrier = Carrier(source, target)
    carrier.close(head(carrier.target))
    carrier.carry(at(2))
    target.log.change_state(State.OPEN)
    register(source, "three")

    with pytest.raises(ForeignTarget, match="was opened meanwhile"):
        carrier.carry(at(3))

    assert states(target) == [State.OPEN]


def test_rows_that_change_while_a_move_compares_are_compared_one_by_one(
    source: Store, target: Store
) -> None:
    vote(source, voters=3)
    late = [True]

    def progress(what: str, done: int, total: int | None) -> None:
        if what == "fold" and late:
            late.pop()
            register(source, "late")

    certificate = cutover.move(source, target, progress)

    assert certificate.equal
    assert (certificate.tables_at, certificate.positions) == (at(10), at(11))
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
    refresh(source, "now")
    compare = Comparison.compare_touched

    def forged(self: Comparison) -> None:
        assert states(source) == [State.SEALED]
        forge(target, "file_counts_1", ("sha256", "one"), moderation_votes=7)
        compare(self)

    def progress(what: str, done: int, total: int | None) -> None:
        if what == "fold" and head(source).positions == at(2):
            ban(source, "late", "one")

    monkeypatch.setattr(Comparison, "compare_touched", forged)
    certificate = cutover.move(source, target, progress)

    assert certificate.differences == ["table file_counts differs"]
    assert states(source, target) == [State.OPEN, State.SEALED]
    assert head(target).successor == source.address.public


def test_a_move_goes_on_where_another_was_called_off(source: Store, target: Store) -> None:
    prepare(source, target)
    cutover.abort(source, target)
    register(source, "three")

    called_off = states(source, target)
    certificate = cutover.move(source, target)

    assert called_off == [State.OPEN, State.SEALED]
    assert (certificate.equal, certificate.positions) == (True, at(3))
    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_cutover_that_was_called_off_meanwhile_opens_nothing(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Carrier.finish

    def called_off(self: Carrier) -> None:
        cutover.abort(source, target)
        register(source, "three")
        finish(self)

    monkeypatch.setattr(Carrier, "finish", called_off)
    with pytest.raises(Moved):
        cutover.move(source, target)

    assert states(source, target) == [State.OPEN, State.SEALED]
    assert head(source).positions == at(3)


@pytest.mark.parametrize("copied_before", [False, True])
def test_an_interrupt_behind_the_opening_leaves_the_target_open_alone(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch, copied_before: bool
) -> None:
    if copied_before:
        copy(source, target)
    finish = Carrier.finish

    def interrupted(self: Carrier) -> None:
        finish(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Carrier, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cutover.move(source, target)

    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_target_that_was_copied_before_takes_no_commands_during_a_move(
    source: Store, target: Store
) -> None:
    copy(source, target)
    seen = set[State]()

    cutover.move(source, target, lambda *_: seen.update(states(target)))

    assert seen == {State.FILLING}


def test_the_way_back_needs_no_new_event(source: Store, target: Store) -> None:
    cutover.move(source, target)

    certificate = cutover.move(target, source)

    assert certificate.equal
    assert states(source, target) == [State.OPEN, State.SEALED]


def test_a_move_that_is_certified_again_tells_the_keys_at_its_source_again(
    source: Store, target: Store, third: Store
) -> None:
    add_user(source, "ada")
    first = cutover.move(source, target)

    again = cutover.move(source, target)

    assert again.equal
    assert first.keys_left == again.keys_left > 0
    assert copy(target, third).keys_left == 0


def test_a_target_that_has_moved_on_is_not_passed_over(
    source: Store, target: Store, third: Store
) -> None:
    cutover.move(source, target)
    register(target, "three")
    cutover.move(target, third)

    with pytest.raises(Refused, match="has taken over"):
        cutover.abort(source, target)

    assert states(source, target, third) == [State.SEALED, State.SEALED, State.OPEN]


def test_a_user_who_comes_during_a_move_is_no_difference(source: Store, target: Store) -> None:
    add_user(source, "first")
    late = [True]

    def progress(what: str, done: int, total: int | None) -> None:
        if what == "fold" and late:
            late.pop()
            add_user(source, "late")

    certificate = cutover.move(source, target, progress)
    document = certificate.document()

    assert certificate.equal
    assert digests(source) == digests(target)
    assert document["keys_left_at_source"] == len(source.log.keys()) > 0
    ids = [store.log.identity().store_id for store in (source, target)]
    assert [document["source_id"], document["target_id"]] == ids
    assert times.micros(document["made_at"]) <= time_ns() // 1_000


def test_follower_cutover_and_writers_get_along(source: Store, target: Store) -> None:
    stopped, done = Event(), list[int]()

    def write() -> None:
        while not stopped.is_set():
            register(source, f"late{len(done)}")
            done.append(1)

    with ThreadPoolExecutor(2) as threads:
        following = threads.submit(cutover.follow, source, target, stopped)
        writing = threads.submit(write)
        try:
            until(lambda: head(target).positions.total > 20)
            certificate = cutover.move(source, target)
            writing.exception(20)  # it was told that the store has moved
            said = following.result(20)
        finally:
            stopped.set()

    assert certificate.equal
    assert certificate.positions == at(2 + len(done)) == head(target).positions
    assert said == (certificate.positions, True)


def test_what_was_not_begun_or_is_over_is_not_called_off(source: Store, target: Store) -> None:
    with pytest.raises(Refused, match="is not sealed for a move"):
        cutover.abort(source, target)
    cutover.move(source, target)

    with pytest.raises(Refused, match="has taken over"):
        cutover.abort(source, target)

    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_copy_that_began_before_a_cutover_does_not_open_the_target(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Carrier.finish

    def late(self: Carrier) -> None:
        Carrier(source, target).close(head(target))  # a move begins
        finish(self)

    monkeypatch.setattr(Carrier, "finish", late)
    with pytest.raises(Moved):
        copy(source, target)
    monkeypatch.setattr(Carrier, "finish", finish)
    before = states(source, target)
    register(source, "three")
    certificate = cutover.move(source, target)

    assert before == [State.OPEN, State.FILLING]
    assert (certificate.equal, certificate.positions) == (True, at(3))


def test_a_target_that_took_a_command_since_it_was_looked_at_is_not_closed(
    source: Store, target: Store
) -> None:
    copy(source, target)
    before = head(target)
    register(target, "three")

    with pytest.raises(ForeignTarget, match="took a command at position 3"):
        Carrier(source, target).close(before)

    assert states(source, target) == [State.OPEN, State.OPEN]


def test_a_target_that_was_opened_since_it_was_looked_at_is_not_closed(
    source: Store, target: Store
) -> None:
    Carrier(source, target).close(head(target))
    before = head(target)
    cutover.move(source, target)

    with pytest.raises(Refused, match="this store is open"):
        Carrier(source, target).close(before)

    assert states(source, target) == [State.SEALED, State.OPEN]


def test_a_target_that_has_taken_over_and_was_closed_again_is_opened(
    source: Store, target: Store
) -> None:
    cutover.move(source, target)
    register(target, "three")
    Carrier(source, target).close(head(target))  # and then it was killed

    with pytest.raises(Refused, match="has taken over"):
        cutover.abort(source, target)

    assert states(source, target) == [State.SEALED, State.OPEN]


def test_claims_of_another_position_open_no_target(source: Store, target: Store) -> None:
    carrier = Carrier(source, target)
    carrier.close(head(target))
    carrier.carry(at(2))
    carrier.carry_claims([], [], at(1))

    with pytest.raises(ForeignTarget, match="was filled further"):
        carrier.finish()

    assert states(source, target) == [State.OPEN, State.FILLING]


def test_a_target_that_a_move_is_filling_is_no_other_ones(
    source: Store, target: Store, third: Store
) -> None:
    Carrier(source, target).close(head(target))

    with pytest.raises(Refused, match="is being filled by a move from"):
        cutover.move(third, target)
    with pytest.raises(Refused, match="is being filled by a move from"):
        copy(source, target)

    assert states(source, target, third) == [State.OPEN, State.FILLING, State.OPEN]


def test_a_move_that_is_given_up_leaves_an_empty_target_to_others(
    source: Store, target: Store, third: Store
) -> None:
    Carrier(source, target).close(head(target))

    cutover.abort(source, target)

    assert copy(third, target).equal
    assert states(source, target) == [State.OPEN, State.OPEN]


def test_a_way_back_that_is_given_up_still_says_where_services_go(
    source: Store, target: Store
) -> None:
    cutover.move(source, target)
    Carrier(target, source).close(head(source))

    cutover.abort(target, source)

    with pytest.raises(Moved) as refusal:
        ban(source, "b", "one")
    assert refusal.value.successor == target.address.public
    assert cutover.move(target, source).equal


def test_a_source_whose_target_is_lost_is_opened_by_name(source: Store, target: Store) -> None:
    prepare(source, target)

    with pytest.raises(Refused, match="is not sealed for a move to sqlite:///other"):
        cutover.reopen(source, "sqlite:///other.db")
    cutover.reopen(source, target.address.public)

    assert states(source) == [State.OPEN]


def prepare(source: Store, target: Store) -> None:
    """Leave both as a move does that is killed right behind the seal."""
    carrier = Carrier(source, target)
    carrier.close(head(carrier.target))
    carrier.carry(head(source).positions)
    source.log.change_state(State.SEALED, successor=target.address.public)


def add_user(store: Store, name: str) -> None:
    fields = {"id": name, "profile": {"username": name, "email": f"{name}@example.com"}}
    run(store, "user.register", fields, command_id=name, actor="ada")


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
    assert head(source).positions == at(5)


def test_a_client_goes_along_under_its_own_name(
    new_at: Callable[[str], Store], shared_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, password = f"svc {secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    source, target = new_at("sqlite"), new_at("postgres")
    register(source, "one")
    monkeypatch.setenv("REFOLD_USER", name)
    with psycopg.connect(shared_database, autocommit=True) as server:
        create = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}")
        server.execute(create.format(role, sql.Literal(password)))
        try:
            with open_store(source.address.public, follow_moves=True) as client:
                cutover.move(source, target)
                monkeypatch.setenv("PGPASSWORD", password)
                for id in "first", "second":
                    ban(client, id, "one", 9 if id == "first" else 3)
                there = client.address
        finally:
            server.execute(sql.SQL("DROP ROLE {}").format(role))

    assert isinstance(there, Postgres)
    assert there.user == name.replace(" ", "%20")
    assert head(target).positions == at(3)


def test_a_client_waits_while_its_store_is_on_its_way(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(source, target)
    with open_store(source.address.public, follow_moves=True) as client:
        with pytest.raises(Passing):
            client.follow(target.address.public)
        asking = Thread(target=lambda: ban(client, "first", "one"))
        asking.start()
        sleep(0.1)
        cutover.abort(source, target)  # the move is called off: the command goes in here
        asking.join()

    assert client.address.public == source.address.public
    assert (head(source).positions, head(target).positions) == (at(3), at(2))


def test_a_client_of_a_store_that_is_filled_on_the_way_back_goes_to_where_it_is(
    source: Store, target: Store
) -> None:
    with open_store(source.address.public, follow_moves=True) as idle:
        cutover.move(source, target)
        Carrier(target, source).close(head(source))

        ban(idle, "first", "one")

    assert idle.address.public == target.address.public
    assert (head(source).positions, head(target).positions) == (at(2), at(3))


def test_uploads_and_attachments_go_along_with_their_bytes(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / name / 'chat.db'}" for name in ("here", "there")]
    for name in "here", "there":
        (tmp_path / name).mkdir()
    with (
        open_store(urls[0], create=True) as here,
        open_store(urls[1], create=True) as there,
        open_store(urls[0], follow_moves=True) as uploading,
        open_store(urls[0], follow_moves=True) as attaching,
        open_store(urls[0], follow_moves=True) as posting,
    ):
        attach(here, "a1", b"old")
        cutover.move(here, there)

        put = media.put(uploading, [b"new"], id="m", mime_type="image/png", uploader="ada")
        attached = attach(attaching, "a2", b"newer")
        done = attachments.attach_all(posting, ["a1"], "hi", "ada", command_id="1", actor="ada")

        assert attached
        assert done.outcome == "appended"
        contents = [b"".join(there.blobs.get(each.content_hash)) for each in (put, attached)]
        assert contents == [b"new", b"newer"]
        assert [each.attachment_id for each in attachments.list_of_message(there, "hi")] == ["a1"]


def test_a_command_that_was_decided_before_a_move_takes_its_contents_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("here", "there")]
    for url in urls:
        open_store(url, create=True).close()
    moved = list[bool]()

    def move_meanwhile(step: str) -> None:
        if step == "command: decided" and not moved:
            with open_store(urls[0]) as here, open_store(urls[1]) as there:
                moved.append(cutover.move(here, there).equal)
            going_along = Thread(target=lambda: ban(client, "elsewhere", "one"))
            going_along.start()
            going_along.join()

    monkeypatch.setattr(commands, "reach", move_meanwhile)
    document = {"id": "a__b", "steps": [{"content": "x" * 9_000}]}
    with open_store(urls[0], follow_moves=True) as client:
        register(client, "one")
        moved.clear()
        done = run(client, "push.record", {"document": document}, command_id="p", actor="ada")
        report = verifying.verify(client)

    assert (moved, done.outcome, report.ok) == ([True], "appended", True)
    assert report.blobs.count == 1


def attach(store: Store, id: str, content: bytes) -> attachments.Attachment | None:
    return attachments.create(
        store,
        [content],
        id=id,
        channel="general",
        uploader="ada",
        filename="a.png",
        mime_type="image/png",
    )


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
