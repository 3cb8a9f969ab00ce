"""Copies, moves, erasures and faults of stores with several partitions."""

from collections.abc import Callable
from hashlib import sha256
from threading import Event, Thread

import pytest

from refold.domain.errors import ForeignTarget, LogWentBack, UnknownType
from refold.domain.ports import Command, NewEvent, State, Write
from refold.domain.positions import Positions
from refold.infrastructure.commands import run
from refold.infrastructure.erasing import person
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.moving import cutover, keeping
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare, verify
from refold.infrastructure.services import media
from refold.infrastructure.services.files import search
from refold.infrastructure.status import status
from refold.infrastructure.store import Store
from refold.projections import files
from refold.tests.contract.query_tables import digests, forge, register
from refold.tests.contract.test_cutover import until
from refold.tests.contract.two_stores import states

SEVERAL = 3
HERS, SHARED = b"hers alone", b"of both"


pytestmark = pytest.mark.usefixtures("settings_of_stores")


@pytest.fixture
def full(engines: tuple[str, str], new_at: Callable[..., Store]) -> Store:
    """A store of three partitions with files in each."""
    store = new_at(engines[0], partitions=SEVERAL)
    fill(store, 0)
    return store


@pytest.fixture
def empty(engines: tuple[str, str], new_at: Callable[..., Store]) -> Store:
    """An empty store of three partitions of the other engine."""
    return new_at(engines[1], partitions=SEVERAL)


def fill(store: Store, first: int) -> None:
    """Register files until there is one more in each partition."""
    before, number = store.advance.head(), first
    while not all(
        now > was for now, was in zip(store.advance.head().each, before.each, strict=True)
    ):
        name = f"{number:064x}"
        run(
            store,
            "file.register",
            {"sha256": name, "cid": "c", "name": f"paper {number}"},
            command_id=name,
            actor="ada",
        )
        number += 1


# --- copies and moves -----------------------------------------------------------------


def test_a_copy_goes_on_with_what_is_new_in_each_partition(full: Store, empty: Store) -> None:
    first = copy(full, empty)
    again = copy(full, empty)
    fill(full, 100)

    second = copy(full, empty)

    assert [each.equal for each in (first, again, second)] == [True] * 3
    assert first.ends == again.ends != second.ends
    assert second.positions == full.advance.head() == empty.advance.head()
    assert compare(full, empty).equal
    assert digests(full) == digests(empty)
    assert keeping.check(empty, first.document()) == keeping.check(empty, second.document()) == []
    assert {table.source is None for table in second.tables} == {False}


def test_a_target_that_went_on_in_one_partition_is_refused(full: Store, empty: Store) -> None:
    copy(full, empty)
    before = empty.advance.head()
    register(empty, "by itself")
    while full.advance.head().total < empty.advance.head().total:  # elsewhere
        register(full, f"other {full.advance.head().total}")
    assert before.total < empty.advance.head().total

    with pytest.raises(ForeignTarget, match="goes on to position 0:"):
        copy(full, empty)

    assert states(full) == [State.OPEN]


def test_a_target_that_differs_in_its_last_partition_is_left_as_it_is(
    full: Store, empty: Store
) -> None:
    copy(full, empty)
    last = next(
        name
        for name in (f"own {number}" for number in range(99))
        if empty.partition(f"file-{name}") == SEVERAL - 1
    )
    register(empty, last)
    there = empty.advance.head()
    while not full.advance.head().covers(there) or full.advance.head() == there:
        fill(full, 100 + full.advance.head().total)

    made = copy(full, empty)

    assert made.differences == [f"the logs differ at position 2:{there[2]} or before"]
    assert empty.advance.head() == there
    assert states(empty) == [State.OPEN]


def test_a_move_carries_what_comes_meanwhile_and_leads_back(full: Store, empty: Store) -> None:
    said = list[tuple[Positions, bool]]()
    following = Thread(target=lambda: said.append(cutover.follow(full, empty, Event())))
    following.start()
    until(lambda: empty.advance.head() == full.advance.head())
    fill(full, 100)

    there = cutover.move(full, empty)
    following.join()
    fill(empty, 200)
    back = cutover.move(empty, full)

    assert (there.equal, back.equal) == (True, True)
    assert said == [(there.positions, True)]
    assert back.positions == full.advance.head()
    assert states(full, empty) == [State.OPEN, State.SEALED]
    assert {head.state for head in empty.log.heads()} == {State.SEALED}
    assert verify(full).ok


