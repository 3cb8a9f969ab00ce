"""What a store of several partitions promises: what one of a single one does, and side by side."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold.domain import file, streams, times
from refold.domain.errors import (
    AlreadyTracked,
    BadInput,
    Claimed,
    CommandIdTaken,
    LogWentBack,
    Moved,
    Refused,
)
from refold.domain.ports import Appended, Command, NewEvent, Recorded, State, Tracking, Write
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.codec import EVENTS, Metadata, encode_metadata
from refold.infrastructure.commands import run
from refold.infrastructure.folding import pages
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.open import open_store
from refold.infrastructure.past import as_of, positions_at
from refold.infrastructure.services.files import list_files, search
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.tests.contract.query_tables import receive
from refold.tests.contract.test_as_of import BEGINNING, STEPS, all_rows, take

SEVERAL = 3


@pytest.fixture(autouse=True)
def settings_of_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A vault key and a place for blobs; three events a page, so that a short history has many."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setattr(pages, "PAGE", 3)


@pytest.fixture
def new_parted(new_url: Callable[[], str]) -> Iterator[Callable[[], Store]]:
    """Makes empty stores of several partitions."""
    with ExitStack() as cleanup:
        yield lambda: cleanup.enter_context(open_store(new_url(), create=True, partitions=SEVERAL))


@pytest.fixture
def parted(new_parted: Callable[[], Store]) -> Store:
    """An empty store of several partitions."""
    return new_parted()


def in_each(store: Store) -> list[str]:
    """Return the names of files, one for each partition."""
    found: dict[int, str] = {}
    for number in range(100):
        name = f"{number:064x}"
        found.setdefault(store.partition(f"file-{name}"), name)
    return [found[partition] for partition in range(store.log.partitions)]


def registration(id: str, key: str) -> Command:
    event = encoded(file.Registered(key, "cid", key, "pdf"))
    return Command(id, (Write(f"file-{key}", 0, (event,)),))


def encoded(value: object) -> NewEvent:
    return EVENTS.encode(value, encode_metadata(Metadata("ada")))


# --- the log ----------------------------------------------------------------------


def test_a_family_is_in_one_partition_which_counts_for_itself(parted: Store) -> None:
    names = in_each(parted)

    outcomes = parted.log.append([registration(f"c{name}", name) for name in names * 2])

    assert [each for each in outcomes if isinstance(each, Appended)] == [
        Appended(partition, 1, f"file-{name}", 1, again)
        for again in (False, True)
        for partition, name in enumerate(names)
    ]
    assert parted.advance.head() == Positions((1, 1, 1))
    assert [parted.log.page(each, 0, 9)[0].stream for each in range(SEVERAL)] == [
        f"file-{name}" for name in names
    ]


def test_a_command_is_of_one_partition(parted: Store) -> None:
    first, other, _ = in_each(parted)
    write, there = (registration("c", name).writes[0] for name in (first, other))

    with pytest.raises(Refused, match="needs events for streams of one partition, not of 2"):
        parted.log.append([Command("c", (write, there))])

    assert parted.advance.head().total == 0


def test_an_id_is_taken_in_all_partitions(parted: Store) -> None:
    first, other, _ = in_each(parted)
    parted.log.append([registration("c", first)])

    [outcome] = parted.log.append([registration("c", other)])

    assert isinstance(outcome, CommandIdTaken)
    assert parted.log.outcome("c") == Appended(0, 1, f"file-{first}", 1, again=True)


def test_of_those_who_want_a_name_or_an_id_at_once_one_gets_it(parted: Store) -> None:
    """Their partitions have heads of their own, so it is not the head's lock that decides."""
    users = [f"{number}" for number in range(8)]

    def register(id: str) -> str:
        profile = {"username": "ada"}
        try:
            run(parted, "user.register", {"id": id, "profile": profile}, command_id=id, actor="x")
        except Claimed:
            return "claimed"
        return "registered"

    def use(number: int) -> object:
        [outcome] = parted.commits.append([registration("the same", f"{number}")])
        return type(outcome)

    with ThreadPoolExecutor(len(users)) as threads:
        registered = list(threads.map(register, users))
        used = list(threads.map(use, range(len(users))))

    assert sorted(registered) == ["claimed"] * (len(users) - 1) + ["registered"]
    assert used.count(Appended) == 1
    assert used.count(CommandIdTaken) == len(users) - 1


def test_an_id_that_another_partition_takes_at_that_moment_is_told(parted: Store) -> None:
    """Any version will do here: what is there is read first, and others may come in between."""
    tries, ids = 8, 10

    def use(number: int) -> object:
        event = encoded(file.Registered(f"{number}", "cid", f"{number}", "pdf"))
        write = Write(f"file-{number}", None, (event,))
        [outcome] = parted.log.append([Command(f"the same {number // tries}", (write,))])
        return type(outcome)

    with ThreadPoolExecutor(tries) as threads:
        outcomes = list(threads.map(use, range(tries * ids)))

    assert outcomes.count(Appended) == ids
    assert outcomes.count(CommandIdTaken) == (tries - 1) * ids


def test_all_partitions_are_sealed_at_once(parted: Store) -> None:
    heads = parted.log.change_state(State.SEALED, successor="sqlite:///there.db")

    outcomes = parted.log.append([registration(name, name) for name in in_each(parted)])

    assert [head.state for head in heads] == [State.SEALED] * SEVERAL
    assert [type(each) for each in outcomes] == [Moved] * SEVERAL
    assert parted.advance.head().total == 0


def test_what_was_processed_is_taken_once_whichever_partition_it_comes_with(parted: Store) -> None:
    def track(number: int) -> object:
        command = registration(f"t{number}", f"{number}")
        [outcome] = parted.log.append([command._replace(trackings=(Tracking("other", 1),))])
        return type(outcome)

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(track, range(24)))

    assert outcomes.count(Appended) == 1
    assert outcomes.count(AlreadyTracked) == 23


