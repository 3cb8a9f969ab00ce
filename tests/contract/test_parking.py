"""A fold that fails stops its own row and says so; nothing is skipped, nobody else waits."""

from collections.abc import Callable
from time import time_ns
from typing import Any

import pytest

from refold.domain import file, removal_vote, tag_vote, times
from refold.domain.errors import KeyParked, StaleProjection, Undecodable, Unfoldable, UnknownType
from refold.domain.ports import Appended, Command, Event, NewEvent, Write
from refold.infrastructure.folding import pages
from refold.infrastructure.folding import parked as parked_rows
from refold.infrastructure.folding.rebuilding import KeysParked
from refold.infrastructure.services.files import search, show_file
from refold.infrastructure.status import ProjectionStatus, status
from refold.infrastructure.store import Store
from refold.projections import file_counts, file_tags, files, tag_votes
from refold.projections.projection import Parked, Projection
from refold.tests.contract.query_tables import (
    append,
    append_all,
    checkpoint,
    digests,
    generations,
    refolded,
    refresh,
    register,
    view,
)


class Broken(Exception):
    """What a projection with a mistake raises; it quotes what it was given."""


@pytest.fixture
def mistake(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let `files` fail at any change of the file `bad`; returns what mends it."""
    right = files.apply

    def apply(key: tuple[str], row: Any, event: Event) -> Any:
        if key == ("bad",) and isinstance(event.value, file.Changed):
            raise Broken(f"secret {event.value.name}")
        return right(key, row, event)

    monkeypatch.setattr(files, "apply", apply)
    return lambda: monkeypatch.setattr(files, "apply", right)


def change(store: Store, name: str, to: str) -> int:
    return append(store, f"file-{name}", file.Changed(name=to))


def names(store: Store) -> dict[str, str]:
    return {row[0]: row[3] for row in view(store, "files")}


def parked(store: Store, name: str = "files") -> dict[tuple[str, ...], Parked]:
    with store.tables.reading() as connection:
        return store.tables.parked(connection, store.tables.current(connection)[name])


# --- keys -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2, 25_000])
def test_a_key_whose_fold_fails_waits_and_others_go_on(
    store: Store, mistake: Callable[[], None], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(pages, "PAGE", page)
    register(store, "bad")
    refresh(store, "now")
    register(store, "good")
    at = change(store, "bad", "first")
    change(store, "bad", "second")
    change(store, "good", "better")

    refresh(store, "now")
    change(store, "bad", "third")
    refresh(store, "now")

    assert names(store) == {"bad": "bad", "good": "better"}
    assert {key: why.position for key, why in parked(store).items()} == {("bad",): at}
    assert checkpoint(store, "files") == at + 3
    assert len(view(store, "file_counts")) == 2


def test_what_is_kept_of_an_error_is_its_place_and_not_its_text(
    store: Store, mistake: Callable[[], None]
) -> None:
    register(store, "bad")
    change(store, "bad", "personal")

    refresh(store, "now")

    [why] = parked(store).values()
    assert why.error.startswith("Broken at test_parking.py:")
    assert "personal" not in why.error


def test_a_key_that_fails_in_the_first_build_waits_too(
    store: Store, mistake: Callable[[], None]
) -> None:
    register(store, "bad")
    at = change(store, "bad", "first")
    change(store, "bad", "second")
    register(store, "good")

    refresh(store, "now")

    assert names(store) == {"bad": "bad", "good": "good"}
    assert {key: why.position for key, why in parked(store).items()} == {("bad",): at}


def test_a_parked_table_is_never_called_current(store: Store, mistake: Callable[[], None]) -> None:
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")

    shown = of_files(store)

    assert (shown.lag, shown.parked, shown.is_well) == (0, 1, False)


def of_files(store: Store) -> ProjectionStatus:
    [shown] = [each for each in status(store).projections if each.name == "files"]
    return shown


def test_why_and_since_when_rows_are_parked_is_told_of_the_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(store, "now")
    right = files.apply

    def apply(key: tuple[str], row: Any, event: Event) -> Any:
        raise Broken

    monkeypatch.setattr(files, "apply", apply)
    before = time_ns() // 1_000
    for number in (3, 1, 2, 5, 4, 6, 0):
        register(store, f"bad{number}")
    refresh(store, "now")
    monkeypatch.setattr(files, "apply", right)

    shown = of_files(store)

    assert shown.parked == 7
    assert [(row.key, row.position) for row in shown.parked_rows] == [
        ((f"bad{number}",), position) for position, number in enumerate((3, 1, 2, 5, 4), 1)
    ]
    assert all(row.error.startswith("Broken at test_parking") for row in shown.parked_rows)
    after = time_ns() // 1_000
    assert all(before <= times.micros(row.since) <= after for row in shown.parked_rows)


def test_rows_that_were_parked_before_a_rebuild_are_told_no_more(
    store: Store, mistake: Callable[[], None]
) -> None:
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")
    mistake()
    shadows = store.rebuilder.fill([files])

    beside = of_files(store)
    store.rebuilder.switch(shadows)

    assert (beside.parked, len(beside.parked_rows)) == (1, 1)
    assert (of_files(store).parked, of_files(store).parked_rows) == (0, ())
    assert parked_count(store, files) == 0


def test_a_search_says_how_many_rows_are_parked_and_which_it_found(
    store: Store, mistake: Callable[[], None]
) -> None:
    register(store, "bad")
    register(store, "good")
    before = search(store, "bad or good")
    change(store, "bad", "worse")

    found = [search(store, text) for text in ("bad", "worse", "good", "")]
    counted = parked_count(store, files), parked_count(store, file_tags)
    mistake()
    store.folder.retry([files])
    mended = search(store, "worse")

    assert (before.parked, before.stale) == (0, frozenset())
    assert [(each.total, each.parked, set(each.stale)) for each in found] == [
        (1, 1, {"bad"}),
        (0, 1, set()),
        (1, 1, set()),
        (0, 1, set()),
    ]
    assert counted == (1, 0)
    assert (mended.total, mended.parked, mended.stale) == (1, 0, frozenset())


def test_who_asks_for_a_parked_row_is_told(store: Store, mistake: Callable[[], None]) -> None:
    register(store, "bad")
    at = change(store, "bad", "first")

    with pytest.raises(KeyParked) as refusal:
        show_file(store, "bad")

    assert (refusal.value.projection, refusal.value.key) == ("files", ("bad",))
    assert refusal.value.position == at


def test_a_retry_folds_all_that_waited(store: Store, mistake: Callable[[], None]) -> None:
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")
    change(store, "bad", "second")
    refresh(store, "now")

    in_vain = store.folder.retry([files])
    mistake()
    tried = store.folder.retry([files, file_counts])

    assert in_vain == {"files": ([], [("bad",)])}
    assert tried == {"files": ([("bad",)], []), "file_counts": ([], [])}
    assert names(store) == {"bad": "second"}
    assert parked(store) == {}
    assert digests(store) == refolded(store)


def test_a_retry_ends_where_the_table_stands(store: Store, mistake: Callable[[], None]) -> None:
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")
    change(store, "bad", "later")
    mistake()

    store.folder.retry([files])
    retried = names(store)
    refresh(store, "now")

    assert retried == {"bad": "first"}
    assert names(store) == {"bad": "later"}


def test_a_retry_leaves_a_table_of_another_version_as_it_is(
    store: Store, mistake: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, "bad")
    at = change(store, "bad", "first")
    refresh(store, "now")
    mistake()
    monkeypatch.setattr(files, "VERSION", 99)

    with pytest.raises(StaleProjection, match="files"):
        store.folder.retry([file_tags, files])
    tried = store.folder.retry([file_tags])

    assert tried == {"file_tags": ([], [])}
    assert names(store) == {"bad": "bad"}
    assert {key: why.position for key, why in parked(store).items()} == {("bad",): at}


def test_a_new_generation_begins_without_parked_keys(
    store: Store, mistake: Callable[[], None]
) -> None:
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")
    mistake()

    [rebuilt] = store.rebuilder.rebuild([files])

    assert (rebuilt.parked, rebuilt.is_equal) == (0, False)
    assert names(store) == {"bad": "first"}
    assert parked(store) == {}


def test_a_live_table_is_not_replaced_by_one_with_rows_missing(
    store: Store, mistake: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = files.apply
    mistake()
    register(store, "bad")
    change(store, "bad", "first")
    refresh(store, "now")
    monkeypatch.setattr(files, "apply", broken)

    with pytest.raises(KeysParked, match="1 rows of the new files"):
        store.rebuilder.rebuild([files])
    before = generations(store, "files")
    mistake()
    store.rebuilder.rebuild([files])

    assert before == {1: "current", 2: "building"}
    assert generations(store, "files") == {1: "previous", 3: "current"}
    assert names(store) == {"bad": "first"}


# --- rows that an engine refuses --------------------------------------------------------


@pytest.fixture
def odd_row(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Let `files` make rows whose code is odd for a file called `odd`."""
    right = files.apply

    def make(code: object) -> None:
        def apply(key: tuple[str], row: Any, event: Event) -> Any:
            after: Any = right(key, row, event)
            return after._replace(ban_set=code) if after and after.name == "odd" else after

        monkeypatch.setattr(files, "apply", apply)

    return make


@pytest.mark.parametrize("code", [1 << 63, 1 << 80, None, "x"], ids=str)
@pytest.mark.parametrize("build", [True, False], ids=["first build", "live"])
def test_a_row_that_the_engine_refuses_is_parked_alone(
    store: Store, odd_row: Callable[[object], None], code: object, build: bool
) -> None:
    odd_row(code)
    if not build:
        refresh(store, "now")
    for name in ("one", "odd", "two", "three"):
        register(store, name)

    refresh(store, "now")
    odd_row(0)
    tried = store.folder.retry([files])

    assert set(names(store)) == {"one", "odd", "two", "three"}
    assert tried == {"files": ([("odd",)], [])}
    assert digests(store) == refolded(store)


def test_a_changed_row_that_is_refused_stays_as_it_was(
    store: Store, odd_row: Callable[[object], None]
) -> None:
    odd_row(1 << 63)
    register(store, "one")
    register(store, "two")
    refresh(store, "now")
    at = append_all(
        store,
        [("file-one", file.Changed(name="odd")), ("file-two", file.Changed(name="even"))],
    )

    refresh(store, "now")

    assert names(store) == {"one": "one", "two": "even"}
    assert [(key, why.position) for key, why in parked(store).items()] == [(("one",), at)]


# --- events that cannot be read ---------------------------------------------------------


def append_raw(store: Store, stream: str, type: str, data: bytes) -> int:
    event = NewEvent(type, 1, data, b'{"actor":"ada"}')
    [outcome] = store.log.append(
        [Command(f"{stream} {type} {data!r}", (Write(stream, None, (event,)),))]
    )
    assert isinstance(outcome, Appended)
    return outcome.position


@pytest.mark.parametrize(
    ("type", "data", "error"),
    [("file.from_the_future", b"{}", UnknownType), ("file.changed", b'{"name":1}', Undecodable)],
)
@pytest.mark.parametrize("build", [True, False], ids=["first build", "live"])
def test_an_event_that_cannot_be_read_stops_the_tables_of_its_kind(
    store: Store, type: str, data: bytes, error: type[Exception], build: bool
) -> None:
    register(store, "one")
    if not build:
        refresh(store, "now")
    at = append_raw(store, "file-one", type, data)
    append(store, "file-one/tag_vote/t/ada", tag_vote.Cast("t", "ada", 1, 1))
    append(store, "file-one/removal_vote/ada", removal_vote.Cast("ada", 1))

    for _ in range(2):
        with pytest.raises(error):
            refresh(store, "now")
        with pytest.raises(error):
            refresh(store, "now", files)
    refresh(store, "now", tag_votes)

    assert [checkpoint(store, name) for name in ("files", "file_tags", "file_counts")] == [
        at - 1
    ] * 3
    assert checkpoint(store, "tag_votes") == checkpoint(store, "sessions") == at + 2
    assert names(store) == {"one": "one"}
    assert len(view(store, "tag_votes")) == 1


def test_where_a_table_is_stopped_and_why_is_told(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    append_raw(store, "file-one", "file.from_the_future", b"{}")

    shown = {each.name: each for each in status(store).projections}

    assert shown["files"].state == "stopped"
    assert "file.from_the_future" in shown["files"].why
    assert shown["tag_votes"].state == "behind"
    assert not shown["files"].is_well


def test_the_first_event_of_all_may_be_unreadable(store: Store) -> None:
    append_raw(store, "file-one", "file.from_the_future", b"{}")
    append(store, "file-one/tag_vote/t/ada", tag_vote.Cast("t", "ada", 1, 1))

    with pytest.raises(UnknownType):
        refresh(store, "now")

    assert (checkpoint(store, "files"), checkpoint(store, "tag_votes")) == (0, 2)


def test_keys_that_cannot_be_told_stop_their_table_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    right = file_tags.keys

    def keys(event: Event) -> Any:
        raise Broken

    monkeypatch.setattr(file_tags, "keys", keys)
    with pytest.raises(Unfoldable):
        refresh(store, "now")
    refresh(store, "now", files)
    stopped = checkpoint(store, "file_tags"), checkpoint(store, "files")
    monkeypatch.setattr(file_tags, "keys", right)
    refresh(store, "now")

    assert stopped == (1, 2)
    assert digests(store) == refolded(store)


def parked_count(store: Store, projection: Projection) -> int:
    with store.tables.reading() as connection:
        return parked_rows.count(connection, store.tables.current(connection)[projection.NAME])
