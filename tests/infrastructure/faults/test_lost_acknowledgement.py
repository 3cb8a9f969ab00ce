"""A connection breaks around a commit: the command is in the log once, and its place is known."""

from collections import defaultdict
from typing import Final

import pytest

from refold.domain import file
from refold.domain.ports import Appended, Claim, Command, Outcome, Recorded
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.log import PostgresLog
from refold.tests.infrastructure.faults.events import command
from refold.tests.infrastructure.faults.lengths import LONG
from refold.tests.infrastructure.faults.proxy import Cut, proxy

ROUNDS: Final = 500 if LONG else 50
"""Of each cut; two of the four are on the fast path."""
NAMED: Final = file.Changed(name="holiday")


def test_a_command_whose_acknowledgement_was_lost_is_in_the_log_once(postgres_url: str) -> None:
    open_store(postgres_url, create=True).close()
    outcomes: dict[str, Outcome] = {}
    with proxy(postgres_url) as cutting:
        through = PostgresLog(cutting.url, "refold")
        for number in range(ROUNDS):
            for cut in Cut:
                commands = _commands(cut, number)
                cutting.cut_next(cut)
                answers = through.append(commands)
                outcomes.update(zip([each.id for each in commands], answers, strict=True))
        through.close()

    assert cutting.struck == dict.fromkeys(Cut, ROUNDS)
    records = _records(postgres_url)
    assert [record.position for record in records] == list(range(1, len(records) + 1))
    assert _by_command(records) == {id: _place(outcome) for id, outcome in outcomes.items()}


@pytest.mark.parametrize("cut", [Cut.COMMIT_LOST, Cut.APPEND_LOST])
def test_what_the_server_never_got_is_appended_for_the_first_time(
    postgres_url: str, cut: Cut
) -> None:
    assert [outcome.again for outcome in _appended(postgres_url, cut)] == [False, False]


@pytest.mark.parametrize("cut", [Cut.COMMIT_UNANSWERED, Cut.APPEND_UNANSWERED])
def test_what_the_server_got_is_found_again(postgres_url: str, cut: Cut) -> None:
    assert [outcome.again for outcome in _appended(postgres_url, cut)] == [True, True]


def _appended(url: str, cut: Cut) -> list[Appended]:
    open_store(url, create=True).close()
    with proxy(url) as cutting:
        through = PostgresLog(cutting.url, "refold")
        cutting.cut_next(cut)
        outcomes = through.append(_commands(cut, 0))
        through.close()
    assert cutting.struck == {cut: 1}
    return [outcome for outcome in outcomes if isinstance(outcome, Appended)]


def _commands(cut: Cut, number: int) -> list[Command]:
    """Return two commands that go the way on which `cut` lies in wait."""
    stream = f"file-{cut.name}-{number}"
    id = f"{cut.name}-{number}"
    match cut:
        case Cut.APPEND_LOST | Cut.APPEND_UNANSWERED:
            return [
                command(f"{id}-a", stream, 0, NAMED, NAMED),
                command(f"{id}-b", stream, 2, NAMED),
            ]
        case Cut.COMMIT_LOST | Cut.COMMIT_UNANSWERED:
            return [
                command(f"{id}-a", stream, None, NAMED, NAMED),
                command(f"{id}-b", stream, 2, NAMED, takes=[Claim("name", stream, stream)]),
            ]


def _records(url: str) -> list[Recorded]:
    log = PostgresLog(url, "refold")
    records = log.page(0, 0, 10_000)
    log.close()
    return records


def _by_command(records: list[Recorded]) -> dict[str, tuple[int, str, int]]:
    """Return the place of each command's last event; its events must be its own numbers 0, 1, …"""
    events: dict[str, list[Recorded]] = defaultdict(list)
    for record in records:
        events[record.command_id].append(record)
    for own in events.values():
        assert [record.command_no for record in own] == list(range(len(own)))
    return {id: (own[-1].position, own[-1].stream, own[-1].version) for id, own in events.items()}


def _place(outcome: Outcome) -> tuple[int, str, int]:
    assert isinstance(outcome, Appended)
    return outcome.position, outcome.stream, outcome.version
