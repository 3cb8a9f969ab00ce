"""kill -9 at named steps of whatever writes: run again, it is as if nothing had been."""

import json
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from refold.domain.ports import State
from refold.infrastructure.commands import run
from refold.infrastructure.failpoints import VARIABLE, reach
from refold.infrastructure.folding.advancing import PARTITION
from refold.infrastructure.open import open_store
from refold.infrastructure.queries import status
from refold.infrastructure.store import Store
from refold.projections import files
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.invariant import check
from refold.tests.infrastructure.faults.processes import refold

EVENTS: Final = 30

Killed = Callable[..., None]
Record = Callable[[str, object], None]


@pytest.fixture
def killed_at(tmp_path: Path, record_property: Record) -> Killed:
    """Run `refold` in a process of its own, which ends at a step by SIGKILL."""

    def run(step: str, *arguments: str, stdin: str = "") -> None:
        given = tmp_path / "stdin"
        given.write_text(stdin)
        with forks.forked(
            tmp_path, forks.refold_reading, given, *arguments, environment={VARIABLE: step}
        ) as process:
            assert process.ended() == -signal.SIGKILL, process.stderr
        record_property("kill -9 at a named step", 1)

    return run


@pytest.fixture
def elsewhere(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of an empty store on the other engine."""
    if url.startswith("sqlite"):
        place = str(request.getfixturevalue("postgres_url"))
    else:
        place = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    open_store(place, create=True).close()
    return place


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
        assert check(other, acknowledged) == store.log.page(PARTITION, 0, 2 * EVENTS)


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
        assert [each["equal_to_live"] for each in again.document["tables"]] == [True]
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

        assert heads == [0, 1]
        assert (again.outcome, again.position) == ("duplicate", 1)
        check(store, {"1": 1})


def test_a_daemon_killed_around_the_commit_of_a_page_applies_it_once(
    killed_at: Killed, url: str
) -> None:
    with open_store(url) as store:
        store.folder.catch_up()
        acknowledged = _fill(store)
        stands = []

        for step in "page folded", "page saved":
            killed_at(f"fold: {step}", "run", "--once", "--store", url)
            stands.append({each.position for each in status(store).projections})
        again = refold("run", "--once", "--store", url)

        assert stands == [{0}, {EVENTS}]
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
            states.append(store.log.heads()[PARTITION].state)
    return states


def _generation(store: Store) -> int:
    with store.tables.reading() as connection:
        return store.tables.current(connection)[files.NAME].number
