"""A move to a store with another number of partitions: the same families, at other positions."""

from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold.domain import file, user
from refold.domain.errors import ForeignTarget, Moved, Refused
from refold.domain.ports import Appended, Command, State, Tracking, Write
from refold.infrastructure.commands import run
from refold.infrastructure.moving import copying, cutover, keeping, renumbering
from refold.infrastructure.moving.heads import head
from refold.infrastructure.open import open_store
from refold.infrastructure.services import media
from refold.infrastructure.services.files import search
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.columns import is_position
from refold.tests.contract.query_tables import append, forge, register
from refold.tests.contract.test_as_of import BEGINNING, STEPS, all_rows, take
from refold.tests.contract.two_stores import states

NUMBERS = count()


pytestmark = pytest.mark.usefixtures("settings_of_stores")


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renumbering, "PAGE", 4)


@pytest.fixture
def engines() -> tuple[str, str]:
    """From which engine to which; a log goes there and back in one of the tests."""
    return "sqlite", "postgres"


@pytest.fixture
def parted(engines: tuple[str, str], new_at: Callable[..., Store]) -> Store:
    """An empty store of three partitions, of the engine that the source is not of."""
    return new_at(engines[1], partitions=3)


# --- what is the same ---------------------------------------------------------------


def test_a_log_is_numbered_anew_there_and_back(
    engines: tuple[str, str], new_at: Callable[..., Store]
) -> None:
    @settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=15, max_size=30))
    def check(steps: list[tuple[str, Any]]) -> None:
        first, second = engines
        stores = [new_at(first), new_at(second, partitions=3), new_at(first, partitions=2)]
        take(stores[0], [*BEGINNING, *steps])

        for source, target in pairwise(stores):
            made = renumbering.move(source, target)

            assert made.equal, made.differences
            assert made.positions == target.advance.head()
            assert keeping.check(target, made.document()) == []
        assert len({len(in_order(store)) for store in stores}) == 1
        assert families(stores[0]) == families(stores[1]) == families(stores[2])
        assert placeless(stores[0]) == placeless(stores[1]) == placeless(stores[2])
        assert claims(stores[0]) == claims(stores[1]) == claims(stores[2])

    check()


def in_order(store: Store) -> list[Any]:
    """Return all events; time goes back in no partition, and positions are dense."""
    found = []
    for partition, end in enumerate(store.advance.head().each):
        own = store.log.page(partition, 0, end)
        assert [each.position for each in own] == list(range(1, end + 1))
        assert [each.recorded_at for each in own] == sorted(each.recorded_at for each in own)
        assert {store.partition(each.stream) for each in own} <= {partition}
        found += own
    return found


def families(store: Store) -> dict[str, list[Any]]:
    names = {each.stream.partition("/")[0] for each in in_order(store)}
    return {
        name: [each._replace(partition=0, position=0) for each in store.log.family(name)]
        for name in names
    }


def placeless(store: Store) -> dict[str, list[Any]]:
    """Return all rows without what tells where in the log something is."""
    store.folder.catch_up()
    rows = all_rows(store)
    return {
        each.NAME: [
            [
                cell
                for cell, column in zip(row, each.TABLE.columns, strict=True)
                if not is_position(column)
            ]
            for row in rows[each.NAME]
        ]
        for each in catalog.ALL
    }


def claims(store: Store) -> Any:
    return store.log.claims().claims


def test_commands_are_known_where_they_went(source: Store, parted: Store) -> None:
    first = run(source, "file.ban", {"sha256": "one", "code": 9}, command_id="ban", actor="ada")

    made = renumbering.move(source, parted)
    again = run(parted, "file.ban", {"sha256": "one", "code": 9}, command_id="ban", actor="ada")

    assert made.equal
    assert made.renumbered is not None
    assert made.renumbered.log_id == source.log.identity().log_id != parted.log.identity().log_id
    assert (again.outcome, again.stream, again.version) == ("duplicate", first.stream, 2)
    assert again.partition == parted.partition(first.stream)
    with pytest.raises(Moved):
        run(source, "file.unban", {"sha256": "one"}, command_id="unban", actor="ada")


def test_a_client_goes_along(engines: tuple[str, str], new_url_at: Callable[[str], str]) -> None:
    first, second = (new_url_at(engine) for engine in engines)
    with (
        open_store(first, create=True) as source,
        open_store(second, create=True, partitions=3) as target,
        open_store(first, follow_moves=True) as client,
    ):
        register(source, "one")
        renumbering.move(source, target)

        done = run(client, "file.ban", {"sha256": "one", "code": 9}, command_id="b", actor="ada")

        assert client.log.partitions == 3
        assert done.version == 2
        assert search(client, "one").total == 1


