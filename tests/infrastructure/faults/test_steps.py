"""kill -9 at named steps of whatever writes: run again, it is as if nothing had been."""

import json
import signal
from collections.abc import Callable
from itertools import islice, pairwise
from operator import ne
from pathlib import Path
from typing import Final

import pytest

from refold.domain.ports import State
from refold.domain.positions import Positions
from refold.infrastructure.commands import run
from refold.infrastructure.failpoints import VARIABLE, reach
from refold.infrastructure.folding.generations import BUILDING
from refold.infrastructure.open import open_store
from refold.infrastructure.status import status
from refold.infrastructure.store import Store
from refold.projections import files
from refold.tests.addresses import own_url
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.invariant import check, whole_log
from refold.tests.infrastructure.faults.processes import refold

EVENTS: Final = 30
PAGE: Final = 15
"""Events that are read, written and folded at once."""

ALSO_IN_PARTITIONS: Final = pytest.mark.parametrize(
    "url", ["sqlite", "postgres", "postgres-3"], indirect=True
)

Killed = Callable[..., None]
Record = Callable[[str, object], None]


@pytest.fixture
def killed_at(tmp_path: Path, record_property: Record) -> Killed:
    """Run `refold` in a process of its own, in small pages, which ends at a step by SIGKILL."""

    def run(step: str, *arguments: str, stdin: str = "") -> None:
        given = tmp_path / "stdin"
        given.write_text(stdin)
        work = PAGE, forks.refold_reading, given, *arguments
        with forks.forked(tmp_path, forks.in_pages, *work, environment={VARIABLE: step}) as process:
            assert process.ended() == -signal.SIGKILL, process.stderr
        record_property("kill -9 at a named step", 1)

    return run