# --- tables -----------------------------------------------------------------------


def test_tables_of_the_past_and_of_now_are_what_the_families_make(
    new_parted: Callable[[], Store],
) -> None:
    @settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=20, max_size=40), st.data())
    def check(steps: list[tuple[str, Any]], data: st.DataObject) -> None:
        store = new_parted()
        take(store, [*BEGINNING, *steps])
        end = store.advance.head()
        some = st.tuples(*(st.integers(0, each) for each in end.each)).map(Positions)
        store.folder.catch_up(data.draw(some, label="folded up to"))
        position = data.draw(some, label="as of")

        with as_of(store, position, *catalog.ALL) as then:
            found = all_rows(then)
        rebuilt = store.rebuilder.rebuild(catalog.ALL)
        store.folder.catch_up()

        assert found == families(store, position)
        assert {each.is_equal for each in rebuilt} == {True}
        assert all_rows(store) == families(store, end)

    check()


def families(store: Store, ends: Positions) -> dict[str, list[Any]]:
    """Return the tables that the events of each family make, folded by themselves."""
    found: dict[str, list[Any]] = {projection.NAME: [] for projection in catalog.ALL}
    with as_of(store, ends) as then:
        named = {
            streams.family(record.stream)
            for partition, end in enumerate(ends.each)
            for record in store.log.page(partition, 0, end)
        }
        for family in named:
            for name, rows in fold_family(then.family(family), catalog.ALL).items():
                found[name] += map(tuple, rows.values())
    return {name: sorted(rows, key=lambda row: row[:3]) for name, rows in found.items()}


def test_an_own_write_is_seen_in_its_partition(parted: Store) -> None:
    names = in_each(parted)
    for partition, name in enumerate(names):
        fields = {"sha256": name, "cid": "c", "name": f"paper number{partition}"}
        done = run(parted, "file.register", fields, command_id=name, actor="ada")

        found = search(parted, f"number{partition}", after=done.at)

        assert done.at == Positions.at(partition, 1)
        assert [key for key, _ in found.rows] == [name]

    assert {each.sha256 for each in list_files(parted)} == set(names)
    assert search(parted, "paper").total == SEVERAL


def test_a_log_that_went_back_in_one_partition_is_refused(
    new_parted: Callable[[], Store],
) -> None:
    store, other = new_parted(), new_parted()
    *_, last = in_each(store)
    store.log.append([registration("c", last)])
    store.folder.catch_up()

    with pytest.raises(LogWentBack, match="up to position 2:1, where the log now holds another"):
        replace(store, log=other.log).folder.catch_up()


# --- positions and times ------------------------------------------------------------


def test_a_time_names_the_last_position_of_each_partition(parted: Store) -> None:
    names = in_each(parted)
    for partition, name in enumerate(names):
        receive(
            parted,
            [
                registered(partition, position, name, 10 * position + partition)
                for position in (1, 2, 3)
            ],
        )

    named = [positions_at(parted, times.text(at)) for at in (9, 10, 21, 32, 99)]

    assert [each.each for each in named] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 2, 1),
        (3, 3, 3),
        (3, 3, 3),
    ]
    assert positions_at(parted, "0:3,1:0,2:1") == Positions((3, 0, 1))
    with pytest.raises(BadInput, match="has to name each partition of this log once"):
        positions_at(parted, "3")
    with pytest.raises(Refused, match="position 0:3,1:4,2:1 is beyond the end of the log at 0:3,"):
        positions_at(parted, "0:3,1:4,2:1")


def registered(partition: int, version: int, name: str, at: int) -> Recorded:
    event = encoded(file.Registered(name, "cid", name, "pdf"))
    return Recorded(
        partition, version, f"file-{name}", version, *event, at, f"c{partition}.{version}", 0
    )


# --- the hash chain -----------------------------------------------------------------


def test_each_partition_has_a_chain_and_seals_of_its_own(parted: Store) -> None:
    names = in_each(parted)
    for name in names:
        parted.log.append(
            [registration(f"r{name}", name)]
            + [
                Command(f"{name}.{n}", (Write(f"file-{name}", None, (encoded(file.Banned(3)),)),))
                for n in range(chain.GRID)
            ]
        )

    for partition, end in enumerate(parted.advance.head().each):
        chain.seal(parted.log, partition, end)

    seals = [parted.log.seals(partition) for partition in range(SEVERAL)]
    assert [[seal.position for seal in own] for own in seals] == [[chain.GRID]] * SEVERAL
    assert len({seal.chain for own in seals for seal in own}) == SEVERAL


# --- how many there are ---------------------------------------------------------------


def test_the_number_never_changes(new_kept_url: Callable[[], str]) -> None:
    url = new_kept_url()
    open_store(url, create=True, partitions=4).close()

    with open_store(url, create=True) as again, open_store(url, create=True, partitions=4) as same:
        assert again.log.partitions == same.log.partitions == 4
    with pytest.raises(BadInput, match="a log has 1 to 256 partitions, not 257"):
        open_store(url, partitions=257)
    with pytest.raises(Refused, match="has 4 partitions, not 2, and keeps them"):
        open_store(url, create=True, partitions=2)


def test_the_environment_says_how_many_a_new_store_has(
    new_kept_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_PARTITIONS", "2")
    with open_store(new_kept_url(), create=True) as store:
        assert store.log.partitions == 2

    monkeypatch.setenv("REFOLD_PARTITIONS", "257")
    with pytest.raises(BadInput, match="REFOLD_PARTITIONS: Input should be less than or equal to"):
        open_store(new_kept_url(), create=True)