def test_what_is_appended_meanwhile_is_there(
    source: Store, parted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "SHORT", 0)
    late = list(range(9))

    def progress(what: str, done: int, total: int | None) -> None:
        if late and states(source) == [State.OPEN]:
            register(source, f"late {late.pop()}")

    made = renumbering.move(source, parted, progress)

    assert made.equal, made.differences
    assert len(late) < 9
    assert families(parted) == families(source)
    assert search(parted, "late").total == 9 - len(late)


def test_all_that_takes_long_but_the_comparison_is_done_before_the_seal(
    source: Store, parted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = []

    def seal(store: Store, address: str) -> None:
        for each in source, parted:
            with each.tables.reading() as connection:
                tables = each.tables.current(connection).values()
                standing.extend(each.advance.standing(connection, tables))
        raise KeyboardInterrupt

    monkeypatch.setattr(cutover, "SHORT", 0)
    monkeypatch.setattr(cutover, "seal", seal)
    with pytest.raises(KeyboardInterrupt):
        renumbering.move(source, parted)

    assert len(standing) == 2 * len(catalog.ALL)


def test_a_source_that_grows_as_fast_as_it_is_carried_is_sealed(
    source: Store, parted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = renumbering._Renumbering._carry
    rounds = count()

    def growing(self: Any, until: Any) -> None:
        carry(self, until)
        if states(source) == [State.OPEN]:
            assert next(rounds) < 20
            for number in range(5):
                register(source, f"{until} {number}")

    monkeypatch.setattr(cutover, "SHORT", 0)
    monkeypatch.setattr(renumbering._Renumbering, "_carry", growing)

    assert renumbering.move(source, parted).equal


# --- broken off ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["copy", "sealed", "compared"])
def test_a_move_that_was_broken_off_goes_on(
    source: Store, parted: Store, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        register(source, f"more {number}")
    broken = [True]

    def fail(step: str) -> None:
        if step == f"renumbering: {where}" and broken:
            broken.clear()
            raise KeyboardInterrupt

    def progress(what: str, done: int, total: int | None) -> None:
        if what == where == "copy" and done:
            fail("renumbering: copy")

    monkeypatch.setattr(cutover, "SHORT", 0)
    monkeypatch.setattr(renumbering, "reach", fail)
    with pytest.raises(KeyboardInterrupt):
        renumbering.move(source, parted, progress)
    before = head(parted)
    register(source, "after")  # it was opened again
    made = renumbering.move(source, parted)

    assert before.positions.total
    assert before.state is not State.OPEN
    assert made.equal, made.differences
    assert families(parted) == families(source)


@pytest.mark.parametrize("where", ["sealed", "compared"])
def test_a_move_that_was_killed_can_be_called_off(
    source: Store, parted: Store, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(step: str) -> None:
        if step == f"renumbering: {where}":
            monkeypatch.setattr(cutover, "call_off", lambda *_: None)  # nobody is there to do it
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(renumbering, "reach", die)
        with pytest.raises(KeyboardInterrupt):
            renumbering.move(source, parted)
        assert states(source)[0] is State.SEALED
        monkeypatch.undo()
        monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)

    cutover.abort(source, parted)
    register(source, "after")

    assert states(source) == [State.OPEN]
    assert set(states(parted)) == {State.SEALED}
    assert renumbering.move(source, parted).equal
    assert families(parted) == families(source)


def test_a_blob_that_is_missing_opens_no_target(
    source: Store, parted: Store, tmp_path: Path
) -> None:
    content = media.put(source, [b"content"], id="m", mime_type="a/b", uploader="ada")
    source.blobs.delete(content.content_hash)

    made = renumbering.move(source, parted)

    assert made.differences == ["missing blobs: 1"]
    assert states(source) == [State.OPEN]
    kept_certificate = tmp_path / "certificate.json"
    keeping.write(kept_certificate, made)
    assert not keeping.read(kept_certificate)["equal"]


def test_a_target_that_another_copy_began_to_fill_has_a_log_of_its_own(
    source: Store, parted: Store, third: Store
) -> None:
    theirs = third.log.identity().log_id
    parted.log.change_state(State.FILLING, log_id=theirs)

    made = renumbering.move(source, parted)

    assert made.equal
    assert parted.log.identity().log_id not in (theirs, source.log.identity().log_id)


def test_who_went_along_reads_what_they_wrote_before(
    engines: tuple[str, str], new_url_at: Callable[[str], str]
) -> None:
    first, second = (new_url_at(engine) for engine in engines)
    with (
        open_store(first, create=True) as source,
        open_store(second, create=True, partitions=3) as target,
        open_store(first, follow_moves=True) as client,
    ):
        for number in range(9):
            register(source, f"{number}")
        done = run(client, "file.ban", {"sha256": "1", "code": 9}, command_id="b", actor="ada")
        renumbering.move(source, target)
        run(client, "file.ban", {"sha256": "2", "code": 9}, command_id="c", actor="ada")

        assert search(client, "1", after=done.at).total == 1


def test_what_somebody_changed_at_the_target_is_found(
    source: Store, parted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = renumbering._Renumbering._compare_tables

    def forged(self: Any, end: Any) -> None:
        parted.folder.catch_up()
        forge(parted, "file_counts_1", ("sha256", "one"), moderation_votes=7)
        compare(self, end)

    monkeypatch.setattr(renumbering._Renumbering, "_compare_tables", forged)
    made = renumbering.move(source, parted)

    assert made.differences == ["table file_counts differs"]
    assert states(source) == [State.OPEN]
    register(source, "three")


def test_a_certificate_of_other_families_is_found_out(source: Store, parted: Store) -> None:
    document = renumbering.move(source, parted).document()
    document["renumbered_from"]["digest"] = "00" * 32

    assert keeping.check(parted, document) == ["the families differ"]


def test_tables_of_another_version_are_told_and_not_compared(source: Store, parted: Store) -> None:
    document = renumbering.move(source, parted).document()
    del document["tables"][0]["version"]  # as it was written before tables told theirs

    [difference] = keeping.check(parted, document)
    assert difference.startswith("table files was certified in version 1, and this refold folds")


# --- refused -------------------------------------------------------------------------


def test_a_target_that_holds_something_is_refused(source: Store, parted: Store) -> None:
    register(parted, "other")

    with pytest.raises(ForeignTarget, match="holds 1 events already"):
        renumbering.move(source, parted)

    assert [set(states(store)) for store in (source, parted)] == [{State.OPEN}] * 2


def test_a_copy_never_renumbers(source: Store, parted: Store) -> None:
    with pytest.raises(Refused, match="has 3 partitions, the source has 1: refold move"):
        copying.copy(source, parted)


def test_a_command_of_families_that_would_part_is_refused(source: Store, parted: Store) -> None:
    names = [f"{number}" for number in range(9)]
    assert len({parted.partition(f"file-{name}") for name in names}) > 1
    event = source.codec.encode(file.Registered("x", "cid", "x", ""), b"{}")
    writes = tuple(Write(f"file-{name}", 0, (event,)) for name in names)
    source.log.append([Command("of several", writes)])

    with pytest.raises(Refused, match="command of several wrote to streams that would lie in two"):
        renumbering.move(source, parted)

    assert states(source) == [State.OPEN]


def test_events_that_name_positions_are_refused(source: Store, parted: Store) -> None:
    append(source, "user-1", user.ContentsRemoved(("ab" * 32,), 1))

    with pytest.raises(Refused, match=r"event 0:3, user\.contents_removed, names positions"):
        renumbering.move(source, parted)

    assert states(source) == [State.OPEN]


def test_a_store_that_counts_positions_of_others_is_refused(source: Store, parted: Store) -> None:
    [outcome] = source.log.append([Command("t", (), trackings=(Tracking("other", 7),))])
    assert isinstance(outcome, Appended)

    with pytest.raises(Refused, match="up to where other applications' events are processed"):
        renumbering.move(source, parted)


def test_positions_of_others_that_come_meanwhile_are_not_lost(
    source: Store, parted: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = renumbering._Renumbering.prepare

    def then_track(work: renumbering._Renumbering) -> None:
        prepare(work)
        source.log.append([Command("t", (), trackings=(Tracking("other", 7),))])

    monkeypatch.setattr(renumbering._Renumbering, "prepare", then_track)
    with pytest.raises(Refused, match="up to where other applications' events are processed"):
        renumbering.move(source, parted)

    assert states(source) == [State.OPEN]
