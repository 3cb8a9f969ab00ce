"""What query tables promise, whichever engine keeps them and the log that they are folded from."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from threading import Barrier, Event
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from refold.domain import file, streams, tag_vote
from refold.domain.errors import LogWentBack, Refused, StaleProjection, UnknownType
from refold.domain.ports import Recorded
from refold.domain.positions import PARTITION, Positions
from refold.infrastructure import config
from refold.infrastructure.commands import run
from refold.infrastructure.folding import building, pages, workers
from refold.infrastructure.folding.digests import Digest
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.folding.generations import CURRENT
from refold.infrastructure.folding.rebuilding import NoSuchGeneration
from refold.infrastructure.open import open_store
from refold.infrastructure.progress import Progress
from refold.infrastructure.reading import reading
from refold.infrastructure.store import Store
from refold.projections import catalog, file_counts, file_tags, files, tag_votes, users
from refold.projections.projection import Projection
from refold.tests.contract.query_tables import (
    append,
    at,
    beside,
    checkpoint,
    digests,
    folder_of,
    forge,
    found,
    generations,
    physical,
    receive,
    refolded,
    refresh,
    register,
    schema,
    view,
    vote,
)
from refold.tests.infrastructure.folding.watching import watched

NAMES = [projection.NAME for projection in catalog.ALL]
GOLDEN = {
    name: Digest(0, sha256().hexdigest()) for name in NAMES
} | {  # of the stored samples: another fold of them is another VERSION of the projection
    "files": Digest(3, "a1cbed57a6f2b72f343fa0d16f650f5b66fb29f139fd86162aed87118f97a6e2"),
    "file_counts": Digest(3, "5e3a4715d29206c7466e8ff24264042cd073d61459681b745fe77ba06f3ef3af"),
    "file_tags": Digest(2, "1d92157bc5cfdd75ccff3736b8330a506cba90cb3586b124c80b7f792be34fb8"),
    "tag_votes": Digest(5, "f19ef07ea8c09d1d0f4286b8d8cf7a0dd7cc89d337325cb7914bdd5d052a2c73"),
}


@pytest.fixture
def samples(golden: Sequence[Recorded]) -> Sequence[Recorded]:
    """The stored samples that the digests are of; more may have been added behind them."""
    return golden[:33]


# --- folding ----------------------------------------------------------------------------


def test_now_answers_with_all_that_is_in_the_log(store: Store) -> None:
    register(store, "one")
    before = found(store, "now")

    register(store, "two")

    assert before == {"one"}
    assert found(store, "now") == {"one", "two"}


def test_nothing_answers_with_what_the_tables_hold(store: Store) -> None:
    register(store, "one")
    unfolded = found(store, None)
    refresh(store, "now")
    register(store, "two")

    assert unfolded == set()
    assert found(store, None) == {"one"}


def test_a_position_answers_with_what_is_in_the_log_up_to_there_at_least(store: Store) -> None:
    positions = [register(store, name) for name in ("one", "two", "three")]

    assert found(store, at(positions[0])) == {"one"}
    assert found(store, None) == {"one"}
    assert found(store, at(positions[1])) == {"one", "two", "three"}  # who folds does it for others


def test_a_position_behind_the_end_of_the_log_is_refused(store: Store) -> None:
    position = register(store, "one")

    with pytest.raises(Refused, match=f"{position + 1} is beyond the end of the log"):
        found(store, at(position + 1))


@pytest.mark.parametrize("page", [1, 7, 5_000])
def test_tables_hold_the_fold_of_each_family(
    store: Store, samples: Sequence[Recorded], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", page)
    receive(store, samples)

    store.folder.catch_up()

    families = {streams.family(each.stream) for each in samples}
    folded = [fold_family(store.family(family), catalog.ALL) for family in families]
    for projection in catalog.ALL:
        expected = [row for tables in folded for row in tables[projection.NAME].values()]
        assert view(store, projection.NAME) == sorted(map(tuple, expected))
        assert len(expected) == GOLDEN[projection.NAME].rows


def test_tables_have_the_same_digest_on_every_engine(
    store: Store, samples: Sequence[Recorded]
) -> None:
    receive(store, samples)

    store.folder.catch_up()

    assert {each.NAME: store.folder.digest(each) for each in catalog.ALL} == {
        name: (at(len(samples)), digest) for name, digest in GOLDEN.items()
    }


def test_tables_are_the_same_however_they_were_folded(
    new_store: Callable[[], Store], samples: Sequence[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, event_by_event, two_tables_late = new_store(), new_store(), new_store()
    for store in (at_once, event_by_event, two_tables_late):
        receive(store, samples)

    at_once.folder.catch_up()
    for position in range(0, len(samples) + 3, 3):
        event_by_event.folder.catch_up(at(position))
    folder_of(two_tables_late, (files, file_counts)).catch_up(at(11))
    monkeypatch.setattr(pages, "PAGE", 3)
    two_tables_late.folder.catch_up(at(4))
    two_tables_late.folder.catch_up()

    assert digests(at_once) == digests(event_by_event) == digests(two_tables_late) == GOLDEN


def test_a_row_that_is_gone_is_gone(store: Store) -> None:
    register(store, "one")
    append(store, "file-one", file.TagAdded("t", 1))
    append(store, "file-one/tag_vote/t/ada", tag_vote.Cast("t", "ada", 1, 1))
    refresh(store, "now")
    before = view(store, "file_tags"), view(store, "tag_votes")

    append(store, "file-one/tag_vote/t/ada", tag_vote.Withdrawn("t", "ada", 1, 1))
    append(store, "file-one", file.TagRemoved("t", 1))
    refresh(store, "now")

    assert before == ([("one", "t", 1, 0, 1)], [("one", "t", "ada", 1, 1)])
    assert view(store, "file_tags") == view(store, "tag_votes") == []


def test_an_empty_log_makes_empty_tables(store: Store) -> None:
    positions = store.folder.catch_up()

    assert positions == at(0)
    assert [view(store, name) for name in NAMES] == [[]] * len(NAMES)
    assert len({digest.hex for digest in digests(store).values()}) == 1


# --- rebuilding -------------------------------------------------------------------------


def test_a_rebuild_gives_the_same_rows_and_keeps_the_generation_before(
    store: Store, samples: Sequence[Recorded]
) -> None:
    receive(store, samples)
    store.folder.catch_up()

    rebuilt = store.rebuilder.rebuild(catalog.ALL)

    assert [(each.name, each.generation, each.rows, each.is_equal) for each in rebuilt] == [
        (name, 2, GOLDEN[name].rows, True) for name in sorted(NAMES)
    ]
    assert digests(store) == GOLDEN
    assert generations(store, "files") == {1: "previous", 2: "current"}
    assert physical(store, "files_1") == physical(store, "files_2") == view(store, "files")


def test_a_second_rebuild_drops_the_oldest_generation(
    store: Store, samples: Sequence[Recorded]
) -> None:
    receive(store, samples)
    store.folder.catch_up()

    store.rebuilder.rebuild(catalog.ALL)
    store.rebuilder.rebuild(catalog.ALL)

    assert generations(store, "files") == {2: "previous", 3: "current"}
    with store.tables.reading() as connection:
        tables = sa.inspect(connection).get_table_names(schema=schema(store))
    assert {name for name in tables if name.startswith("files")} - {
        f"files_{n}_search{part}" for n in (2, 3) for part in FTS5
    } == {"files_2", "files_3"}
    assert {name for name in tables if name.startswith("files_1")} == set()


FTS5 = ["", "_data", "_idx", "_content", "_docsize", "_config"]


def test_a_rebuild_folds_what_the_live_tables_had_not_seen(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")

    rebuilt = store.rebuilder.rebuild(catalog.ALL)

    assert all(each.is_equal for each in rebuilt)
    assert found(store, None) == {"one", "two"}


def test_a_rebuild_shows_that_a_row_was_changed_by_hand(
    store: Store, samples: Sequence[Recorded]
) -> None:
    receive(store, samples)
    store.folder.catch_up()
    forge(store, "files_1", ("key", "Odd/Key%"), name="forged")

    untouched, changed = store.rebuilder.rebuild([files, file_tags])

    assert (untouched.is_equal, changed.is_equal) == (True, False)
    assert changed.difference
    assert (changed.difference.changed, changed.difference.cells) == (1, {"name": 1})
    assert digests(store) == GOLDEN


def test_some_tables_may_be_rebuilt_alone(store: Store, samples: Sequence[Recorded]) -> None:
    receive(store, samples)
    store.folder.catch_up()

    [rebuilt] = store.rebuilder.rebuild([file_tags])

    assert (rebuilt.name, rebuilt.generation) == ("file_tags", 2)
    assert generations(store, "files") == {1: "current"}
    assert digests(store) == GOLDEN


def test_a_build_that_was_broken_off_goes_on_with_the_parts_that_are_missing(
    store: Store, samples: Sequence[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_parts_of(8, store, monkeypatch)
    receive(store, samples)
    store.folder.catch_up()

    with pytest.raises(PowerCut):
        store.rebuilder.rebuild(catalog.ALL, progress=stop_at("fold", 2))
    broken_off, live, parts = generations(store, "files"), digests(store), saved_parts(store)
    done: list[tuple[str, int, int]] = []
    store.rebuilder.rebuild(catalog.ALL, progress=lambda *progress: done.append(progress))

    assert broken_off == {1: "current", 2: "building"}
    assert parts == {(projection.NAME, part, 5) for projection in catalog.ALL for part in (0, 1)}
    assert live == digests(store) == GOLDEN
    assert generations(store, "files") == {1: "previous", 2: "current"}
    assert done == [
        *(("read", stretch, 9) for stretch in range(10)),
        *(("fold", part, 3) for part in range(4)),
    ]
    assert saved_parts(store) == set()


def test_what_a_broken_off_build_has_not_seen_is_folded_behind_it(
    store: Store, samples: Sequence[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_parts_of(8, store, monkeypatch)
    receive(store, samples)
    with pytest.raises(PowerCut):
        store.rebuilder.rebuild(catalog.ALL, progress=stop_at("fold", 2))
    register(store, "one")

    [rebuilt] = store.rebuilder.rebuild([files])
    store.rebuilder.rebuild(catalog.ALL)

    assert rebuilt.rows == GOLDEN["files"].rows + 1
    assert digests(store) == refolded(store)


def test_a_part_that_another_process_has_saved_is_not_saved_again(
    store: Store, samples: Sequence[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_parts_of(8, store, monkeypatch)
    receive(store, samples)

    def rebuild_too(what: str, done: int, _: int | None) -> None:
        if (what, done) == ("fold", 1):
            store.rebuilder.rebuild(catalog.ALL)

    with pytest.raises(NoSuchGeneration):  # the other one has switched them
        store.rebuilder.rebuild(catalog.ALL, progress=rebuild_too)

    assert digests(store) == GOLDEN
    assert generations(store, "files") == {1: "current"}


def test_two_builders_that_began_at_other_positions_agree_on_one_plan(
    store: Store, samples: Sequence[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    split_into_parts_of(11, store, monkeypatch)
    receive(store, samples)

    def begin_too(what: str, done: int, _: int | None) -> None:
        if (what, done) == ("read", 1):
            vote(store, voters=3)
            with pytest.raises(PowerCut):
                store.rebuilder.rebuild(catalog.ALL, progress=stop_at("fold", 1))

    store.rebuilder.rebuild(catalog.ALL, progress=begin_too)
    store.folder.catch_up()

    assert view(store, "file_tags")[-1][-1] == 3
    assert digests(store) == refolded(store)


def test_workers_build_the_same_tables(
    new_kept_url: Callable[[], str],
    samples: Sequence[Recorded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "WORTH_WORKERS", 0)
    monkeypatch.setattr(building, "STRETCH", 4)
    url = new_kept_url()
    done: list[tuple[str, int, int]] = []
    with open_store(url, create=True) as store, workers.helping(store, 3):
        receive(store, samples)

        store.rebuilder.rebuild(catalog.ALL, lambda *progress: done.append(progress))

        assert digests(store) == GOLDEN
        assert {total for what, _, total in done if what == "fold"} == {3}


def test_workers_have_the_key_that_was_given_in_code(
    new_kept_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY", raising=False)
    settings = replace(config.of_environment(), vault_key=SecretStr("5a" * 32))
    with (
        open_store(new_kept_url(), create=True, settings=settings) as store,
        workers.helping(store, 3),
    ):
        profile = {"username": "ada", "email": "ada@example.org"}
        arguments = {"id": "1", "profile": profile, "password_hash": "$2b$10$hash"}
        run(store, "user.register", arguments, command_id="1", actor="ada")

        assert store.workers
        store.workers.begin(building.CatchUp()).result()

        assert store.folder.digest(users)[0] == at(1)


def test_an_event_that_no_worker_can_read_stops_the_build(
    new_kept_url: Callable[[], str],
    samples: Sequence[Recorded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "WORTH_WORKERS", 0)
    url = new_kept_url()
    with open_store(url, create=True) as store, workers.helping(store, 2):
        receive(store, [*samples[:-1], samples[-1]._replace(type="file.unheard_of")])

        with pytest.raises(UnknownType, match="unheard_of"):
            store.rebuilder.rebuild(catalog.ALL)


def test_tables_are_built_up_to_an_event_that_no_worker_can_read(
    new_kept_url: Callable[[], str],
    samples: Sequence[Recorded],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "WORTH_WORKERS", 0)
    url = new_kept_url()
    with open_store(url, create=True) as store, workers.helping(store, 2):
        receive(store, [*samples[:-1], samples[-1]._replace(type="file.unheard_of")])

        for _ in range(2):
            with pytest.raises(UnknownType, match="unheard_of"):
                store.folder.catch_up()

        assert store.folder.digest(tag_votes)[0] == at(samples[-1].position - 1)


def split_into_parts_of(events: int, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(store.tables.rows), "events_a_part", events)
    monkeypatch.setattr(building, "STRETCH", 4)


def saved_parts(store: Store) -> set[tuple[str, int, int]]:
    """Return the parts that are saved of generations that are not whole yet."""
    with store.tables.reading() as connection:
        return {
            (each.projection, each.part, each.parts)
            for generation in store.tables.generations(connection)
            for each in store.tables.parts(connection, generation)
            if each.parts > 1
        }


class PowerCut(Exception):
    """What a test breaks a build off with."""


def stop_at(step: str, count: int) -> Progress:
    def progress(what: str, done: int, _: int | None) -> None:
        if what == step and done >= count:
            raise PowerCut

    return progress


# --- a log that is not the one --------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3], ids=["empty", "shorter", "as long", "longer"])
def test_tables_of_another_log_are_not_folded_on(
    new_store: Callable[[], Store], length: int
) -> None:
    store, other = new_store(), new_store()
    register(store, "one")
    register(store, "two")
    refresh(store, "now")
    for n in range(length):
        register(other, f"other{n}")

    with pytest.raises(LogWentBack) as refusal:
        beside(other, store).folder.catch_up()

    assert refusal.value.projection in NAMES
    assert refusal.value.position == "2"
    assert found(store, "now") == {"one", "two"}


@pytest.mark.parametrize("ahead", [False, True], ids=["the last", "ahead of others"])
def test_a_page_is_folded_only_behind_the_record_that_was(
    new_store: Callable[[], Store], ahead: bool
) -> None:
    store, other = new_store(), new_store()
    register(store, "one")
    refresh(store, "now")
    for n in range(3):
        register(other, f"other{n}")
    both = beside(other, store)
    with both.tables.writing(CURRENT) as connection, both.advance.pages(PARTITION) as pages:
        current = both.tables.current(connection)
        if ahead:
            behind = current[file_counts.NAME]
            [kept] = both.advance.checkpoints(connection, [behind], PARTITION)
            both.tables.save_checkpoint(connection, kept._replace(position=0, record_hash=b""))

        with pytest.raises(LogWentBack) as refusal:
            both.advance.fold_page(connection, pages, list(current.values()), 3)

    assert refusal.value.position == "1"


@pytest.mark.parametrize("forged", [{"record_hash": b"x"}, {"store_id": "x"}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_folded_on_only_from_the_record_it_knows(
    store: Store, name: str, forged: dict[str, Any]
) -> None:
    register(store, "one")
    refresh(store, "now")
    forge(store, "checkpoints", ("projection", name), **forged)
    register(store, "two")

    with pytest.raises(LogWentBack) as refusal:
        refresh(store, "now")

    assert (refusal.value.projection, refusal.value.position) == (name, "1")
    assert len(view(store, "files")) == 1


def test_a_rebuild_makes_tables_of_another_log_good(new_store: Callable[[], Store]) -> None:
    store, other = new_store(), new_store()
    for name in ("one", "two"):
        register(store, name)
    refresh(store, "now")
    register(other, "other")
    both = beside(other, store)

    rebuilt = both.rebuilder.rebuild(catalog.ALL)
    register(other, "later")
    both.folder.catch_up()

    assert {each.why for each in rebuilt} == {"the live table was folded from another log"}
    assert [row[3] for row in view(store, "files")] == ["later", "other"]


@pytest.mark.parametrize("wanted", [files, file_tags], ids=["files", "file_tags"])
def test_who_waited_for_a_round_folds_what_is_of_this_version(
    store: Store, monkeypatch: pytest.MonkeyPatch, wanted: Projection
) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    monkeypatch.setattr(file_tags, "VERSION", 8)

    refusal = reached_after_a_round(store, at(1), at(2), wanted)

    assert isinstance(refusal, StaleProjection) == (wanted is file_tags)
    assert len(view(store, "files")) == 2
    assert checkpoint(store, "file_tags") == 1


@pytest.mark.parametrize("length", [2, 3, 6], ids=["shorter", "as long", "longer"])
def test_who_waited_for_a_round_is_told_of_another_log(
    new_store: Callable[[], Store], length: int
) -> None:
    store, other = new_store(), new_store()
    for n in range(3):
        register(store, str(n))
    refresh(store, "now")
    for n in range(length):
        register(other, f"other{n}")

    refusal = reached_after_a_round(beside(other, store), at(1), at(2), files)

    assert isinstance(refusal, LogWentBack)
    assert refusal.position == "3"


def test_who_waited_for_a_round_is_told_of_tables_of_another_store(store: Store) -> None:
    register(store, "one")
    refresh(store, "now")
    register(store, "two")
    forge(store, "checkpoints", ("projection", files.NAME), store_id="x")

    assert isinstance(reached_after_a_round(store, at(1), at(2), files), LogWentBack)


def reached_after_a_round(
    store: Store, came: Positions, goal: Positions, wanted: Projection
) -> BaseException | None:
    """Wait for `goal` while a round is under way that comes as far as `came`, and tell how."""
    folder, is_folding, go_on, told = store.folder, Event(), Event(), list[Any]()
    rounds, go_further = folder._rounds, folder._go_on
    waiting = watched(rounds)

    def fold(_: Positions | None) -> Positions:
        is_folding.set()
        assert go_on.wait(5)
        return came

    def note(found: Any, *others: Any) -> Any:
        told.append(found.standing)
        return go_further(found, *others)

    with ThreadPoolExecutor(2) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "_go_on", note)
        first = pool.submit(rounds.reach, came, fold)
        assert is_folding.wait(5)
        second = pool.submit(folder.reach, goal, [wanted])
        waiting.wait_for(2)
        go_on.set()
        first.result(5)
        refusal = second.exception(5)
    assert told == [[came]]  # nothing was looked at before
    return refusal


def test_tables_of_another_version_are_not_folded_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, "one")
    refresh(store, "now")
    monkeypatch.setattr(file_tags, "VERSION", 8)

    with pytest.raises(StaleProjection) as unchanged:
        refresh(store, "now")
    register(store, "two")
    with pytest.raises(StaleProjection) as refusal:
        refresh(store, "now")

    for stale in (unchanged.value, refusal.value):
        assert (stale.projection, stale.found, stale.known) == ("file_tags", 1, 8)
    assert len(view(store, "files")) == 2  # the others go on
    assert checkpoint(store, "file_tags") == 1


def test_a_rebuild_makes_tables_of_another_version_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(store, "one")
    refresh(store, "now")
    monkeypatch.setattr(file_tags, "VERSION", 8)

    [rebuilt] = store.rebuilder.rebuild([file_tags])
    register(store, "two")

    assert rebuilt.is_equal
    assert found(store, "now") == {"one", "two"}


# --- many folders -----------------------------------------------------------------------------


def test_threads_that_fold_at_once_apply_no_event_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 5)
    vote(store, voters=70)
    refresh(store, None)
    line_up = Barrier(4, timeout=30)

    def fold(_: int) -> Positions:
        line_up.wait()
        return store.folder.catch_up()

    with ThreadPoolExecutor(line_up.parties) as pool:
        reached = list(pool.map(fold, range(line_up.parties)))

    assert reached == [at(142)] * 4
    assert generations(store, "file_tags") == {1: "current"}
    assert view(store, "file_tags") == [("one", "t", 1, 0, 70)]
    assert digests(store) == refolded(store)


def test_threads_that_build_at_once_leave_whole_tables(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 10)
    vote(store, voters=40)
    line_up = Barrier(4, timeout=30)

    def fold(_: int) -> None:
        line_up.wait()
        refresh(store, "now")

    with ThreadPoolExecutor(line_up.parties) as pool:
        list(pool.map(fold, range(line_up.parties)))

    assert view(store, "file_tags") == [("one", "t", 1, 0, 40)]
    assert digests(store) == refolded(store)


FOLDING = """
import sys
from refold.infrastructure.folding import building, pages, workers
from refold.infrastructure.open import open_store