@pytest.fixture
def elsewhere(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An address on the other engine, where no store is yet."""
    return own_url(request, tmp_path, "postgres" if url.startswith("sqlite") else "sqlite")


STEPS: Final = {  # of a move, and what the source and the target are when it ends there
    "closed": [State.OPEN, State.FILLING],
    "sealed": [State.SEALED, State.FILLING],
    "compared": [State.SEALED, State.FILLING],
    "opened": [State.SEALED, State.OPEN],
}


def test_a_move_killed_at_each_step_is_done_by_another(
    killed_at: Killed, url: str, elsewhere: str
) -> None:
    with open_store(url) as store:
        acknowledged = _fill(store)
    left = {}

    for step in STEPS:
        killed_at(f"cutover: {step}", "move", url, elsewhere)
        left[step] = _states(url, elsewhere)
    again = refold("move", url, elsewhere, "--json")

    assert left == STEPS
    assert (again.code, again.document["equal"]) == (0, True), again.stderr
    assert _states(url, elsewhere) == STEPS["opened"]
    with open_store(url) as store, open_store(elsewhere) as other:
        assert check(other, acknowledged) == whole_log(store)


def test_the_source_goes_on_when_a_move_that_was_killed_is_called_off(
    killed_at: Killed, url: str, elsewhere: str
) -> None:
    with open_store(url) as store:
        acknowledged = _fill(store)
    killed_at("cutover: sealed", "move", url, elsewhere)

    assert refold("cutover", url, elsewhere, "--abort").code == 0

    with open_store(url) as store:
        acknowledged |= _fill(store, behind=EVENTS)
        check(store, acknowledged)
        assert len(acknowledged) == 2 * EVENTS


@ALSO_IN_PARTITIONS
def test_a_copy_killed_inside_its_pages_goes_on_and_ends_equal(
    killed_at: Killed, url: str, elsewhere: str
) -> None:
    with open_store(url) as store:
        acknowledged = _fill(store)
        copied = [0]

        while copied[-1] < EVENTS:
            killed_at("copy: page written", "copy", url, elsewhere)
            copied.append(_total(elsewhere))
        again = refold("copy", url, elsewhere, "--json")

        assert len(copied) > 2
        assert copied == sorted(set(copied))  # what was written is not written again
        assert (again.code, again.document["equal"]) == (0, True), again.stderr
        with open_store(elsewhere) as other:
            assert check(other, acknowledged) == whole_log(store)


def test_a_log_whose_renumbering_is_killed_at_each_step_is_numbered_anew_by_another(
    killed_at: Killed, url: str, elsewhere: str
) -> None:
    with open_store(url) as store:
        acknowledged = _fill(store)
        acknowledged |= _fill(store, behind=EVENTS)
    move = "move", url, elsewhere, "--partitions", "3"
    left, totals = [], []

    for step in "page carried", "page carried", "sealed", "page carried", "compared":
        killed_at(f"renumbering: {step}", *move)
        left.append(_states(url, elsewhere))
        totals.append(_total(elsewhere))
    again = refold(*move, "--json")

    assert left == [[State.OPEN, State.FILLING]] * 2 + [[State.SEALED, State.FILLING]] * 3
    assert 0 < totals[0] < totals[1] < EVENTS < totals[3] < totals[4] == 2 * EVENTS
    assert (again.code, again.document["equal"]) == (0, True), again.stderr
    assert _states(url, elsewhere) == [State.SEALED, State.OPEN]
    with open_store(url) as store, open_store(elsewhere) as other:
        check(store, acknowledged)
        ids = [record.command_id for record in check(other)]
        assert sorted(ids) == sorted(acknowledged)
        assert other.log.partitions == 3


def test_a_rebuild_killed_inside_its_parts_goes_on_and_ends_equal(
    killed_at: Killed, url: str
) -> None:
    rebuild = "rebuild", files.NAME, "--workers", "1", "--store", url
    with open_store(url) as store:
        acknowledged = _fill(store)
        store.folder.catch_up()
        live, built = _generation(store), []

        for _ in range(EVENTS // PAGE):
            killed_at("rebuild: part saved", *rebuild)
            built.append(_built(store))
        again = refold(*rebuild, "--json")

        assert built == [(live + 1, 0.5), (live + 1, 1)]
        assert _generation(store) == live + 1
        assert (again.code, again.document["switched"]) == (0, True), again.stderr
        assert [each["equal_to_previous"] for each in again.document["tables"]] == [True]
        check(store, acknowledged)


def test_a_rebuild_killed_around_the_switch_leaves_one_table_or_the_other(
    killed_at: Killed, url: str
) -> None:
    with open_store(url) as store:
        acknowledged = _fill(store)
        store.folder.catch_up()
        stands = [_generation(store)]

        for step in "compared", "switched":
            killed_at(f"rebuild: {step}", "rebuild", files.NAME, "--store", url)
            stands.append(_generation(store))
            check(store, acknowledged)
        again = refold("rebuild", files.NAME, "--store", url, "--json")

        assert stands[0] == stands[1] < stands[2] < _generation(store)
        assert (again.code, again.document["switched"]) == (0, True), again.stderr
        assert [each["equal_to_previous"] for each in again.document["tables"]] == [True]
        check(store, acknowledged)


def test_a_command_killed_around_its_append_is_in_the_log_once(killed_at: Killed, url: str) -> None:
    data = {"sha256": "ab" * 32, "cid": "cid", "name": "holiday"}
    command = "command", "file.register", "--command-id", "1", "--store", url
    with open_store(url) as store:
        heads = []

        for step in "decided", "appended":
            killed_at(f"command: {step}", *command, stdin=json.dumps(data))
            heads.append(store.advance.head())
        again = run(store, "file.register", data, command_id="1", actor="ada")

        assert heads == [Positions((0,)), Positions((1,))]
        assert (again.outcome, again.position) == ("duplicate", 1)
        check(store, {"1": 1})


@ALSO_IN_PARTITIONS
def test_a_daemon_killed_around_the_commit_of_a_page_applies_it_once(
    killed_at: Killed, url: str
) -> None:
    with open_store(url) as store:
        store.folder.catch_up()
        acknowledged = _fill(store)
        stands = [_stand(store)]

        while stands[-1] != store.advance.head():
            killed_at("fold: page folded", "run", "--once", "--store", url)
            assert _stand(store) == stands[-1]
            killed_at("fold: page saved", "run", "--once", "--store", url)
            stands.append(_stand(store))
        again = refold("run", "--once", "--store", url)

        assert len(stands) > 2
        for before, after in pairwise(stands):  # a page of one partition
            assert after.covers(before)
            assert 0 < after.beyond(before) <= PAGE
            assert sum(map(ne, before.each, after.each)) == 1
        assert again.code == 0, again.stderr
        check(store, acknowledged)


def test_a_step_that_nobody_asked_for_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    reach("cutover: sealed")
    monkeypatch.setenv(VARIABLE, "cutover: opened")

    reach("cutover: sealed")


def _fill(store: Store, behind: int = 0) -> dict[str, int]:
    """Append events behind the first so many, and return where each command went."""
    commands = list(islice(many(behind + EVENTS), behind, None))
    outcomes = store.log.append(commands)
    return {
        each.id: outcome.position  # type: ignore[union-attr]
        for each, outcome in zip(commands, outcomes, strict=True)
    }


def _states(*urls: str) -> list[State]:
    states = []
    for url in urls:
        with open_store(url) as store:
            [state] = {head.state for head in store.log.heads()}
            states.append(state)
    return states


def _total(url: str) -> int:
    with open_store(url) as store:
        return store.advance.head().total


def _stand(store: Store) -> Positions:
    """Return how far the tables are folded, all alike."""
    [positions] = {each.positions for each in status(store).projections}
    return positions


def _built(store: Store) -> tuple[int, float]:
    """Return the number of the generation of files that is being built, and how much of it is."""
    with store.tables.reading() as connection:
        [generation] = [
            each
            for each in store.tables.generations(connection)
            if (each.projection.NAME, each.state) == (files.NAME, BUILDING)
        ]
        saved = store.tables.parts(connection, generation)
        return generation.number, sum(1 / part.parts for part in saved)


def _generation(store: Store) -> int:
    with store.tables.reading() as connection:
        return store.tables.current(connection)[files.NAME].number
