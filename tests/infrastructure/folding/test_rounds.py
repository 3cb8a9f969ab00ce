"""Threads that wait for the tables: one folds for those who came before it ended."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

import pytest

from refold.domain.errors import Unavailable
from refold.domain.positions import Positions
from refold.infrastructure.folding.rounds import Rounds
from refold.tests.infrastructure.folding.watching import watched


def test_who_waits_for_what_another_reaches_does_not_fold() -> None:
    rounds, log = Rounds(), _Log()
    waiting = watched(rounds)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(rounds.reach, at(1), log.fold)
        log.is_folding.wait()
        others = [pool.submit(rounds.reach, at(each), log.fold) for each in (3, 3, 7)]
        waiting.wait_for(4)
        log.go_on.set()
        _all_end([first, *others])
    assert log.folded == 2  # the one that reaches 3, and one for who wants more
    assert log.told == [None, at(3)]


def test_a_round_that_ended_before_is_not_believed() -> None:
    rounds, log = Rounds(), _Log()
    log.go_on.set()
    rounds.reach(at(3), log.fold)
    rounds.reach(at(2), log.fold)
    rounds.reach(at(20), log.fold)
    assert log.folded == 3
    assert log.told == [None, None, None]


def test_how_far_a_round_came_in_which_a_table_is_stopped_is_told_nobody() -> None:
    rounds, log, stopped = Rounds(), _Log(), _Log()

    def stops(_: Positions | None) -> Positions:
        stopped.fold()
        return Positions(())

    log.go_on.set()
    _all_end([_waited_for(rounds, at(1), stops, stopped, log)])
    assert log.told == [None]


def test_what_was_reached_before_is_not_waited_for() -> None:
    rounds, log, other = Rounds(), _Log(), _Log()
    other.go_on.set()
    rounds.reach(at(3), other.fold)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rounds.reach, at(9), log.fold)
        log.is_folding.wait()
        rounds.reach(at(3), other.fold)  # although another is under way
        assert not first.done()
        log.go_on.set()
        _all_end([first])


def test_who_asks_for_nothing_new_waits_for_nobody_where_a_table_is_stopped() -> None:
    rounds, log = Rounds(), _Log()
    rounds.reach(at(1), lambda _: Positions(()))  # a table is stopped: nobody is to believe it
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(rounds.reach, at(9), log.fold)
        log.is_folding.wait()
        rounds.reach(Positions(()), lambda _: Positions(()))
        assert not first.done()
        log.go_on.set()
        _all_end([first])


def test_what_was_reached_counts_even_if_a_later_round_failed() -> None:
    rounds, log = Rounds(), _Log()
    first_waits, tried = Event(), Event()

    def is_away(_: Positions | None) -> Positions:
        tried.set()
        assert first_waits.wait(5)
        raise Unavailable("nobody answers")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(rounds.reach, at(1), log.fold)
        log.is_folding.wait()
        more = pool.submit(rounds.reach, at(20), is_away)
        wait([more], 0.1)
        late = pool.submit(rounds.reach, at(3), log.fold)
        wait([late], 0.1)
        log.go_on.set()
        assert tried.wait(5)  # 20 is behind the 3 that the first one reached
        first_waits.set()
        _all_end([first, late])
        with pytest.raises(Unavailable):
            more.result(5)


def test_an_error_is_for_its_thread_alone() -> None:
    rounds, log = Rounds(), _Log()
    log.go_on.set()

    def fails(_: Positions | None) -> Positions:
        log.fold()
        raise ValueError("it cannot be folded")

    with ThreadPoolExecutor(2) as pool:
        first, second = (
            pool.submit(rounds.reach, at(1), fails),
            pool.submit(rounds.reach, at(1), log.fold),
        )
        with pytest.raises(ValueError, match="it cannot be folded"):
            first.result(5)
        second.result(5)
    assert log.folded == 2


def test_who_waited_for_a_round_that_failed_is_told_nothing() -> None:
    rounds, log, broken = Rounds(), _Log(), _Log()

    def fails(_: Positions | None) -> Positions:
        broken.fold()
        raise ValueError("it cannot be folded")

    log.go_on.set()
    rounds.reach(at(3), log.fold)
    failed = _waited_for(rounds, at(5), fails, broken, log)
    with pytest.raises(ValueError, match="it cannot be folded"):
        failed.result(5)
    assert log.told == [None, None]


def test_who_waits_for_a_store_that_is_away_is_told_with_the_first() -> None:
    rounds, log = Rounds(), _Log()

    def is_away(_: Positions | None) -> Positions:
        log.fold()
        raise Unavailable("nobody answers")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(rounds.reach, at(1), is_away)
        log.is_folding.wait()
        others = [pool.submit(rounds.reach, at(1), is_away) for _ in range(2)]
        wait(others, 0.1)
        log.go_on.set()
        for each in (first, *others):
            with pytest.raises(Unavailable, match="nobody answers"):
                each.result(5)
    assert log.folded == 1
    rounds.reach(at(1), log.fold)  # and who comes later asks again
    assert log.folded == 2


class _Log:
    """What reaches position 3 once it may."""

    def __init__(self) -> None:
        self.is_folding, self.go_on, self.folded = Event(), Event(), 0
        self.told: list[Positions | None] = []

    def fold(self, just_reached: Positions | None = None) -> Positions:
        self.folded += 1
        self.told.append(just_reached)
        self.is_folding.set()
        assert self.go_on.wait(5)
        return at(3 if self.folded == 1 else 9)


def _waited_for(
    rounds: Rounds,
    goal: Positions,
    fold: Callable[[Positions | None], Positions],
    held: _Log,
    log: _Log,
) -> Future[None]:
    """Return a round by `fold`, which `held` holds up until `log` waits; both have ended."""
    waiting = watched(rounds)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rounds.reach, goal, fold)
        assert held.is_folding.wait(5)
        second = pool.submit(rounds.reach, goal, log.fold)
        waiting.wait_for(2)
        held.go_on.set()
        second.result(5)
    return first


def _all_end(rounds: list[Future[None]]) -> None:
    for each in rounds:
        each.result(5)


def at(position: int) -> Positions:
    return Positions((position,))