pages.PAGE = 3
with open_store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(store.folder.catch_up())
"""


def test_processes_that_fold_at_once_apply_no_event_twice(new_kept_url: Callable[[], str]) -> None:
    url = new_kept_url()
    with ExitStack() as stack:
        store = stack.enter_context(open_store(url, create=True))
        vote(store, voters=100)
        refresh(store, None)
        folders = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", FOLDING, url],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        ready = [folder.stdout.readline() for folder in folders if folder.stdout]

        for folder in folders:
            if folder.stdin:
                folder.stdin.write("go\n")
                folder.stdin.flush()
        said = [folder.communicate()[0] for folder in folders]

        assert ready == ["ready\n"] * 2
        assert said == ["202\n"] * 2
        assert view(store, "file_tags") == [("one", "t", 1, 0, 100)]
        assert digests(store) == refolded(store)


# --- open tables --------------------------------------------------------------------------


def test_tables_that_are_open_stay_as_they_are(new_kept_url: Callable[[], str]) -> None:
    url = new_kept_url()
    with open_store(url, create=True) as store, open_store(url) as other:
        register(store, "one")
        refresh(store, "now")
        with reading(store, "now", files) as tables:
            register(other, "two")
            refresh(other, "now")
            seen = list(tables.rows.scan(tables.connection, tables.current[files.NAME]))

        assert [row[0] for row in seen] == ["one"]
        assert found(store, None) == {"one", "two"}


def test_what_is_raised_while_tables_are_open_comes_out_and_closes_them(store: Store) -> None:
    register(store, "one")

    for after in ("now", None):
        with pytest.raises(KeyError, match="mine"), reading(store, after, files):
            raise KeyError("mine")

    assert found(store, "now") == {"one"}


def test_a_row_that_is_removed_is_found_no_more(store: Store) -> None:
    register(store, "one")
    register(store, "two")
    refresh(store, "now")

    with store.tables.writing(CURRENT) as connection:
        generation = store.tables.current(connection)[files.NAME]
        store.tables.rows.remove(connection, generation, [("one",)])

    assert found(store, None) == {"two"}