def test_a_row_of_the_last_partition_that_differs_is_found(full: Store, empty: Store) -> None:
    last = full.log.page(SEVERAL - 1, 0, 1)[0].stream.removeprefix("file-")
    copy(full, empty)
    forge(empty, "file_counts_1", ("sha256", last), moderation_votes=7)

    assert copy(full, empty).differences == ["table file_counts differs"]


# --- tables that cannot go on -----------------------------------------------------------


def test_an_event_that_cannot_be_read_stops_its_tables_in_its_partition(full: Store) -> None:
    full.folder.catch_up()
    before = full.advance.head()
    append_unknown(full)
    fill(full, 100)
    [home] = {full.partition("file-odd")}
    reached = full.advance.head().with_one(home, before[home])

    for _ in range(2):
        with pytest.raises(UnknownType):
            search(full, "paper")

    found = {each.name: each for each in status(full).projections}
    assert (found["files"].state, found["sessions"].state) == ("stopped", "current")
    assert found["files"].positions == reached
    assert found["files"].lag == full.advance.head()[home] - before[home]


def test_no_reader_sees_a_table_go_back_that_is_rolled_back(full: Store) -> None:
    full.folder.catch_up()
    full.rebuilder.rebuild([files])
    before = full.advance.head()
    append_unknown(full)
    fill(full, 100)
    with pytest.raises(UnknownType):
        search(full, "paper")
    [stood] = [each.positions for each in status(full).projections if each.name == "files"]

    full.rebuilder.roll_back([files])

    [stands] = [each.positions for each in status(full).projections if each.name == "files"]
    assert stands == stood != before


def append_unknown(store: Store) -> None:
    write = Write("file-odd", 0, (NewEvent("file.unheard_of", 1, b"{}", b'{"actor":"x"}'),))
    store.log.append([Command("odd", (write,))])


def test_a_log_that_went_back_in_one_partition_is_refused(
    full: Store, engines: tuple[str, str], new_at: Callable[..., Store]
) -> None:
    full.folder.catch_up()
    earlier = full.tables
    other = new_at(engines[0], partitions=SEVERAL)
    fill(other, 50)

    other.tables, mine = earlier, other.tables
    try:
        with pytest.raises(LogWentBack):
            other.folder.catch_up()
    finally:
        other.tables = mine


# --- erasure ------------------------------------------------------------------------------


def test_contents_go_with_who_used_them_alone_wherever_their_uploads_are(full: Store) -> None:
    register_user(full, "1", "ada")
    for number in range(6):  # in all partitions
        put(full, f"a{number}", HERS, "ada")
    put(full, "shared", SHARED, "ada")
    put(full, "other", SHARED, "bo")

    made = erase(full, person.find(full, "ada"), actor="dpo")
    again = put(full, "again", HERS, "bo")

    assert made.blobs_removed == 1
    assert full.blobs.head(sha256(SHARED).hexdigest())
    assert full.blobs.head(again)
    assert verify(full).ok


def test_a_copy_follows_an_erasure_of_contents(full: Store, empty: Store) -> None:
    register_user(full, "1", "ada")
    hers = put(full, "a", HERS, "ada")
    assert copy(full, empty).equal

    erase(full, person.find(full, "ada"), actor="dpo")
    made = copy(full, empty)

    assert made.equal, made.differences
    assert made.blobs.document()["count"] == 0
    assert empty.blobs.head(hers) is None


def register_user(store: Store, id: str, name: str) -> None:
    profile = {"username": name}
    run(store, "user.register", {"id": id, "profile": profile}, command_id=f"u{id}", actor="x")


def put(store: Store, id: str, content: bytes, uploader: str) -> str:
    stored = media.put(store, [content], id=id, mime_type="a/b", uploader=uploader)
    return stored.content_hash
