"""Tables are built beside the live ones, compared with them row by row, switched, and put back."""

from collections.abc import Callable
from threading import Event as Flag
from threading import Thread
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from refold.domain import file, tag_vote
from refold.domain.errors import LogWentBack, StaleProjection, Unavailable
from refold.domain.ports import Event
from refold.infrastructure import patience
from refold.infrastructure.folding.difference import Change
from refold.infrastructure.folding.generations import BUILDING, PREVIOUS, REHEARSING
from refold.infrastructure.folding.rebuilding import NoSuchGeneration, Rebuilder
from refold.infrastructure.folding.rehearsing import rehearse
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import search
from refold.infrastructure.store import Store
from refold.projections import catalog, file_counts, file_tags, files, tag_votes
from refold.tests.contract.query_tables import (
    append,
    at,
    beside,
    checkpoint,
    digests,
    forge,
    found,
    generations,
    query,
    refolded,
    refresh,
    register,
    schema,
    view,
    vote,
)
from refold.tests.contract.test_parking import append_raw


@pytest.fixture
def other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another version of `files` spell all names in capitals."""
    right = files.apply

    def apply(key: tuple[str], row: Any, event: Event) -> Any:
        after: Any = right(key, row, event)
        return after._replace(name=after.name.upper()) if after else after

    monkeypatch.setattr(files, "apply", apply)
    monkeypatch.setattr(files, "VERSION", 99)


# --- differences ------------------------------------------------------------------------


def test_every_row_that_differs_is_counted_and_some_are_shown(store: Store) -> None:
    vote(store, voters=4)
    for name in ("two", "three", "four"):
        register(store, name)
    refresh(store, "now")
    forge(store, "files_1", ("key", "two"), name="forged", cid="forged")
    forge(store, "files_1", ("key", "three"), name="forged")
    with store.tables.writing() as connection:
        table = sa.table("files_1", sa.column("key"), schema=schema(store))
        connection.execute(table.delete().where(table.c.key == "four"))
    forge(store, "tag_votes_1", ("voter", "0"), voter="nobody")

    shadows = store.rebuilder.fill([files, tag_votes])
    of_files, of_votes = store.rebuilder.compare(shadows, samples=1)

    assert (of_files.name, of_files.positions, of_files.rows) == ("files", at(13), 4)
    assert of_files.difference
    assert of_files.difference.cells == {"name": 2, "cid": 1}
    counts = of_files.difference
    assert (counts.added, counts.removed, counts.changed) == (1, 0, 2)
    added, changed = counts.samples
    assert (added.key, added.before, (added.after or {})["name"]) == (("four",), None, "four")
    assert changed == Change(("three",), {"name": "forged"}, {"name": "three"})
    assert of_votes.difference
    assert (of_votes.difference.added, of_votes.difference.removed) == (1, 1)
    assert [(each.key[2], each.before is None) for each in of_votes.difference.samples] == [
        ("0", True),
        ("nobody", False),
    ]


def test_a_column_that_is_null_on_one_side_differs(store: Store) -> None:
    append(store, "file-one", file.Registered("one", "cid", "one", "pdf"))
    refresh(store, "now")
    forge(store, "files_1", ("key", "one"), type="")

    [compared] = store.rebuilder.compare(store.rebuilder.fill([files]))

    assert compared.difference
    assert compared.difference.cells == {"type": 1}


def test_what_happens_during_a_comparison_is_no_difference(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, "one")
    refresh(store, "now")
    shadows = store.rebuilder.fill([files])
    register(store, "two")
    level, late = type(store.rebuilder)._level, list[int]()

    def disturbed(self: Any, *args: Any, **options: Any) -> None:
        level(self, *args, **options)
        late.append(register(store, f"late{len(late)}") if len(late) < 3 else 0)

    monkeypatch.setattr(type(store.rebuilder), "_level", disturbed)
    [compared] = store.rebuilder.compare(shadows)

    assert compared.is_equal
    assert compared.positions.total >= 2


def test_a_folder_that_goes_on_before_the_snapshot_makes_it_compare_again(
    new_kept_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_kept_url()
    with open_store(url, create=True) as store, open_store(url) as other:
        register(store, "one")
        refresh(store, "now")
        shadows = store.rebuilder.fill([files])
        reading, left = store.tables.reading, [2]

        def behind() -> Any:
            if left[0]:
                left[0] -= 1
                register(other, f"late{left[0]}")
                refresh(other, "now")
            return reading()

        monkeypatch.setattr(type(store.tables), "reading", lambda _: behind())
        [compared] = store.rebuilder.compare(shadows)

    assert left == [0]
    assert (compared.is_equal, compared.positions) == (True, at(3))


# --- switching --------------------------------------------------------------------------


def test_a_new_version_is_compared_where_the_old_one_stands(
    store: Store, request: pytest.FixtureRequest
) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    request.getfixturevalue("other_files")

    shadows = store.rebuilder.fill([files])
    [compared] = store.rebuilder.compare(shadows, samples=1)
    before = [row[3] for row in view(store, "files")]
    with pytest.raises(StaleProjection):
        refresh(store, "now")
    store.rebuilder.switch(shadows)
    refresh(store, "now")

    assert (compared.positions, before) == (at(1), ["one"])
    assert compared.difference
    assert compared.difference.samples == [Change(("one",), {"name": "one"}, {"name": "ONE"})]
    assert [row[3] for row in view(store, "files")] == ["ONE", "TWO"]
    assert generations(store, "files") == {1: PREVIOUS, 2: "current"}


def test_a_switch_never_lets_a_table_go_back(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    shadows = store.rebuilder.fill([files])
    register(store, "two")
    refresh(store, "now")

    store.rebuilder.switch(shadows)

    assert checkpoint(store, "files") == 2
    assert found(store, None) == {"one", "two"}


def test_what_is_kept_beside_goes_on_with_the_next_rebuild(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    store.rebuilder.fill([files])
    beside_it = generations(store, "files")
    register(store, "two")

    [compared] = store.rebuilder.rebuild([files])

    assert beside_it == {1: "current", 2: BUILDING}
    assert (compared.generation, compared.rows, compared.is_equal) == (2, 2, True)


# --- going back -------------------------------------------------------------------------


def test_a_rollback_puts_the_tables_before_in_place_and_folds_them_on(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    store.rebuilder.rebuild([files, file_tags])
    register(store, "two")
    refresh(store, "now")

    back = store.rebuilder.roll_back([files])
    after_it = found(store, None)
    register(store, "three")

    assert [(each.projection.NAME, each.number) for each in back] == [("files", 1)]
    assert generations(store, "files") == {1: "current", 2: PREVIOUS}
    assert generations(store, "file_tags") == {1: PREVIOUS, 2: "current"}
    assert after_it == {"one", "two"}
    assert found(store, "now") == {"one", "two", "three"}
    assert digests(store) == refolded(store)


def test_a_rollback_can_be_taken_back(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    store.rebuilder.rebuild([files])

    store.rebuilder.roll_back([files])
    store.rebuilder.roll_back([files])

    assert generations(store, "files") == {1: PREVIOUS, 2: "current"}
    assert found(store, "now") == {"one"}


def test_a_rollback_to_another_version_brings_its_rows_back_unfolded(
    store: Store, request: pytest.FixtureRequest
) -> None:
    register(store, "one")
    refresh(store, "now")
    before = files.VERSION
    request.getfixturevalue("other_files")
    store.rebuilder.rebuild([files])
    register(store, "two")

    [back] = store.rebuilder.roll_back([files])

    assert (back.version, back.is_of_this_version) == (before, False)
    assert [row[3] for row in view(store, "files")] == ["one"]
    with pytest.raises(StaleProjection):
        refresh(store, "now", files)


def test_there_may_be_nothing_to_go_back_to(store: Store) -> None:
    refresh(store, "now")

    with pytest.raises(NoSuchGeneration, match="no previous generation of table files"):
        store.rebuilder.roll_back([files])


def test_a_previous_table_of_another_log_stays_where_it_is(
    new_store: Callable[[], Store],
) -> None:
    store, other = new_store(), new_store()
    register(store, "one")
    refresh(store, "now")
    register(other, "other")
    both = beside(other, store)
    both.rebuilder.rebuild(catalog.ALL)

    with pytest.raises(LogWentBack):
        both.rebuilder.roll_back([files])

    assert generations(store, "files") == {1: PREVIOUS, 2: "current"}


def test_old_tables_are_dropped_when_that_is_asked_for(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    store.rebuilder.rebuild([files, file_tags])

    dropped = store.rebuilder.drop([files], PREVIOUS)

    assert [(each.projection.NAME, each.number) for each in dropped] == [("files", 1)]
    assert generations(store, "files") == {2: "current"}
    assert generations(store, "file_tags") == {1: PREVIOUS, 2: "current"}


# --- two at once ------------------------------------------------------------------------


def test_a_new_table_that_another_rebuild_has_switched_is_not_switched_again(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    first = store.rebuilder.fill([files])
    second = store.rebuilder.fill([files])

    store.rebuilder.switch(second)
    with pytest.raises(NoSuchGeneration, match="another rebuild has switched to generation"):
        store.rebuilder.compare(first)
    with pytest.raises(NoSuchGeneration):
        store.rebuilder.switch(first)

    assert [each.number for each in (*first, *second)] == [2, 2]
    assert generations(store, "files") == {1: PREVIOUS, 2: "current"}


def test_a_new_table_that_was_dropped_is_not_mistaken_for_one_begun_anew(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    first = store.rebuilder.fill([files])
    store.rebuilder.drop([files], BUILDING)
    second = store.rebuilder.fill([files])

    with pytest.raises(NoSuchGeneration):
        store.rebuilder.switch(first)

    assert [each.number for each in (*first, *second)] == [2, 3]
    assert generations(store, "files") == {1: "current", 3: BUILDING}


def test_a_new_table_that_is_not_whole_is_neither_compared_nor_switched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store.tables.rows), "events_a_part", 2)
    vote(store, voters=4)
    refresh(store, "now")
    saved = list[int]()

    def one(what: str, done: int, total: int | None) -> None:
        if what == "fold" and done:
            saved.append(done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.rebuilder.fill([tag_votes], progress=one)
    with store.tables.reading() as connection:
        half = [g for g in store.tables.generations(connection) if g.state == BUILDING]
    with pytest.raises(NoSuchGeneration):
        store.rebuilder.compare(half)
    with pytest.raises(NoSuchGeneration):
        store.rebuilder.switch(half)

    assert saved == [1]
    assert store.rebuilder.rebuild([tag_votes])[0].is_equal


def test_a_reader_that_holds_a_table_keeps_nobody_from_folding(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SECONDS", 1.0)
    with open_store(postgres_url, create=True) as store, psycopg.connect(postgres_url) as analyst:
        register(store, "one")
        refresh(store, "now")
        shadows = store.rebuilder.fill([files])
        analyst.execute("SELECT count(*) FROM refold.files")
        switching = Thread(target=lambda: failed.append(refusal_of(store, shadows)))
        failed = list[str]()
        switching.start()
        register(store, "two")
        seen = found(store, "now")
        switching.join()
        analyst.rollback()
        store.rebuilder.switch(shadows)

        assert seen == found(store, "now") == {"one", "two"}
        assert "readers hold the tables" in failed[0]
        assert failed[0].endswith(f"(processes of the server: {analyst.info.backend_pid})")


def refusal_of(store: Store, shadows: Any) -> str:
    with pytest.raises(Unavailable) as refused:
        store.rebuilder.switch(shadows)
    return str(refused.value)


# --- readers ----------------------------------------------------------------------------


def test_readers_see_whole_tables_through_twenty_switches(new_kept_url: Callable[[], str]) -> None:
    url, stop, errors, reads = new_kept_url(), Flag(), [], []
    with open_store(url, create=True) as store:
        vote(store, voters=50)
        refresh(store, "now")

        def read() -> None:
            with open_store(url) as own:
                while not stop.is_set():
                    try:
                        seen = query(
                            own,
                            "SELECT (SELECT count(*) FROM {}tag_votes),"
                            " (SELECT tag_count FROM {}file_tags)",
                        )
                    except Exception as error:
                        errors.append(error)
                        return
                    reads.append(seen)

        readers = [Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for _ in range(20):
            store.rebuilder.rebuild([tag_votes, file_tags])
        stop.set()
        for reader in readers:
            reader.join()
        last = max(generations(store, "tag_votes"))

    assert errors == []
    assert last == 21
    assert len(reads) > 20
    assert set(map(str, reads)) == {str([(50, 50)])}


def test_searches_find_whole_tables_through_switches(new_kept_url: Callable[[], str]) -> None:
    url, stop, told = new_kept_url(), Flag(), list[object]()
    with open_store(url, create=True) as store:
        for number in range(20):
            register(store, f"{number}")
        refresh(store, "now")

        def look() -> None:
            with open_store(url) as own:
                while not stop.is_set():
                    try:
                        told.append(search(own, "pdf", after=None, limit=3).total)
                    except Unavailable as error:
                        told.append(str(error))

        searching = [Thread(target=look) for _ in range(3)]
        for each in searching:
            each.start()
        for _ in range(8):
            store.rebuilder.rebuild([files])
        stop.set()
        for each in searching:
            each.join()

    assert 20 in told
    assert set(told) <= {20, "the tables were replaced while they were read"}


# --- rehearsing -------------------------------------------------------------------------


def test_a_rehearsal_tells_what_would_change_and_changes_nothing(
    store: Store, request: pytest.FixtureRequest
) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    before = generations(store, "files"), view(store, "files"), checkpoint(store, "files")
    same = rehearse(store.advance, [file_counts], samples=1)
    counted = checkpoint(store, "file_counts")
    request.getfixturevalue("other_files")

    rehearsed = rehearse(store.advance, [files, file_tags], samples=1)

    assert same.changes_nothing
    assert counted == 1  # where it stood
    assert not rehearsed.changes_nothing
    assert [(each.name, each.is_equal) for each in rehearsed.compared] == [
        ("file_tags", True),
        ("files", False),
    ]
    after = generations(store, "files"), view(store, "files"), checkpoint(store, "files")
    assert before == after


def test_a_rehearsal_lists_every_event_that_cannot_be_read(store: Store) -> None:
    register(store, "one")
    first = append_raw(store, "file-one", "file.from_the_future", b"{}")
    append(store, "file-one/tag_vote/t/ada", tag_vote.Cast("t", "ada", 1, 1))
    second = append_raw(store, "file-one", "file.changed", b'{"name":1}')
    refresh(store, "now", tag_votes)

    rehearsed = rehearse(store.advance, [files, tag_votes])

    assert [record.position for record, _ in rehearsed.unreadable] == [first, second]
    assert rehearsed.unfoldable == ["files"]
    assert [(each.name, each.is_equal) for each in rehearsed.compared] == [("tag_votes", True)]
    assert not rehearsed.changes_nothing


def test_a_rehearsal_leaves_a_table_that_is_kept_beside(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    store.rebuilder.fill([files])

    rehearse(store.advance, [files, file_tags])

    assert generations(store, "files") == {1: "current", 2: BUILDING}
    assert generations(store, "file_tags") == {1: "current"}


def test_a_rehearsal_beside_a_table_that_is_kept_and_ahead_compares_where_the_live_one_stands(
    store: Store,
) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    shadows = store.rebuilder.fill([files], until=at(2))

    rehearsed = rehearse(store.advance, [files])
    [compared] = store.rebuilder.compare(shadows)

    assert [(each.positions, each.is_equal) for each in rehearsed.compared] == [(at(1), True)]
    assert (compared.generation, compared.positions, compared.is_equal) == (2, at(2), True)
    assert generations(store, "files") == {1: "current", 2: BUILDING}


def test_a_rebuild_that_begins_during_a_rehearsal_keeps_what_it_makes(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    shadows: list[Any] = []

    def begin(*_: Any) -> None:
        if not shadows:
            shadows.extend(store.rebuilder.fill([files]))

    rehearsed = rehearse(store.advance, [files], progress=begin)
    [compared] = store.rebuilder.compare(shadows)

    assert rehearsed.changes_nothing
    assert compared.is_equal
    assert generations(store, "files") == {1: "current", 2: BUILDING}


def test_a_rehearsal_that_another_replaced_removes_nothing_of_that(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    rehearsing = Rebuilder(store.advance, REHEARSING)
    first, second = rehearsing.fill([files]), rehearsing.fill([files])

    rehearsing.remove(first)

    [compared] = rehearsing.compare(second, folds_live=False)
    assert compared.is_equal


def test_what_a_broken_off_rehearsal_left_is_gone_with_the_next_one(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    Rebuilder(store.advance, REHEARSING).fill([files])

    store.rebuilder.rebuild([file_tags])
    left = generations(store, "files")
    rehearsed = rehearse(store.advance, [files])

    assert left == {1: "current", 2: REHEARSING}
    assert rehearsed.changes_nothing
    assert generations(store, "files") == {1: "current"}
