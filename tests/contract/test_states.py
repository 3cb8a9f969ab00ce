"""A log changes its state only from the one that was expected, so that of two who try one wins."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from refold.domain.errors import Filling, Moved, Refused
from refold.domain.ports import Command, Head, Log, NewEvent, State, Write

EXPECTED = {
    State.OPEN: (Refused, "this store is open"),
    State.FILLING: (Filling, "being filled"),
    State.SEALED: (Moved, "moved to elsewhere"),
}


@pytest.mark.parametrize("wanted", State)
@pytest.mark.parametrize("expected", State)
@pytest.mark.parametrize("actual", State)
def test_a_state_changes_only_from_the_expected_one(
    log: Log, actual: State, expected: State, wanted: State
) -> None:
    append(log, "1")
    log.change_state(actual, successor="elsewhere" if actual is State.SEALED else None)
    before = (log.heads(), log.identity(), log.page(0, 0, 9))

    if actual is expected:
        heads = log.change_state(wanted, expected=expected, successor="third", log_id="taken")

        assert heads == log.heads() == [Head(0, 1, wanted, "third")]
        assert log.identity().log_id == "taken"
    else:
        refusal, words = EXPECTED[actual]
        with pytest.raises(refusal, match=words):
            log.change_state(wanted, expected=expected, successor="third", log_id="taken")

        assert (log.heads(), log.identity(), log.page(0, 0, 9)) == before


def test_a_log_goes_on_after_a_change_that_was_refused(log: Log) -> None:
    with pytest.raises(Refused):
        log.change_state(State.SEALED, expected=State.FILLING, successor="elsewhere")

    append(log, "1")
    log.change_state(State.SEALED, expected=State.OPEN, successor="elsewhere")

    assert log.heads() == [Head(0, 1, State.SEALED, "elsewhere")]


def test_of_many_who_seal_an_open_log_one_wins_and_the_others_learn_who(log: Log) -> None:
    barrier = Barrier(6)

    def seal(number: int) -> str:
        barrier.wait()
        try:
            log.change_state(State.SEALED, expected=State.OPEN, successor=f"place {number}")
        except Moved as moved:
            return moved.successor
        return "won"

    with ThreadPoolExecutor(6) as threads:
        said = list(threads.map(seal, range(6)))

    winner = f"place {said.index('won')}"
    assert sorted(said) == sorted(["won", *[winner] * 5])
    assert log.heads() == [Head(0, 0, State.SEALED, winner)]


def append(log: Log, id: str) -> None:
    event = NewEvent("thing.happened", 1, b"{}", b"{}")
    log.append([Command(id, (Write("user-ada", None, (event,)),))])
